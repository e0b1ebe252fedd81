"""Routing: the papers' mathematics of where errors are read and delivered, and by which maps. Imports torch only."""

from rfmodel.routing import auglocal, catalogue, pepita, predsim, ssa  # register the rules that come with the package
from rfmodel.routing.calibration import calibrate
from rfmodel.routing.feedback import Feedback, Fixed, Labels, Step
from rfmodel.routing.geometry import Convolution, Dense, Linear
from rfmodel.routing.heads import HeadPlan
from rfmodel.routing.low_rank import LowRank
from rfmodel.routing.ports import Edge, Port, Trace, trace
from rfmodel.routing.reciprocal import KolenPollack, Signs, WeightMirror
from rfmodel.routing.routed import Observation, Routed
from rfmodel.routing.rules import RULES, Plan, Rule, make_rule, register_rule
from rfmodel.routing.topologies import direct, layerwise, skipping

__all__ = [
    "RULES",
    "Convolution",
    "Dense",
    "Edge",
    "Feedback",
    "Fixed",
    "HeadPlan",
    "KolenPollack",
    "Labels",
    "Linear",
    "LowRank",
    "Observation",
    "Plan",
    "Port",
    "Routed",
    "Rule",
    "Signs",
    "Step",
    "Trace",
    "WeightMirror",
    "auglocal",
    "calibrate",
    "catalogue",
    "direct",
    "layerwise",
    "make_rule",
    "pepita",
    "predsim",
    "register_rule",
    "skipping",
    "ssa",
    "trace",
]

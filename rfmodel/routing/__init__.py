"""Routing: the papers' mathematics of where errors are read and delivered, and by which maps. Imports torch only."""

from rfmodel.routing.feedback import Feedback, Fixed, LowRank
from rfmodel.routing.geometry import Convolution, Dense, Linear
from rfmodel.routing.ports import Edge, Port, Trace, trace
from rfmodel.routing.routed import Routed
from rfmodel.routing.rules import RULES, Plan, Rule, make_rule, register_rule
from rfmodel.routing.topologies import direct, layerwise

__all__ = [
    "RULES",
    "Convolution",
    "Dense",
    "Edge",
    "Feedback",
    "Fixed",
    "Linear",
    "LowRank",
    "Plan",
    "Port",
    "Routed",
    "Rule",
    "Trace",
    "direct",
    "layerwise",
    "make_rule",
    "register_rule",
    "trace",
]

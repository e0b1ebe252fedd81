"""The topology of SSA: one error to each unit, a layer with what follows it or a residual block."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from torch import Tensor

from rfmodel.errors import InputError
from rfmodel.routing.cuts import passed_by
from rfmodel.routing.factoring import units
from rfmodel.routing.ports import Edge, Port, Routing, Trace, looking
from rfmodel.routing.topologies import direct, is_glob


def to_units(at: str) -> Routing:
    """Return the topology of SSA: the output's error to the end of every unit, the output layer included.

    Parameters
    ----------
    at : {"activity", "preactivation"}
        Whether a unit ends before the next one's layer, or at its own layer's output. A residual block always ends at
        its output.

    Notes
    -----
    Roy et al. (SSA), appendix A.3: a residual block is one unit.
    """

    def routing(record: Trace, sites: Sites) -> Sequence[Edge]:
        edges = direct("output")(record, sites)
        origin, targets = edges[0].source, [edge.target for edge in edges]
        if is_glob(sites.pattern):
            inside = passed_by(record, targets)  # of a residual block, which is one unit (A.3)
            targets = [port for port in targets if port not in inside]
        targets = _with_layers(record, targets, is_glob(sites.pattern))
        if at == "preactivation":
            targets = _before_norms(record, targets)
        last = record.weighted[-1]
        if is_glob(sites.pattern) and fnmatch.fnmatchcase(last, sites.pattern):
            _refuse_other_output(record, last)
            targets.append(Port(last, "output"))
        return [Edge(origin, target) for target in targets]

    return routing


def _with_layers(record: Trace, targets: list[Port], may_join: bool) -> list[Port]:
    """Return the targets whose units have a layer that can be split; a unit without one joins the next."""
    while True:
        bare = [port for port, layers in units(record, targets).items() if not layers]
        if not bare:
            return targets
        if not may_join or len(bare) == len(targets):
            raise InputError(
                f"the unit that ends at '{bare[0]}' has no weight that can be split in factors (a Linear, or a Conv2d "
                "in one group); name a later site"
            )
        targets = [port for port in targets if port != bare[0]]


def _before_norms(record: Trace, targets: list[Port]) -> list[Port]:
    own = units(record, targets)
    return [Port(own[port][-1], "output") if port.side == "input" else port for port in targets]


def _refuse_other_output(record: Trace, last: str) -> None:
    """Refuse a network whose last layer's output is not the network's own."""
    seen: list[Tensor] = []
    handle = record.layer(last).register_forward_hook(lambda _, args, output: seen.append(output))
    with looking(record.network, [handle]):
        output = record.network(record.example)
    if not seen or seen[-1] is not output:
        raise InputError(
            f"the network's output is not that of its last layer, '{last}', whose own error ssa delivers; end the "
            "network with its logits, or name sites before it"
        )

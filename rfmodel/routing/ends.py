"""Ends: where the units of a network end, for rules that teach each unit by itself.

A unit is what lies between two places at which a direct error could be delivered: a layer with its norm and its
nonlinearity, or a residual block. It ends in its activity, before a pool or flattening, with which the next begins.
"""

from __future__ import annotations

from torch import nn

from rfmodel.errors import InputError
from rfmodel.routing.cuts import teach
from rfmodel.routing.ports import Port, Trace
from rfmodel.routing.topologies import Sites, direct

NONLINEAR = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.RReLU,
    nn.ELU,
    nn.SELU,
    nn.CELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Softplus,
    nn.Softsign,
    nn.Tanh,
    nn.Tanhshrink,
    nn.Sigmoid,
    nn.LogSigmoid,
    nn.Hardtanh,
    nn.Hardsigmoid,
    nn.Hardswish,
    nn.Threshold,
    nn.Identity,
)


def ends(record: Trace, sites: Sites, inside: bool = False) -> list[Port]:
    """Return where the units end that a direct rule over these sites would teach, the last but for the output's own.

    Parameters
    ----------
    record : Trace
    sites : Sites
    inside : bool
        Whether units end inside residual blocks too: each layer there is one. Otherwise the block is.

    Returns
    -------
    list of Port, in the order in which they fire

    Raises
    ------
    InputError
        If no unit is left.
    """
    targets = [edge.target for edge in direct("output")(record, sites)]
    found = [port for port in targets if port.module in sites or port.module not in record.weighted]
    if not inside:
        found = [port for port in found if not _is_bypassed(record, port)]
    if not found:
        raise InputError(
            f"no unit ends at '{sites.pattern}': other rules have its sites, or skips lead past them; name a residual "
            "block, or use '*'"
        )
    for place, port in enumerate(found):
        activity = _activity_before(record, port)
        if activity is not None and activity not in found:
            moved = [*found[:place], activity, *found[place + 1 :]]
            if _taught_alike(record, found, moved):
                found = moved
    return found


def _is_bypassed(record: Trace, port: Port) -> bool:
    """Whether a layer reaches the output through `port` and past it."""
    return any({port, None} <= teachers for teachers in teach(record, [port]).by.values())


def after(record: Trace, name: str) -> list[Port]:
    """Return the outputs of modules without children that fire between a weighted layer and the next, in order."""
    layers = record.weighted
    begin = record.firings[Port(name, "output")].when
    place = layers.index(name) + 1
    until = record.firings[
        Port(layers[place] if place < len(layers) else "", "input" if place < len(layers) else "output")
    ]
    outputs = [
        (record.firings[port].when, port)
        for module, part in record.network.named_modules()
        if not any(True for _ in part.children()) and (port := Port(module, "output")) in record.firings
    ]
    return [port for when, port in sorted(outputs) if begin < when < until.when]


def _activity_before(record: Trace, port: Port) -> Port | None:
    """Return the last nonlinearity's output before a layer's input, where modules show one."""
    if port.side == "output":
        return None
    inner = after(record, record.weighted[record.weighted.index(port.module) - 1])
    shown = [p for p in inner if isinstance(record.layer(p.module), NONLINEAR) and record.firings[p].count == 1]
    shown = [p for p in shown if not isinstance(record.layer(p.module), nn.Identity) and record.firings[p].shape]
    return _block_of(record, shown[-1], [*inner, port]) if shown else None


def _block_of(record: Trace, port: Port, ports: list[Port]) -> Port:
    """Return the output of the widest block that ends in `port`, before the others of `ports` that follow it."""
    following = [record.firings[p].when for p in ports if record.firings[p].when > record.firings[port].when]
    parts = port.module.split(".")
    for k in range(1, len(parts)):
        block = Port(".".join(parts[:k]), "output")
        seen = record.firings.get(block)
        is_whole = seen is not None and seen.count == 1 and seen.shape == record.firings[port].shape
        if (
            is_whole
            and not isinstance(record.layer(block.module), nn.Sequential)
            and all(seen.when < when for when in following)
        ):
            return block
    return port


def _taught_alike(record: Trace, before: list[Port], moved: list[Port]) -> bool:
    renamed = dict(zip([None, *before], [None, *moved], strict=True))
    old, new = teach(record, before), teach(record, moved)
    return new.learns == {renamed[p] for p in old.learns} and new.by == {
        layer: {renamed[p] for p in ports} for layer, ports in old.by.items()
    }

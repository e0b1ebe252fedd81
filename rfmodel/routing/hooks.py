"""Hooks: what a rule hangs on a network, in the order in which it must fire."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from rfmodel.routing.feedback import Feedback
from rfmodel.routing.heads import HeadHere, ShareHere
from rfmodel.routing.local_loss import LocalLoss
from rfmodel.routing.ports import Edge, Port
from rfmodel.routing.wiring import FACTORS, Cut, TapFactors, TapHere, TapWeight, Wiring


def place_hooks(
    network: nn.Module,
    wiring: Wiring,
    maps: Mapping[Edge, Feedback],
    heads: Mapping[Port, nn.Module],
    losses: Mapping[str, LocalLoss],
    order: Mapping[Port, int],
) -> None:
    """Hang taps, cuts, heads and what watches parameters on a network, for as long as it lives.

    Parameters
    ----------
    network : nn.Module
    wiring : Wiring
        What they share; it is told the edges and the layers whose parameters are tapped.
    maps : mapping of Edge to Feedback
    heads : mapping of Port to Module
        Local losses by where their units end.
    losses : mapping of layer name to LocalLoss
        Of factored layers.
    order : mapping of Port to int
        When each fires.
    """
    for edge, feedback in maps.items():
        wiring.edges.setdefault(edge.source, []).append((edge, feedback))
    for edge in sorted(maps, key=lambda edge: order[edge.source]):
        if not edge.is_reciprocal:
            wiring.afar.setdefault(edge.target, []).append((edge, maps[edge]))
    # Taps go before cuts, so that a port that is both reads its error upstream of the cut.
    hooks = [TapHere(port, wiring) for port in wiring.edges]
    targets = dict.fromkeys(edge.target for edge in maps)
    hooks += [Cut(port, wiring) for port in targets]
    hooks += [HeadHere(port, wiring, head) for port, head in heads.items()]
    for hook in hooks:
        module = network.get_submodule(hook.port.module)
        register = module.register_forward_hook if hook.port.side == "output" else module.register_forward_pre_hook
        register(hook)
    if heads:
        network.register_forward_hook(ShareHere(wiring))
    for feedback in maps.values():
        if feedback.learns_from_gradient:
            _tap_parameters(feedback.layer, ("weight",), TapWeight(feedback, wiring), wiring)
    for loss in losses.values():
        _tap_parameters(loss.layer, FACTORS, TapFactors(loss, wiring), wiring)


def _tap_parameters(layer: nn.Module, names: tuple[str, ...], hook: TapWeight | TapFactors, wiring: Wiring) -> None:
    wiring.tapped.append((layer, names))
    layer.register_forward_pre_hook(hook.lay)
    # Always: activation checkpointing leaves the last layer that it runs again by an exception.
    layer.register_forward_hook(hook.take_away, always_call=True)

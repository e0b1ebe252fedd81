"""Saved: what autograd keeps of a forward pass for the backward pass, by layer and by unit, without values."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from rfmodel.costs.blueprint import Blueprint
from rfmodel.costs.products import is_weighted
from rfmodel.routing import Routed


@dataclass
class Saved:
    """What one pass kept and touched.

    Parameters
    ----------
    layers : list of str
        Weighted layers in the order of their first calls.
    activations : dict of layer to int
        Bytes of the storages that a layer, or an unweighted module after it, made or was the first to keep; None is
        the loss.
    units : dict of layer to int
        Bytes of all storages kept between one cut and the next, by the first layer of that stretch.
    places : dict of module to layer or None
        The weighted layer that a module is, or comes after; None comes before all.
    """

    layers: list[str] = field(default_factory=list)
    activations: dict[str | None, int] = field(default_factory=dict)
    units: dict[str, int] = field(default_factory=dict)
    places: dict[str, str | None] = field(default_factory=dict)


class _Kept:
    """A tensor in the hands of an autograd node: it lives as long as that."""

    __slots__ = ("__weakref__", "by", "is_over", "layer", "tensor", "unit")

    def __init__(self, tensor: Tensor, layer: str | None, by: str | None, is_over: bool, unit: int | None) -> None:
        self.tensor, self.layer, self.by, self.is_over, self.unit = tensor, layer, by, is_over, unit


def saved(plan: Blueprint, size: int) -> Saved:
    """Take one step of the rule without values, all gradients left in place, and return what its forward pass kept."""
    routed, found = plan.routed, Saved()
    images, labels = plan.batch(size)
    watch = _Watch(found)
    with plan.stepping(size), torch.autograd.graph.saved_tensors_hooks(watch.pack, lambda kept: kept.tensor):
        with following(routed, watch):
            output = routed(images, labels)
        watch.layer, watch.is_over = None, True
        loss = nn.functional.cross_entropy(output, labels)
        held = [kept for ref in watch.seen if (kept := ref()) is not None]
        if routed.own_step is None:
            _add_up(found, held, routed)
            del held
            loss.backward()
        else:  # it runs the network once more in place of a backward pass, and keeps what that asks for
            watch.again, watch.is_over = held, False
            with following(routed, watch):
                loss.backward()
            _add_up(found, held, routed)
    return found


def _key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


@dataclass
class _Watch:
    """Where in the network a pass is."""

    found: Saved
    seen: list[weakref.ref] = field(default_factory=list)
    again: list[_Kept] | None = None
    made: dict[int, tuple[StorageWeakRef, str | None]] = field(default_factory=dict)
    layer: str | None = None
    unit: int = 0
    is_over: bool = False
    is_tapping: bool = False

    def pack(self, tensor: Tensor) -> _Kept:
        made = self.made.get(_key(tensor))
        kept = _Kept(
            tensor,
            self.layer if made is None else made[1],
            self.layer,
            self.is_over,
            None if self.is_tapping else self.unit,
        )
        if self.again is None:
            self.seen.append(weakref.ref(kept))
        else:
            self.again.append(kept)
        return kept

    def enter(self, name: str, module: nn.Module) -> None:
        if is_weighted(module):
            self.layer = name
            if name not in self.found.layers:
                self.found.layers.append(name)
        self.found.places.setdefault(name, self.layer)

    def leave(self, output: object) -> None:
        if isinstance(output, Tensor):  # the reference keeps the place from being given to another storage
            self.made.setdefault(_key(output), (StorageWeakRef(output.untyped_storage()), self.layer))

    def turn(self) -> None:
        self.unit += 1

    def tap(self, is_tapping: bool) -> None:
        self.is_tapping = is_tapping  # what an edge keeps to deliver its error is not of the unit that it stands in


@contextmanager
def following(routed: Routed, watch: _Watch) -> Iterator[None]:
    """Within this context a pass tells which module it enters and where it is cut."""
    handles = []
    for name, module in routed.network.named_modules():
        handles.append(module.register_forward_pre_hook(lambda m, args, name=name: watch.enter(name, m)))
        handles.append(module.register_forward_hook(lambda m, args, output: watch.leave(output)))
    for port in {*(edge.target for edge in routed.edges), *routed.cuts}:
        module = routed.network.get_submodule(port.module)
        register = module.register_forward_pre_hook if port.side == "input" else module.register_forward_hook
        handles.append(register(lambda *_: watch.turn()))
    for port in {port for edge in routed.edges for port in (edge.source, edge.target)}:
        module = routed.network.get_submodule(port.module)
        register = module.register_forward_pre_hook if port.side == "input" else module.register_forward_hook
        handles.append(register(lambda *_: watch.tap(True), prepend=True))
        handles.append(register(lambda *_: watch.tap(False)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _add_up(found: Saved, held: list[_Kept], routed: Routed) -> None:
    own = {_key(tensor) for tensor in (*routed.parameters(), *routed.buffers())}
    counted, units = set(own), {}
    firsts: dict[int, str] = {}
    for kept in held:
        storage, key = kept.tensor.untyped_storage(), _key(kept.tensor)
        # What is kept before the first layer runs is that layer's.
        layer = None if kept.is_over else kept.layer or found.layers[0]
        if key not in counted:
            counted.add(key)
            found.activations[layer] = found.activations.get(layer, 0) + storage.nbytes()
        if kept.unit is not None and not kept.is_over and key not in own:
            firsts.setdefault(kept.unit, kept.by or found.layers[0])
            units.setdefault(kept.unit, {})[key] = storage.nbytes()
    for unit, storages in units.items():
        found.units[firsts[unit]] = found.units.get(firsts[unit], 0) + sum(storages.values())

"""Living: the most that lives at once while a network answers without gradients, by layer."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rfmodel.costs.blueprint import Blueprint
from rfmodel.costs.products import is_weighted


class _Living(TorchDispatchMode):
    """Notes after each operation how many bytes of tensors other than `own` are referred to."""

    def __init__(self, own: set[int]) -> None:
        super().__init__()
        self.own, self.layer = own, None
        self.known: dict[int, tuple[StorageWeakRef, int]] = {}
        self.most: dict[str | None, int] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves((args, kwargs, result)):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self.own and storage._cdata not in self.known:
                    self.known[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self.known = {key: entry for key, entry in self.known.items() if not entry[0].expired()}
        now = sum(size for _, size in self.known.values())
        self.most[self.layer] = max(now, self.most.get(self.layer, 0))
        return result


def living(plan: Blueprint, size: int) -> dict[str | None, int]:
    """Return by weighted layer the most bytes that live while it, or an unweighted module after it, runs.

    Parameters and buffers are left out; the images are held throughout. None is what comes before the first layer.
    """
    network = plan.routed.network
    modes = {module: module.training for module in network.modules()}
    images, _ = plan.batch(size)
    watched = _Living({t.untyped_storage()._cdata for t in (*network.parameters(), *network.buffers())})
    handles = [
        module.register_forward_pre_hook(lambda _, args, name=name: setattr(watched, "layer", name))
        for name, module in network.named_modules()
        if is_weighted(module)
    ]
    try:
        with plan.stepping(size), torch.no_grad(), watched:
            network.eval()(images)
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode
    return watched.most

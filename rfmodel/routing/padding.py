"""Padding that a convolution does itself: how it maps indices, and the transpose of that map."""

from __future__ import annotations

import torch
from torch import Tensor, nn

Pads = tuple[int, int, int, int]  # left, right, top, bottom, as torch.nn.functional.pad takes them


def pad(h: Tensor, pads: Pads, mode: str) -> Tensor:
    """Return h (b, n, y, x) padded as nn.Conv2d does: zeros, reflect, replicate or circular."""
    return nn.functional.pad(h, pads, "constant" if mode == "zeros" else mode)


def unpad(delta: Tensor, pads: Pads, mode: str) -> Tensor:
    """Return the transpose of `pad` applied to delta: what falls on the padding goes back where it was read."""
    left, right, top, bottom = pads
    height, width = delta.shape[-2] - top - bottom, delta.shape[-1] - left - right
    if mode == "zeros":
        return delta[..., top : top + height, left : left + width]
    if mode in BACKWARD:  # the operator that autograd itself calls: it adds up in the same order
        return BACKWARD[mode](delta, delta.new_empty(*delta.shape[:-2], height, width), pads)
    return _fold(_fold(delta, 2, top, bottom), 3, left, right)


BACKWARD = {
    "reflect": torch.ops.aten.reflection_pad2d_backward,
    "replicate": torch.ops.aten.replication_pad2d_backward,
}


def _fold(delta: Tensor, dim: int, before: int, after: int) -> Tensor:
    size = delta.shape[dim] - before - after
    index = torch.arange(-before, size + after, device=delta.device) % size
    shape = list(delta.shape)
    shape[dim] = size
    return delta.new_zeros(shape).index_add_(dim, index, delta)

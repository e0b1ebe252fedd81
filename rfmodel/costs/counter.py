"""The counter that accounts are checked against: PyTorch's own, put right for convolutions in groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import torch
from torch.utils.flop_counter import FlopCounterMode


def counter() -> FlopCounterMode:
    """Return a FlopCounterMode that counts 2 FLOPs for each multiply-add of a matrix product or convolution.

    It differs from the stock one in one formula: that takes the weight gradient of a convolution in g groups for one
    of a single group, g times what is computed. Neither counts element-wise operations, norms, pooling, products of
    a matrix with a vector (mv) or matrix decompositions; both count products with the zeros of a padding.
    """
    return FlopCounterMode(display=False, custom_mapping={torch.ops.aten.convolution_backward: _convolution_backward})


def counting(work: Callable[[], object]) -> int:
    """Return the FLOPs that a call performs."""
    with counter() as count:
        work()
    return count.get_total_flops()


def _convolution_backward(
    delta: Sequence[int],
    h: Sequence[int],
    W: Sequence[int],
    bias: object,
    stride: object,
    padding: object,
    dilation: object,
    transposed: bool,
    output_padding: object,
    groups: int,
    mask: Sequence[bool],
    **_: object,
) -> int:
    # Both gradients have one product for each entry of the smaller grid, each channel of a group and each tap.
    return 2 * prod(h if transposed else delta) * prod(W[1:]) * (bool(mask[0]) + bool(mask[1]))

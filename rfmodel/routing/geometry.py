"""Geometry: how a feedback matrix lies between the tensor where an error is read and the one it is delivered to.

Every feedback weight here has the *forward orientation*, the shape of the weight whose transpose it stands for, so
that `adjoint(W, delta)` with the layer's own W is backpropagation's input gradient, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from rfmodel.routing.padding import Pads, pad, unpad
from rfmodel.routing.ports import Shape


@dataclass(frozen=True)
class Linear:
    """W is (m, n) and acts on the last dimension, whatever stands before it."""

    m: int
    n: int

    def weight_shape(self, rows: int) -> Shape:
        return (rows, self.n)

    @property
    def own_shape(self) -> Shape:
        """Shape of the weight that a full-rank map stands for."""
        return self.weight_shape(self.m)

    @property
    def fan(self) -> int:
        """How many terms the adjoint adds up for one entry of the delivered error."""
        return self.m

    @property
    def greatest_rank(self) -> int:
        """The smaller side of B as a matrix."""
        return min(self.m, prod(self.weight_shape(1)))

    def dense(self, W: Tensor) -> Tensor:
        """Return a weight as the matrix (m, n) or (m, n kh kw)."""
        return W.flatten(1)

    def rows(self, delta: Tensor) -> Tensor:
        """Return delta as samples x m: the vectors whose covariance a plasticity rule sees."""
        return delta.reshape(-1, self.m)

    def project(self, P: Tensor, delta: Tensor) -> Tensor:
        """P delta, (..., m) -> (..., r)."""
        return nn.functional.linear(delta, P)

    def correlate(self, y: Tensor, delta: Tensor) -> Tensor:
        """Sum of y delta^T over samples and leading dimensions, (r, m)."""
        return y.reshape(-1, y.shape[-1]).T @ self.rows(delta)

    def spread(self, delta: Tensor) -> tuple[Tensor, Tensor, int]:
        """Return by channel the mean and the variance over rows (divided by their number), and that number."""
        rows = self.rows(delta)
        return *_spread(rows), len(rows)

    def adjoint(self, W: Tensor, delta: Tensor, like: Tensor) -> Tensor:
        """W^T delta, (..., m) -> (..., n)."""
        return delta @ W

    def outer(self, activity: Tensor, delta: Tensor, shape: Shape) -> Tensor:
        """Sum of delta h^T over the batch and leading dimensions, shaped like W."""
        return delta.reshape(-1, shape[0]).T @ activity.reshape(-1, self.n)

    def forward(self, W: Tensor, h: Tensor) -> Tensor:
        """W h, without a bias."""
        return nn.functional.linear(h, W)


@dataclass(frozen=True)
class Convolution:
    """W is (m, n / groups, kh, kw), a convolution's weight; P is a 1x1 convolution over channels (appendix C).

    `padding` is what the kernel of the convolution itself pads with zeros; `pads` (left, right, top, bottom) and
    `mode` are what is laid around the input before it (other modes, or an even kernel's padding="same"). Low-rank
    factors span all channels, so they have one group whatever the layer has.
    """

    m: int
    n: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    pads: Pads = (0, 0, 0, 0)
    mode: str = "zeros"

    def weight_shape(self, rows: int) -> Shape:
        return (rows, self.n, *self.kernel)

    @property
    def own_shape(self) -> Shape:
        return (self.m, self.n // self.groups, *self.kernel)

    @property
    def fan(self) -> int:
        return self.m // self.groups * prod(self.kernel)

    @property
    def greatest_rank(self) -> int:
        return min(self.m, prod(self.weight_shape(1)))

    def dense(self, W: Tensor) -> Tensor:
        """Return a weight as the matrix (m, n kh kw), zero where groups do not meet."""
        if W.shape[1] == self.n:
            return W.flatten(1)
        blocks = W.flatten(2).unflatten(0, (self.groups, -1))  # (groups, m / groups, n / groups, kh kw)
        full = W.new_zeros(self.groups, blocks.shape[1], self.groups, *blocks.shape[2:])
        own = torch.arange(self.groups, device=W.device)
        full[own, :, own] = blocks
        return full.reshape(W.shape[0], -1)

    def rows(self, delta: Tensor) -> Tensor:
        """Batch and space are samples: (b, m, h, w) -> (b h w, m) (appendix C.3)."""
        return delta.movedim(1, -1).reshape(-1, delta.shape[1])

    def project(self, P: Tensor, delta: Tensor) -> Tensor:
        if _is_channels_last(delta):  # the rows are there already: a matrix product without a copy
            return nn.functional.linear(delta.movedim(1, -1), P).movedim(-1, 1)
        return nn.functional.conv2d(delta, P[:, :, None, None])

    def correlate(self, y: Tensor, delta: Tensor) -> Tensor:
        if _is_channels_last(delta):
            return self.rows(y).T @ self.rows(delta)
        return torch.bmm(y.flatten(2), delta.flatten(2).mT).sum(0)

    def spread(self, delta: Tensor) -> tuple[Tensor, Tensor, int]:
        x = self.rows(delta) if _is_channels_last(delta) else delta
        return *_spread(x), delta.numel() // delta.shape[1]

    def adjoint(self, W: Tensor, delta: Tensor, like: Tensor) -> Tensor:
        if not any(self.pads):
            return self._backward(delta, like, W, (True, False, False))[0]
        left, right, top, bottom = self.pads
        b, n, height, width = like.shape
        padded = like.new_empty(b, n, height + top + bottom, width + left + right)
        return unpad(self._backward(delta, padded, W, (True, False, False))[0], self.pads, self.mode)

    def outer(self, activity: Tensor, delta: Tensor, shape: Shape) -> Tensor:
        h = pad(activity, self.pads, self.mode) if any(self.pads) else activity
        blank = delta.new_empty(1).expand(shape)
        return self._backward(delta, h, blank, (False, True, False))[1]

    def forward(self, W: Tensor, h: Tensor) -> Tensor:
        h = pad(h, self.pads, self.mode) if any(self.pads) else h
        return nn.functional.conv2d(h, W, None, self.stride, self.padding, self.dilation, self.n // W.shape[1])

    def _backward(self, delta: Tensor, h: Tensor, W: Tensor, mask: tuple[bool, bool, bool]) -> tuple[Tensor, ...]:
        # The operator that autograd itself calls for a convolution: no forward pass, no second kernel.
        groups = self.n // W.shape[1]
        return torch.ops.aten.convolution_backward(
            delta, h, W, None, self.stride, self.padding, self.dilation, False, [0, 0], groups, mask
        )


@dataclass(frozen=True)
class Dense:
    """W is (m, *target) from the flattened source to every element of the target: it carries spatial structure."""

    source: Shape
    target: Shape

    @property
    def m(self) -> int:
        return prod(self.source)

    @property
    def n(self) -> int:
        return prod(self.target)

    @property
    def fan(self) -> int:
        return self.m

    @property
    def greatest_rank(self) -> int:
        return min(self.m, self.n)

    def weight_shape(self, rows: int) -> Shape:
        # The target's own dimensions: a network in channels_last then takes its maps along.
        return (rows, *self.target)

    @property
    def own_shape(self) -> Shape:
        return self.weight_shape(self.m)

    def dense(self, W: Tensor) -> Tensor:
        return W.flatten(1)

    def rows(self, delta: Tensor) -> Tensor:
        return delta.reshape(-1, self.m)

    def project(self, P: Tensor, delta: Tensor) -> Tensor:
        return nn.functional.linear(self.rows(delta), P)

    def correlate(self, y: Tensor, delta: Tensor) -> Tensor:
        return y.T @ self.rows(delta)

    def spread(self, delta: Tensor) -> tuple[Tensor, Tensor, int]:
        rows = self.rows(delta)
        return *_spread(rows), len(rows)

    def adjoint(self, W: Tensor, delta: Tensor, like: Tensor) -> Tensor:
        rows = delta.reshape(len(like), len(W))
        if like.ndim == 4 and _is_channels_last(like):  # delivered in the target's layout, without a copy
            height, width = like.shape[2:]
            flat = W.movedim(1, -1).reshape(len(W), -1)
            return (rows @ flat).view(len(like), height, width, like.shape[1]).movedim(-1, 1)
        return (rows @ W.reshape(len(W), -1)).reshape(like.shape)

    def outer(self, activity: Tensor, delta: Tensor, shape: Shape) -> Tensor:
        return (delta.reshape(-1, shape[0]).T @ activity.reshape(-1, self.n)).reshape(shape)


Geometry = Linear | Convolution | Dense


def _is_channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def _spread(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return by channel (dimension 1) the mean and the variance over all else, in single precision or better."""
    exact = torch.promote_types(x.dtype, torch.float32)
    if not x.numel():
        return x.new_zeros(x.shape[1], dtype=exact), x.new_zeros(x.shape[1], dtype=exact)
    if x.device.type == "cpu" and not torch.compiler.is_compiling():
        # One pass; var_mean says the same and takes ten times as long. Given float32 to write to, it rounds to no less.
        blank = x.new_zeros(x.shape[1], dtype=exact)
        return torch.batch_norm_update_stats(x, blank, blank.clone(), 0.0)
    variance, mean = torch.var_mean(x.to(exact), [d for d in range(x.ndim) if d != 1], correction=0)
    return mean, variance

"""Geometry: how a feedback matrix lies between the tensor where an error is read and the one it is delivered to.

Every feedback weight here has the *forward orientation*, the shape of the weight whose transpose it stands for, so
that `adjoint(W, delta)` with the layer's own W is backpropagation's input gradient, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from rfmodel.errors import InputError
from rfmodel.routing.ports import Edge, Shape, Trace


@dataclass(frozen=True)
class Linear:
    """W is (m, n) and acts on the last dimension, whatever stands before it."""

    m: int
    n: int

    def weight_shape(self, rows: int) -> Shape:
        return (rows, self.n)

    @property
    def fan(self) -> int:
        """How many terms the adjoint adds up for one entry of the delivered error."""
        return self.m

    def rows(self, delta: Tensor) -> Tensor:
        """Return delta as samples x m: the vectors whose covariance a plasticity rule sees."""
        return delta.reshape(-1, self.m)

    def project(self, P: Tensor, delta: Tensor) -> Tensor:
        """P delta, (..., m) -> (..., r)."""
        return delta @ P.T

    def adjoint(self, W: Tensor, delta: Tensor, like: Tensor) -> Tensor:
        """W^T delta, (..., m) -> (..., n)."""
        return delta @ W

    def outer(self, activity: Tensor, delta: Tensor, shape: Shape) -> Tensor:
        """Sum of delta h^T over the batch and leading dimensions, shaped like W."""
        return delta.reshape(-1, shape[0]).T @ activity.reshape(-1, self.n)


@dataclass(frozen=True)
class Convolution:
    """W is (m, n, kh, kw) and acts as a convolution's weight; P is a 1x1 convolution over channels (appendix C)."""

    m: int
    n: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    def weight_shape(self, rows: int) -> Shape:
        return (rows, self.n, *self.kernel)

    @property
    def fan(self) -> int:
        return self.m * prod(self.kernel)

    def rows(self, delta: Tensor) -> Tensor:
        """Batch and space are samples: (b, m, h, w) -> (b h w, m) (appendix C.3)."""
        return delta.movedim(1, -1).reshape(-1, self.m)

    def project(self, P: Tensor, delta: Tensor) -> Tensor:
        return nn.functional.conv2d(delta, P[:, :, None, None])

    def adjoint(self, W: Tensor, delta: Tensor, like: Tensor) -> Tensor:
        return self._backward(delta, like, W, (True, False, False))[0]

    def outer(self, activity: Tensor, delta: Tensor, shape: Shape) -> Tensor:
        blank = delta.new_empty(1).expand(shape)
        return self._backward(delta, activity, blank, (False, True, False))[1]

    def _backward(self, delta: Tensor, h: Tensor, W: Tensor, mask: tuple[bool, bool, bool]) -> tuple[Tensor, ...]:
        # The operator that autograd itself calls for a convolution: no forward pass, no second kernel.
        return torch.ops.aten.convolution_backward(
            delta, h, W, None, self.stride, self.padding, self.dilation, False, [0, 0], 1, mask
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

    def weight_shape(self, rows: int) -> Shape:
        return (rows, self.n)

    def rows(self, delta: Tensor) -> Tensor:
        return delta.reshape(-1, self.m)

    def project(self, P: Tensor, delta: Tensor) -> Tensor:
        return self.rows(delta) @ P.T

    def adjoint(self, W: Tensor, delta: Tensor, like: Tensor) -> Tensor:
        return (delta.reshape(len(like), -1) @ W).reshape(like.shape)

    def outer(self, activity: Tensor, delta: Tensor, shape: Shape) -> Tensor:
        return delta.reshape(-1, shape[0]).T @ activity.reshape(-1, self.n)


Geometry = Linear | Convolution | Dense


def geometry_of(edge: Edge, record: Trace) -> Geometry:
    """Return how a feedback matrix lies along `edge`.

    A reciprocal edge takes its layer's own geometry. Any other edge takes a convolution between feature maps (the
    kernel of the layer at the target, a stride that brings the target's size to the source's), a matrix between
    vectors, and a dense map between everything else.

    Raises
    ------
    InputError
        If the layer's form has no feedback map here, or if the sizes of two feature maps do not fit.
    """
    layer = record.layer(edge.target.module)
    source, target = record.shape(edge.source), record.shape(edge.target)
    if edge.is_reciprocal:
        return _of_layer(edge.target.module, layer)
    if len(source) == len(target) == 3:
        return _between_maps(edge, source, target, layer)
    if len(source) == len(target) and source[:-1] == target[:-1]:
        return Linear(source[-1], target[-1])
    return Dense(source, target)


def _of_layer(name: str, layer: nn.Module) -> Geometry:
    if isinstance(layer, nn.Linear):
        return Linear(layer.out_features, layer.in_features)
    if not isinstance(layer, nn.Conv2d):
        raise InputError(f"site '{name}' is a {type(layer).__name__}: a reciprocal edge needs a Linear or a Conv2d")
    if layer.groups != 1 or layer.padding_mode != "zeros":
        raise InputError(
            f"site '{name}' has groups={layer.groups}, padding_mode='{layer.padding_mode}': "
            "feedback maps take groups=1 and zero padding"
        )
    padding = layer.padding
    if isinstance(padding, str):
        reach = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        if padding == "same" and any(r % 2 for r in reach):
            raise InputError(f"site '{name}' pads an even kernel unevenly (padding='same'); use an odd kernel")
        padding = tuple(r // 2 for r in reach) if padding == "same" else (0, 0)
    return Convolution(layer.out_channels, layer.in_channels, layer.kernel_size, layer.stride, padding, layer.dilation)


def _between_maps(edge: Edge, source: Shape, target: Shape, layer: nn.Module) -> Convolution:
    kernel = layer.kernel_size if isinstance(layer, nn.Conv2d) else (1, 1)
    stride = tuple(max(1, round(t / s)) for s, t in zip(source[1:], target[1:], strict=True))
    padding = tuple((k - 1) // 2 for k in kernel)
    reached = tuple((t + 2 * p - k) // s + 1 for t, p, k, s in zip(target[1:], padding, kernel, stride, strict=True))
    if reached != source[1:]:
        raise InputError(
            f"edge '{edge}' joins feature maps of {source[1:]} and {target[1:]} pixels, which a {kernel} kernel with a "
            "whole stride cannot; read the error where the sizes are equal or a whole multiple"
        )
    return Convolution(source[0], target[0], tuple(kernel), stride, padding, (1, 1))

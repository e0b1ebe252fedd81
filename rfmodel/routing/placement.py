"""Placement: which geometry a feedback map has along an edge of a traced network."""

from __future__ import annotations

from torch import nn

from rfmodel.errors import InputError
from rfmodel.routing.geometry import Convolution, Dense, Geometry, Linear
from rfmodel.routing.ports import Edge, Shape, Trace


def geometry_of(edge: Edge, record: Trace) -> Geometry:
    """Return how a feedback matrix lies along `edge`.

    A reciprocal edge takes its layer's own geometry. Any other edge takes a convolution between feature maps (the
    kernel of the layer at the target, a stride that brings the target's size to the source's), a matrix between
    vectors or tokens, and a dense map between everything else.

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
    left, right, top, bottom = _pads(layer)
    native = layer.padding_mode == "zeros" and left == right and top == bottom
    return Convolution(
        layer.out_channels,
        layer.in_channels,
        layer.kernel_size,
        layer.stride,
        (top, left) if native else (0, 0),
        layer.dilation,
        layer.groups,
        (0, 0, 0, 0) if native else (left, right, top, bottom),
        layer.padding_mode,
    )


def _pads(layer: nn.Conv2d) -> tuple[int, int, int, int]:
    if layer.padding == "valid":
        return (0, 0, 0, 0)
    if layer.padding == "same":  # an even reach is shared out with the greater half after
        reach = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        (top, bottom), (left, right) = ((r // 2, r - r // 2) for r in reach)
        return (left, right, top, bottom)
    y, x = layer.padding
    return (x, x, y, y)


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

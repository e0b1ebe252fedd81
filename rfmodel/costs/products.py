"""Products: the matrix products of one weighted layer, forward, of its error and of its weights, in closed form."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.utils import parametrize

from rfmodel.factors import Factored, FactoredConv2d, FactoredLinear

FORWARDS = (nn.Linear.forward, nn.Conv2d.forward, FactoredLinear.forward, FactoredConv2d.forward)


class Products(NamedTuple):
    """FLOPs of one call of a layer by part: W h, W^T delta where its input asks for it, delta h^T where it learns."""

    forward: int
    error: int
    weights: int


def is_weighted(module: nn.Module) -> bool:
    """Whether a module does what Linear or Conv2d do: a subclass with a forward of its own may do anything."""
    return type(module).forward in FORWARDS


def products_of(layer: nn.Module, h: Tensor, output: Tensor) -> Products:
    r"""Return what a call costs: 2 for each entry of the output and each weight that goes into it, three times over.

    W^T delta and delta h^T have the products of W h, summed in other orders. A factored layer has two factors, V^T and
    U, each with three products of its own. The error goes through U wherever V, S or the input asks for it, and
    through V^T only where the input does:

    .. math:: 2 r (n + m) \text{ a sample, in place of } 2 n m

    and of a convolution of C to N channels, with k_h x k_w taps, 2 r C k_h for each place of the image with the
    output's rows and the input's columns, and 2 r N k_w for each place of the output.

    Notes
    -----
    Roy et al. (SSA), eqs. 12 and 14, of which this is the exact form; scaling by S is element-wise and not counted.
    """
    if not isinstance(layer, Factored):
        forward = 2 * output.numel() * _fan_in(layer)
        return Products(forward, forward * h.requires_grad, forward * _learns(layer))
    inner, outer = _factors(layer, h, output)
    U, S, V = (getattr(layer, name).requires_grad for name in "USV")  # as they lie there: tapped, or parameters
    between = h.requires_grad or S or V
    if isinstance(layer, nn.Conv2d):  # S is part of the smaller kernel there, and between the two nothing else asks
        is_inside = layer.in_channels * layer.kernel_size[0] <= layer.out_channels * layer.kernel_size[1]
        U, V = U or (S and not is_inside), V or (S and is_inside)
        between = h.requires_grad or V
    return Products(inner + outer, inner * h.requires_grad + outer * between, inner * V + outer * U)


def _factors(layer: Factored, h: Tensor, output: Tensor) -> tuple[int, int]:
    """Return the FLOPs of V^T h and of U times what comes of it."""
    r = layer.rank
    if isinstance(layer, nn.Linear):
        return 2 * h.numel() * r, 2 * output.numel() * r
    height, width = layer.kernel_size
    # The first kernel takes the rows as its stride has them, and leaves the columns to the second.
    places = h.numel() // h.shape[-3] // h.shape[-2] * output.shape[-2]
    return 2 * places * r * layer.in_channels * height, 2 * output.numel() * r * width


def _fan_in(layer: nn.Module) -> int:
    """How many weights go into one entry of the output."""
    if isinstance(layer, nn.Linear):
        return layer.in_features
    return layer.in_channels // layer.groups * prod(layer.kernel_size)


def _learns(layer: nn.Module) -> bool:
    if "weight" in layer.__dict__:  # laid over the parameter: tapped, or made by an older kind of parametrization
        return layer.__dict__["weight"].requires_grad
    if parametrize.is_parametrized(layer, "weight"):
        return any(p.requires_grad for p in layer.parametrizations.weight.parameters())
    return layer.weight.requires_grad

"""What a layer must be to be split into factors, and the split itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.utils import parametrize

from rfmodel.errors import InputError
from rfmodel.factors.schedule import share

KINDS = (nn.Linear, nn.Conv2d)


def decomposed(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    r"""Return U (m, r), S (r,) and V (n, r) of the best approximation of a matrix (m, n) of that rank.

    .. math:: W \approx U \, \mathrm{diag}(S) \, V^T, \quad U^T U = V^T V = I, \quad S_1 \ge S_2 \ge \dots \ge 0

    Notes
    -----
    SSA (2024), eqs. 1 and 2. The sign of a pair of vectors is free; here the greatest entry of each column of U is
    positive, whichever library decomposes.
    """
    U, S, Vh = torch.linalg.svd(in_full(matrix), full_matrices=False)
    sign = U.gather(0, U.abs().argmax(0, keepdim=True)).sign()
    U, V = U * sign, Vh.T * sign
    return tuple(factor[..., :rank].to(matrix.dtype).contiguous() for factor in (U, S, V))


def in_full(matrix: Tensor) -> Tensor:
    """Return a matrix in single precision or better, as decompositions want it."""
    return matrix.to(torch.promote_types(matrix.dtype, torch.float32))


def whole_rank(rank: int | float | None, full: int) -> int:
    """Return a rank that is given as a whole number, as a fraction of the full one, or as None for the full one.

    Parameters
    ----------
    rank : int, float or None
        A whole number from 1, capped at the full rank, or a fraction in (0, 1] of the full rank, rounded up.
    full : int

    Raises
    ------
    InputError
        If it is neither.
    """
    if rank is None:
        return full
    is_number = isinstance(rank, int | float) and not isinstance(rank, bool)
    if not is_number or not (rank >= 1 if isinstance(rank, int) else 0 < rank <= 1):
        raise InputError(
            f"rank {rank!r} is impossible for a factored layer; use a whole number from 1, or a fraction of the full "
            "rank above 0 and up to 1"
        )
    return min(rank, full) if isinstance(rank, int) else share(rank, full)


def check_splits(layer: nn.Module, name: str = "") -> None:
    """Refuse a layer that has no factors, by name.

    Raises
    ------
    InputError
        If it is neither a Linear nor a Conv2d with a forward pass and a weight of its own kind, has no shape yet, has
        groups or hooks, or has weights that are not finite.
    """
    problem = _kind_problem(layer) or _weight_problem(layer)
    if problem:
        raise InputError(f"layer '{name or type(layer).__name__}' cannot be split into U S V^T: {problem}")


def _kind_problem(layer: nn.Module) -> str | None:
    if isinstance(layer, LazyModuleMixin):
        return "it has no shape yet; run the network once on an example first"
    if not isinstance(layer, KINDS):
        return f"it is a {type(layer).__name__}; name Linear or Conv2d layers"
    if parametrize.is_parametrized(layer) or "weight" not in layer._parameters:
        return "its weight is not a parameter but made of others; remove the parametrisation first"
    if isinstance(layer, NonDynamicallyQuantizableLinear):
        return "its attention reads the weight and never calls it; write the attention with nn.Linear"
    kind = next(kind for kind in KINDS if isinstance(layer, kind))
    if any(getattr(type(layer), own, None) is not getattr(kind, own, None) for own in ("forward", "_conv_forward")):
        return f"a {type(layer).__name__} has a forward pass of its own; use a plain {kind.__name__}"
    return None


def _weight_problem(layer: nn.Linear | nn.Conv2d) -> str | None:
    W = layer.weight
    if getattr(layer, "groups", 1) > 1:
        return f"it has {layer.groups} groups, whose kernels share no factors; leave it whole"
    if not W.numel():
        return f"its weight is empty, {tuple(W.shape)}; leave it whole"
    if not W.is_floating_point():
        return f"its weight is {str(W.dtype).removeprefix('torch.')}; use a real floating-point layer"
    if not W.is_meta and not W.isfinite().all():
        return f"{int((~W.isfinite()).sum())} entries of its weight are not finite; start from finite weights"
    if layer._forward_pre_hooks or layer._forward_hooks or layer._backward_pre_hooks or layer._backward_hooks:
        return "it has hooks, which its factors would lose; register them afterwards"
    return None

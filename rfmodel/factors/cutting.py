"""The spectrum of a factored layer, and cuts of its rank that take the optimisers' moments along."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from rfmodel.errors import InputError
from rfmodel.factors.layers import Factored
from rfmodel.factors.splitting import in_full
from rfmodel.factors.stiefel import drift

POWERS = {"exp_avg": 1, "momentum_buffer": 1, "grad_avg": 1, "exp_avg_sq": 2, "max_exp_avg_sq": 2, "square_avg": 2}
ROUNDING = 100  # units of rounding an orthonormal column may be off by: what decompositions and retractions leave


@dataclass(frozen=True)
class Transport:
    """The way from r old columns to r' new ones: those kept with their signs, or a matrix T (r, r')."""

    kept: Tensor
    sign: Tensor
    T: Tensor | None = None

    def __call__(self, x: Tensor, power: int = 1) -> Tensor:
        if self.T is not None:
            return (x.to(self.T.dtype) @ self.T**power).to(x.dtype)
        return x[..., self.kept] * self.sign.to(x.dtype) ** power


@dataclass(frozen=True)
class Change:
    """New factors, the old columns that they took the place of, and the ways of the three factors' moments."""

    factors: dict[str, Tensor]
    kept: Tensor
    moments: dict[str, Transport]


@torch.no_grad()
def spectrum(layer: Factored) -> Tensor:
    """Return the singular values of a layer's matrix, descending, (r,): those of the small core R_U diag(S) R_V^T.

    Parameters
    ----------
    layer : Factored
        Its columns need not be orthonormal, nor its S positive or sorted.

    Raises
    ------
    InputError
        If its factors are not finite.
    """
    _check_finite(layer)
    if _is_orthonormal(layer):
        return layer.S.abs().sort(descending=True).values
    R_U, R_V = (torch.linalg.qr(in_full(factor), mode="r").R for factor in (layer.U, layer.V))
    return torch.linalg.svdvals(R_U * in_full(layer.S) @ R_V.T).to(layer.S.dtype)


@torch.no_grad()
def cut(layer: Factored, rank: int, optimisers: Iterable[Optimizer] = ()) -> Tensor:
    r"""Make a layer's matrix its own best approximation of a rank, with U and V orthonormal and S at least 0.

    .. math:: \|W - W'\|_F^2 = \sum_{j > r'} \sigma_j^2

    The parameters stay the same objects with less memory; their gradients are dropped. Each direction that stays keeps
    its place among those that stay, and the sign of its column of U. Where U and V are orthonormal and S is not
    negative, nothing but columns is dropped.

    Parameters
    ----------
    layer : Factored
    rank : int
        From 1 to the present one, at which the matrix stays and its bases are made orthonormal.
    optimisers : iterable of Optimizer
        Their moments of U, S and V become those of the new columns: slices of the old ones where U and V are
        orthonormal. Elsewhere, with U' = U T, a first moment of U becomes M T, a second one M (T * T), as if its
        entries were independent; S' follows from dS'_j = sum_i (U'^T U)_{ji} (V'^T V)_{ji} dS_i.

    Returns
    -------
    Tensor (r',)
        The old columns that stayed, ascending; a column that drifted is the one that the new direction is nearest to.

    Raises
    ------
    InputError
        If the rank is none, the factors are not finite, or an optimiser's state has no columns to cut.

    Notes
    -----
    Eckart & Young (1936). SSA (2024), section 3.4, says when a rank falls, not how.
    """
    if isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank <= layer.rank:
        raise InputError(f"rank {rank!r} is no cut of a layer of rank {layer.rank}; use 1 to {layer.rank}")
    _check_finite(layer)
    optimisers = list(optimisers)
    for name in "USV":
        _check_states(name, getattr(layer, name), optimisers)
    change = _selected(layer, rank) if _is_orthonormal(layer) else _rotated(layer, rank)
    for name, factor in change.factors.items():
        p = getattr(layer, name)
        for optimiser in optimisers:
            _carry(optimiser.state.get(p, {}), change.moments[name])
        replace(p, factor)
    return change.kept


def replace(p: nn.Parameter, value: Tensor) -> None:
    """Give a parameter a new value of another shape and drop its gradient; the object stays, for its optimisers."""
    value = value.detach().to(p.dtype).clone(memory_format=torch.contiguous_format)
    # What adds up p's gradient knows p's shape, and lives as long as a graph or a DDP that holds it. A change of type
    # lets torch make another; one of shape alone does not.
    p.data = value.to(torch.float32 if p.dtype == torch.float64 else torch.float64)
    p.data = value
    p.grad = None


def _is_orthonormal(layer: Factored) -> bool:
    eps = min(torch.finfo(dtype).eps for dtype in (layer.U.dtype, torch.float32))  # half precision is none that lasts
    bound = ROUNDING * eps * layer.rank**0.5
    return all(float(drift(in_full(factor))) <= bound for factor in (layer.U, layer.V))


def _selected(layer: Factored, rank: int) -> Change:
    """The columns of the greatest |S|; a negative one becomes positive, and turns its column of V."""
    U, S, V = layer.U, layer.S, layer.V
    kept = S.abs().sort(descending=True, stable=True).indices[:rank].sort().values
    sign = torch.where(S[kept] < 0, -1, 1)
    plain, turned = Transport(kept, torch.ones_like(sign)), Transport(kept, sign)
    return Change({"U": plain(U), "S": turned(S), "V": turned(V)}, kept, {"U": plain, "S": turned, "V": turned})


def _rotated(layer: Factored, rank: int) -> Change:
    """The leading singular vectors, each in the place of the old column that it is nearest to."""
    (Q_U, R_U), (Q_V, R_V) = (torch.linalg.qr(in_full(factor)) for factor in (layer.U, layer.V))
    P, sigma, Zh = torch.linalg.svd(R_U * in_full(layer.S) @ R_V.T)
    P, sigma, Z = P[:, :rank], sigma[:rank], Zh.T[:, :rank]
    A, B = P.T @ R_U, Z.T @ R_V  # U'^T U and V'^T V
    places = nearest_columns((A / _lengths(R_U) * B / _lengths(R_V)).abs())
    kept, order = places.sort()
    P, sigma, Z, A, B = P[:, order], sigma[order], Z[:, order], A[order], B[order]
    sign = torch.where(A.gather(1, kept[:, None])[:, 0] < 0, -1.0, 1.0).to(P.dtype)
    P, Z = P * sign, Z * sign
    ways = {"U": _undone(R_U, P), "S": (A * B).T, "V": _undone(R_V, Z)}
    moments = {name: Transport(kept, sign, T) for name, T in ways.items()}
    return Change({"U": Q_U @ P, "S": sigma, "V": Q_V @ Z}, kept, moments)


def nearest_columns(overlap: Tensor) -> Tensor:
    """Return for each row a column of its own, the greatest overlaps first, (rows,).

    Parameters
    ----------
    overlap : Tensor (rows, columns)
        At least 0; no more rows than columns.
    """
    left = overlap.clone()
    rows = torch.arange(len(left), device=left.device)
    found = torch.full_like(rows, -1)
    while (found < 0).any():  # the greatest overlap left is its row's and its column's, so that each round finds some
        best = left.argmax(1)
        mutual = rows[(found < 0) & (left.argmax(0)[best] == rows)]
        found[mutual] = best[mutual]
        left[mutual] = -1
        left[:, found[mutual]] = -1
    return found


def _undone(R: Tensor, P: Tensor) -> Tensor:
    """Return R^+ P, where columns that have all but merged are one."""
    cutoff, diagonal = torch.finfo(R.dtype).eps ** 0.5, R.diagonal().abs()
    if diagonal.min() > cutoff * diagonal.max():
        return torch.linalg.solve_triangular(R, P, upper=True)
    return torch.linalg.pinv(R, rtol=cutoff) @ P


def _lengths(R: Tensor) -> Tensor:
    return torch.linalg.vector_norm(R, dim=0).clamp_min(torch.finfo(R.dtype).tiny)


def _carry(state: dict[str, object], way: Transport) -> None:
    for key, value in state.items():
        if _is_moment(value):
            state[key] = way(value, POWERS[key]).contiguous()


def _check_states(name: str, p: nn.Parameter, optimisers: Iterable[Optimizer]) -> None:
    for optimiser in optimisers:
        for key, value in optimiser.state.get(p, {}).items():
            if _is_moment(value) and (key not in POWERS or value.shape != p.shape):
                raise InputError(
                    f"optimiser {type(optimiser).__name__} keeps '{key}' of shape {tuple(value.shape)} for {name} of "
                    f"shape {tuple(p.shape)}, which a cut of the rank cannot take along; use Adam, RMSprop or SGD"
                )


def _is_moment(value: object) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0


def _check_finite(layer: Factored) -> None:
    for name in "USV":
        factor = getattr(layer, name)
        if factor.is_meta or not factor.isfinite().all():
            found = "has no values, on the meta device" if factor.is_meta else "has entries that are not finite"
            raise InputError(f"{name} of a layer of rank {layer.rank} {found}; its singular values need finite factors")

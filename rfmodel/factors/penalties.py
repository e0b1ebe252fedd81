"""The local losses that SSA lays on a layer's factors and activity, and their gradients in closed form."""

from __future__ import annotations

import torch
from torch import Tensor

from rfmodel.errors import InputError


def orthogonality(U: Tensor, V: Tensor) -> Tensor:
    r"""Return how far both bases are from orthonormal.

    .. math:: L = \|U^T U - I\|_F^2 + \|V^T V - I\|_F^2

    Parameters
    ----------
    U : Tensor (m', r)
    V : Tensor (n', r)

    Notes
    -----
    SSA (2024), eq. 10.
    """
    return _excess(U).square().sum() + _excess(V).square().sum()


def orthogonality_gradient(U: Tensor) -> Tensor:
    """Return the gradient of `orthogonality` by either basis, 4 U (U^T U - I) (eq. 60)."""
    return 4 * U @ _excess(U)


def hoyer(S: Tensor, epsilon: float = 0.0) -> Tensor:
    r"""Return how evenly the singular values are spread, from 1 (one alone) to the square root of r (all equal).

    .. math:: L = \frac{\sum_j \sqrt{S_j^2 + \epsilon^2}}{\|S\|_2}

    It is 0, and has no gradient, where all of S is.

    Parameters
    ----------
    S : Tensor (r,)
    epsilon : float
        Smooths the corners at S_j = 0, and adds to L; with 0 the numerator is the sum of |S_j|.

    Notes
    -----
    SSA (2024), eq. 11, and eq. 71 with epsilon. The paper says that eq. 11 has no upper bound; by Cauchy and Schwarz it
    has.
    """
    length = torch.linalg.vector_norm(S)
    return _roots(S, epsilon).sum() / _never_zero(length) * (length > 0)


def hoyer_gradient(S: Tensor, epsilon: float = 0.0) -> Tensor:
    r"""Return the gradient of `hoyer`.

    .. math:: \frac{\partial L}{\partial S_j} = \frac{1}{\|S\|_2} \left( \frac{S_j}{\sqrt{S_j^2 + \epsilon^2}}
              - L \frac{S_j}{\|S\|_2} \right)
    """
    length = _never_zero(torch.linalg.vector_norm(S))
    roots = _roots(S, epsilon)
    return (S / _never_zero(roots) - roots.sum() * S / length.square()) / length


def alignment(U: Tensor, S: Tensor, V: Tensor, B_U: Tensor, B_S: Tensor, B_V: Tensor) -> Tensor:
    r"""Return the squared distance from a layer's factors to those of its feedback.

    .. math:: L = \|U - B_U\|_F^2 + \|S - B_S\|^2 + \|V - B_V\|_F^2

    Parameters
    ----------
    U, B_U : Tensor (m', r)
    S, B_S : Tensor (r,)
    V, B_V : Tensor (n', r)

    Raises
    ------
    InputError
        If the shapes of a pair differ.

    Notes
    -----
    SSA (2024), eq. 9.
    """
    pairs = {"U": (U, B_U), "S": (S, B_S), "V": (V, B_V)}
    for name, (factor, feedback) in pairs.items():
        _check_pair(name, factor, f"B_{name}", feedback)
    return sum((factor - feedback).square().sum() for factor, feedback in pairs.values())


def cosine(h: Tensor, signal: Tensor, epsilon: float = 0.0) -> Tensor:
    r"""Return one minus the cosine between activity and feedback signal, by sample, on average.

    .. math:: L = 1 - \langle h, s \rangle \, q(h) \, q(s), \quad q(x) = \frac{\|x\|}{\|x\|^2 + \epsilon^2}

    so that q(x) = 1 / |x| with epsilon = 0, and L = 1 where h or s is zero. A sample's maps are one vector.

    Parameters
    ----------
    h, signal : Tensor (batch, ...)
        Of one shape.
    epsilon : float
        Length below which a vector's direction counts less and less. The gradient of eq. 8 grows as 1 / |h|; with
        epsilon it has a bound, is continuous, and vanishes at h = 0.

    Raises
    ------
    InputError
        If the shapes differ.

    Notes
    -----
    SSA (2024), eq. 8, which has no epsilon and says nothing about maps.
    """
    h, signal = _as_vectors(h, signal)
    a, b = torch.linalg.vector_norm(h, dim=1), torch.linalg.vector_norm(signal, dim=1)
    return 1 - ((h * signal).sum(1) * _inverse(a, epsilon) * _inverse(b, epsilon)).mean()


def cosine_gradient(h: Tensor, signal: Tensor, epsilon: float = 0.0) -> Tensor:
    r"""Return the gradient of each sample's `cosine` by its own h, shaped like h: not divided by the batch.

    .. math:: -q(s) \left( q(h) \, s - \langle h, s \rangle \,
              \frac{\|h\|^2 - \epsilon^2}{\|h\| (\|h\|^2 + \epsilon^2)^2} \, h \right)

    It is zero where h or s is.

    Parameters
    ----------
    h, signal : Tensor (batch, ...)
    epsilon : float
        See `cosine`.

    Raises
    ------
    InputError
        If the shapes differ.

    Notes
    -----
    SSA (2024), eq. 41, whose sign is that of the cosine, not of one minus it.
    """
    shape = h.shape
    h, signal = _as_vectors(h, signal)
    a, b = torch.linalg.vector_norm(h, dim=1), torch.linalg.vector_norm(signal, dim=1)
    q = _inverse(a, epsilon)
    unit, direction = h / _never_zero(a)[:, None], signal * _inverse(b, epsilon)[:, None]
    slope = (a.square() - epsilon**2) / _never_zero(a.square() + epsilon**2)  # of -q, times |h|^2 + epsilon^2
    along = (unit * direction).sum(1) * a * slope / _never_zero(a.square() + epsilon**2)
    return (along[:, None] * unit - q[:, None] * direction).reshape(shape)


def _excess(U: Tensor) -> Tensor:
    return U.T @ U - torch.eye(U.shape[1], dtype=U.dtype, device=U.device)


def _roots(S: Tensor, epsilon: float) -> Tensor:
    return (S.square() + epsilon**2).sqrt() if epsilon else S.abs()


def _inverse(length: Tensor, epsilon: float) -> Tensor:
    return length / _never_zero(length.square() + epsilon**2)


def _never_zero(x: Tensor) -> Tensor:
    return torch.where(x == 0, torch.ones_like(x), x)


def _as_vectors(h: Tensor, signal: Tensor) -> tuple[Tensor, Tensor]:
    _check_pair("h", h, "the signal", signal)
    return h.flatten(1), signal.flatten(1)


def _check_pair(name: str, x: Tensor, other: str, y: Tensor) -> None:
    if x.shape != y.shape:
        raise InputError(f"{name} is {tuple(x.shape)} and {other} {tuple(y.shape)}; give them one shape")

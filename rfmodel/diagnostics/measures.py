"""Measures of feedback: each a function of tensors, NaN where it is not defined.

That is where there is no error, nothing to compare with, or something that is not finite: none raises or warns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

MOST_ROWS = 4096  # of an arriving error, so that the spectrum of a feature map has a bounded cost
SUBSAMPLE = 0  # seed of their choice


def angle(a: Tensor, b: Tensor) -> float:
    r"""Return the angle in degrees between two tensors taken as vectors.

    .. math:: \arccos \frac{\langle a, b \rangle}{\|a\| \|b\|}

    Parameters
    ----------
    a, b : Tensor
        Of one shape; summed in float64.

    Returns
    -------
    float
        0 to 180; NaN where one of the two is zero or not finite.
    """
    return angle_together([(a, b)])


def angle_together(pairs: Sequence[tuple[Tensor, Tensor]]) -> float:
    """Return the angle in degrees between two lists of tensors, each list taken as one long vector.

    Parameters
    ----------
    pairs : sequence of (Tensor, Tensor)
        The two tensors of a pair have one shape.

    Returns
    -------
    float
        0 to 180; NaN where one of the two is zero or not finite.
    """
    inner = square_a = square_b = 0.0
    for a, b in pairs:
        a, b = a.detach().flatten().double(), b.detach().flatten().double()
        inner, square_a, square_b = inner + float(a @ b), square_a + float(a @ a), square_b + float(b @ b)
    length = math.sqrt(square_a) * math.sqrt(square_b)
    if not (math.isfinite(inner) and math.isfinite(length) and length > 0):
        return math.nan
    return math.degrees(math.acos(max(-1.0, min(1.0, inner / length))))


def norm(a: Tensor) -> float:
    """Return the Frobenius norm, summed in float64; NaN where it is not finite."""
    length = float(torch.linalg.vector_norm(a.detach(), dtype=torch.float64))
    return length if math.isfinite(length) else math.nan


def norm_ratio(a: Tensor, b: Tensor) -> float:
    """Return ||a|| / ||b||, Frobenius norms; NaN where b is zero or one of the two is not finite."""
    length = norm(b)
    return norm(a) / length if length else math.nan


def energy_passed(rows: Tensor, P: Tensor) -> float:
    r"""Return the fraction of the error's energy that lies in the space of P's rows.

    .. math:: \frac{\sum_i \|V^\top \delta_i\|^2}{\sum_i \|\delta_i\|^2}, \quad V = \text{orthonormal basis of } P^\top

    Uncentred: the mean error counts. P's own scale does not matter, only which directions it reads.

    Parameters
    ----------
    rows : Tensor, shape (samples, m)
    P : Tensor, shape (r, m)

    Returns
    -------
    float
        0 to 1; NaN where there is no error or something is not finite.
    """
    total = norm(rows)
    if not total > 0 or not bool(P.isfinite().all()):
        return math.nan
    _, scales, V = torch.linalg.svd(P.detach().double(), full_matrices=False)
    # Directions of a P of deficient rank are told from rounding as matrix_rank does, at P's own precision.
    read = scales > scales.max() * max(P.shape) * torch.finfo(P.dtype).eps
    passed = norm(rows @ V[read].to(rows.dtype).T)
    return min(1.0, (passed / total) ** 2)


def spectrum(rows: Tensor) -> Tensor | None:
    r"""Return the eigenvalues of the error's second moment, scaled to sum to 1.

    .. math:: \lambda(\tfrac1N \sum_i \delta_i \delta_i^\top) = \sigma(\delta)^2 / N

    Uncentred, as Oja's rule sees it (Hanut & Kadmon eq. 15). Of more than 4096 rows a fixed random choice is
    taken, since rows at a regular stride would be those of a few columns of a feature map.

    Parameters
    ----------
    rows : Tensor, shape (samples, m)

    Returns
    -------
    Tensor, shape (min(samples, m),), float64, or None where there is no error or it is not finite
    """
    if len(rows) > MOST_ROWS:
        chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(SUBSAMPLE))[:MOST_ROWS]
        rows = rows[chosen.to(rows.device)]
    length = norm(rows)
    if not length > 0:
        return None
    rows = rows.detach().double() / length
    # The smaller of the two Gram matrices has the squares of the singular values, at a fraction of an SVD's cost.
    gram = rows.T @ rows if rows.shape[1] <= rows.shape[0] else rows @ rows.T
    values = torch.linalg.eigvalsh(gram).clamp_min(0)
    return values / values.sum()


def participation_ratio(shares: Tensor | None) -> float:
    r"""Return how many directions share the error's energy.

    .. math:: \frac{(\sum_i \lambda_i)^2}{\sum_i \lambda_i^2}

    Parameters
    ----------
    shares : Tensor or None
        As `spectrum` returns it.

    Returns
    -------
    float
        1 (one direction) to m (all alike); NaN for None.

    References
    ----------
    Gao et al. (2017), A theory of multineuronal dimensionality, dynamics and measurement. bioRxiv 214262.
    """
    return math.nan if shares is None else float(1 / shares.square().sum())


def effective_rank(shares: Tensor | None) -> float:
    r"""Return the exponential of the entropy of the error's spectrum.

    .. math:: \exp\big(-\sum_i p_i \log p_i\big), \quad p_i = \lambda_i / \sum_j \lambda_j

    It counts weak directions for more than `participation_ratio` does. Here p are shares of energy; Roy & Vetterli
    take singular values.

    Parameters
    ----------
    shares : Tensor or None
        As `spectrum` returns it.

    Returns
    -------
    float
        1 (one direction) to m (all alike); NaN for None.

    References
    ----------
    Roy & Vetterli (2007), The effective rank: a measure of effective dimensionality. EUSIPCO.
    """
    return math.nan if shares is None else float(torch.special.entr(shares).sum().exp())


def orthonormality_drift(P: Tensor) -> float:
    r"""Return how far P's rows are from orthonormal ones, where Oja's rule leads them.

    .. math:: \|P P^\top - I\|_F / \sqrt r

    0 for orthonormal rows, 1 for P = 0.

    Parameters
    ----------
    P : Tensor, shape (r, m)

    Returns
    -------
    float
        NaN where P is not finite.
    """
    P = P.detach().double()
    return norm(P @ P.T - torch.eye(len(P), dtype=P.dtype, device=P.device)) / math.sqrt(len(P))

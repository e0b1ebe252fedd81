r"""Separation: how far from the best approximation of its width feedback alignment ends.

From any first factors, at any rest of feedback alignment whose W has full row rank, E W^T = 0 makes
Z W = Y Pi_W with Pi_W the projector on the rows of W, and C E = 0 then says C Y = C Y Pi_W: the r rows of C Y lie in
the r dimensions of W's rows, and are all of them. So

.. math:: Z W = Y \Pi, \quad \Pi \text{ on the rows of } C Y,

whatever came before: the approximation of a randomised range finder without oversampling, where gradient descent finds
the singular vectors. It is exact if r >= rank Y. Otherwise, in the basis of Y, with C = [C_1 C_2] and
H = C_1^{-1} C_2, S_1 the top r singular values and S_2 the others,

.. math::
    \|Y - Y \Pi\|_F^2
    = \operatorname{tr} \left[ (I + S_2 H^\top S_1^{-2} H S_2)^{-1} S_2 (I + H^\top H) S_2 \right]
    \le \sum_{j > r} s_j^2 (1 + \|h_j\|^2)

against the optimum's sum of s_j^2: see `rfmodel.theory.worst_case` for what that says about the worst spectrum.

Halko, Martinsson & Tropp (2011), Finding structure with randomness; Eckart & Young (1936).
"""

from __future__ import annotations

import numpy as np
from scipy.stats import quantile_test

from rfmodel.theory.factorisation import beyond
from rfmodel.theory.tasks import transposed


def eckart_young(values: np.ndarray, width: int) -> np.ndarray:
    r"""Return the least error of a factorisation of that width, \sqrt{\sum_{j > r} s_j^2}.

    Parameters
    ----------
    values : (..., d)
        Singular values, falling.
    width : int

    Returns
    -------
    (...)

    Notes
    -----
    Eckart & Young (1936).
    """
    return np.linalg.norm(values[..., width:], axis=-1)


def stationary_error(C: np.ndarray, Y: np.ndarray) -> np.ndarray:
    r"""Return the error at which feedback alignment ends, \|Y - Y \Pi\|_F with Pi on the rows of C Y.

    Parameters
    ----------
    C : (..., r, rows)
    Y : (..., rows, columns)

    Returns
    -------
    (...)
    """
    return np.linalg.norm(beyond(Y, C @ Y), axis=(-2, -1))


def feedback_draws(count: int, width: int, modes: int, rng: np.random.Generator) -> np.ndarray:
    """Return random feedback in the basis of Y, (count, r, d): normal, whose rows span what orthonormal ones do."""
    return rng.normal(size=(count, width, modes))


def separation(values: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return the error at which feedback alignment ends over the least of its width, one ratio a draw.

    Parameters
    ----------
    values : (d,)
        Singular values, falling.
    draws : (draws, r, d)
        Feedback in the basis of Y: its size does not matter, nor the sizes of Y.

    Returns
    -------
    (draws,)
        1 or more; NaN where the least error is nought.
    """
    least = eckart_young(values, draws.shape[1])
    if not least:
        return np.full(len(draws), np.nan)
    return stationary_error(draws, np.diag(values)) / least


def error_by_width(values: np.ndarray, draws: np.ndarray) -> np.ndarray:
    r"""Return the error at which feedback alignment ends, of every width at once.

    Parameters
    ----------
    values : (d,)
        Singular values, falling, above nought.
    draws : (draws, d, d)
        Feedback in the basis of Y; width k has its first k rows.

    Returns
    -------
    (draws, d)
        Of width 1 to d: falling, and nought at d.

    Notes
    -----
    With (C S)^T = Q R, the error of width k is that of the columns of S Q after the k-th.
    """
    Q = np.linalg.qr(transposed(draws * values)).Q
    left = np.square(np.linalg.norm(values[:, None] * Q, axis=-2))
    after = np.cumsum(left[:, ::-1], axis=1)[:, ::-1]
    return np.sqrt(np.concatenate([after[:, 1:], np.zeros((len(draws), 1))], axis=1))


def width_for(values: np.ndarray, width: int, draws: np.ndarray, factor: float = 1.0) -> int:
    """Return how wide feedback alignment has to be for the error of gradient descent.

    Parameters
    ----------
    values : (d,)
        Singular values, falling.
    width : int
        Of gradient descent.
    draws : (draws, d, d)
        As for `error_by_width`.
    factor : float
        By which its error may be larger.

    Returns
    -------
    int
        The least width whose median error is at most the factor times the optimum of gradient descent's width. No more
        than the singular values above nought.
    """
    above = values[values > 0]
    d = len(above)
    median = np.median(error_by_width(above, draws[:, :d, :d]), axis=0)
    # The last digits of an optimum that is met exactly, as in the flat spectrum, are no reason to be wider.
    return int(np.argmax(median <= factor * eckart_young(values, width) * (1 + 1e-9))) + 1


def expected_bound(values: np.ndarray, width: int) -> float:
    r"""Return a bound on the mean error at which feedback alignment with normal C ends.

    .. math:: \min_{k \le r - 2} \left(1 + \frac{k}{r - k - 1}\right)^{1/2} \left(\sum_{j > k} s_j^2\right)^{1/2}

    Parameters
    ----------
    values : (d,)
        Singular values, falling.
    width : int
        2 or more.

    Notes
    -----
    Halko, Martinsson & Tropp (2011), theorem 10.5: k directions found with r - k to spare.
    """
    k = np.arange(width - 1)
    tails = np.sqrt(np.cumsum(np.square(values)[::-1])[::-1])[: width - 1]
    return float((np.sqrt(1 + k / (width - k - 1)) * tails).min())


def step_limit(draws: np.ndarray) -> np.ndarray:
    r"""Return the separation of r equal values and a vanishing flat tail, \sqrt{1 + \|C_1^{-1} C_2\|_F^2 / (d - r)}.

    Parameters
    ----------
    draws : (draws, r, d)

    Returns
    -------
    (draws,)
        Of median about 1.95 sqrt(r): C_1 is square, and its least singular value goes as 1 / sqrt(r) (Edelman 1988).
    """
    r = draws.shape[1]
    return np.sqrt(1 + np.square(_mixing(draws)).sum((-2, -1)) / (draws.shape[2] - r))


def upper_bound(draws: np.ndarray) -> np.ndarray:
    r"""Return what no spectrum's separation is above, \sqrt{1 + \max_j \|h_j\|^2}, (draws,): see the module."""
    return np.sqrt(1 + np.square(_mixing(draws)).sum(-2).max(-1))


def _mixing(draws: np.ndarray) -> np.ndarray:
    r = draws.shape[1]
    return np.linalg.solve(draws[..., :r], draws[..., r:])


def median_interval(ratios: np.ndarray) -> tuple[float, float, float]:
    """Return the median of one ratio a seed and its 95 % interval.

    Returns
    -------
    median, low, high : float
        The interval's ends are two of the ratios; infinite, below six seeds, where none is far enough out.

    Notes
    -----
    Free of the ratios' law, which has no mean (`scipy.stats.quantile_test`; Conover 1999, section 3.2).
    """
    interval = quantile_test(ratios, p=0.5).confidence_interval(0.95)
    low, high = (float(end) for end in (interval.low, interval.high))
    return float(np.median(ratios)), -np.inf if np.isnan(low) else low, np.inf if np.isnan(high) else high

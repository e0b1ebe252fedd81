"""Dependence on rank: what fixed random feedback recovers in the mean, and what it recovers draw by draw."""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.optimize import brentq

from rfmodel.errors import InputError
from rfmodel.theory.stationary import row_basis

FEEDBACK = 71  # of the streams that the feedback of these two modules is drawn from


def random_feedback(outputs: int, rank: int, seeds: int) -> np.ndarray:
    """Return P (seeds, rank, outputs) of standard normal entries; of a higher rank, the first rows are the same."""
    return np.stack([np.random.default_rng([seed, FEEDBACK]).normal(size=(rank, outputs)) for seed in range(seeds)])


def drawn_overlap(s: np.ndarray, ranks: list[int], seeds: int, outputs: int | None = None) -> np.ndarray:
    r"""Return the stationary overlaps of random feedback that is fixed, for each draw and rank.

    .. math:: \Lambda_i = \Pi_{ii}, \qquad \Pi \text{ projects on the rows of } P S

    Outputs beyond the modes do not change their law, nor does the gain: only P's columns at the modes meet S, and
    Gaussian P and P with orthonormal rows have the same law of row spaces.

    Parameters
    ----------
    s : (modes,)
        Singular values above 0, falling.
    ranks : list of int
        Of the first rows of one `random_feedback` a seed, so that a seed's overlaps rise with the rank.
    seeds : int
    outputs : int, optional
        m; as many as modes unless given.

    Returns
    -------
    (seeds, ranks, modes)

    Raises
    ------
    InputError
        If a singular value is not above 0, or a rank below 1.

    Notes
    -----
    `rfmodel.theory.stationary.stationary_overlap`.
    """
    s = _modes(s, min(ranks))
    P = random_feedback(len(s) if outputs is None else outputs, max(ranks), seeds)[..., : len(s)]
    return np.stack([(row_basis(P[:, :rank] * s) ** 2).sum(-2) for rank in ranks], 1)


def expected_overlap(s: np.ndarray, rank: int) -> np.ndarray:
    r"""Return those overlaps in the mean over random feedback, for many modes.

    .. math:: E[\Lambda_i] \approx \frac{s_i^2}{s_i^2 + \mu}, \qquad \sum_i \frac{s_i^2}{s_i^2 + \mu} = r

    Exact for a flat spectrum, r / d by symmetry, and for r >= d, where all are 1.

    Parameters
    ----------
    s : (modes,)
        Singular values above 0.
    rank : int

    Returns
    -------
    (modes,)
        They add up to min(r, d), as the overlaps of every draw do: the trace of the projector.

    Raises
    ------
    InputError
        If a singular value is not above 0, or the rank below 1.

    Notes
    -----
    Derezinski, Liang, Liao & Mahoney (2020), Precise expressions for random projections, theorem 1.
    """
    s = _modes(s, rank)
    if rank >= len(s):
        return np.ones(len(s))
    power = (s / s.max()) ** 2

    def excess(log: float) -> float:
        return (power / (power + np.exp(log))).sum() - rank

    # At the ends each of the terms is above r / d, or below it.
    odds = np.log(len(s) / rank - 1)
    mu = np.exp(brentq(excess, np.log(power.min()) + odds - 1, odds + 1, xtol=1e-14))
    return power / (power + mu)


def dependence(s: np.ndarray, ranks: list[int], seeds: int = 100) -> xr.Dataset:
    """Return how the overlaps of fixed random feedback depend on its rank.

    Parameters
    ----------
    s : (modes,)
        Singular values above 0, falling.
    ranks : list of int
    seeds : int
        Two at least.

    Returns
    -------
    xr.Dataset
        Dims rank (a coordinate) and mode (1..d): ratio (rank), r / d; mean, error, expected (rank, mode): of the draws,
        their mean's standard error, and `expected_overlap`.

    Raises
    ------
    InputError
        If there are fewer than two seeds, or as `drawn_overlap`.
    """
    if seeds < 2:
        raise InputError(f"seeds = {seeds} have no standard error; two or more would do")
    drawn = drawn_overlap(s, ranks, seeds)
    each = ("rank", "mode")
    return xr.Dataset(
        {
            "ratio": ("rank", np.array(ranks) / len(s)),
            "mean": (each, drawn.mean(0)),
            "error": (each, drawn.std(0, ddof=1) / np.sqrt(seeds)),
            "expected": (each, np.stack([expected_overlap(s, rank) for rank in ranks])),
        },
        coords={"rank": list(ranks), "mode": np.arange(1, len(s) + 1)},
    )


def _modes(s: np.ndarray, rank: int) -> np.ndarray:
    s = np.asarray(s, float)
    if not (s > 0).all():
        raise InputError(f"singular value {s.min():g} is no mode; leave out those that are not above 0")
    if rank < 1:
        raise InputError(f"rank = {rank} transmits nothing; 1 or more would do")
    return s

"""Estimates with 95 % intervals, as every figure and table states them."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from scipy import stats

from rfmodel.symmetry.statistics import bootstrap_mean

DRAWS = 1000
Estimate = tuple[float, float, float]
NOTHING: Estimate = (float("nan"), float("nan"), float("nan"))


def over_units(values: np.ndarray, runs: np.ndarray, statistic: Callable[..., np.ndarray] = np.median) -> Estimate:
    """Return a statistic over units and its 95 % interval by bootstrap over runs, then units in a run.

    With one run the interval is over its units only; with no unit all three are NaN.
    """
    if not values.size:
        return NOTHING
    return _bootstrap(values.astype(float).tobytes(), runs.astype(int).tobytes(), statistic, DRAWS)


# A figure and the table of numbers ask for the same interval, and an interval costs a thousand medians.
@functools.lru_cache(maxsize=4096)
def _bootstrap(values: bytes, runs: bytes, statistic: Callable[..., np.ndarray], draws: int) -> Estimate:
    found = bootstrap_mean(np.frombuffer(values), np.frombuffer(runs, int), n=draws, statistic=statistic)
    return found.estimate, found.low, found.high


def fraction(members: np.ndarray, runs: np.ndarray) -> Estimate:
    """Return the fraction of units that are members, and its 95 % interval by bootstrap over runs, then units.

    Where all units or none are members every resample is the same, and the interval is Clopper and Pearson's
    over units: with none of n, from 0 to 1 - .025^(1/n).

    Parameters
    ----------
    members : array of bool, shape (unit,)
    runs : array, shape (unit,)
        Each unit's run.

    Notes
    -----
    Clopper & Pearson (1934): the limits are quantiles of beta distributions. It takes units as independent.
    """
    estimate, low, high = over_units(members.astype(float), runs, np.mean)
    if low != high:  # also where there is no unit: NaN
        return estimate, low, high
    count, of = int(members.sum()), members.size
    low = float(stats.beta.ppf(0.025, count, of - count + 1)) if count else 0.0
    high = float(stats.beta.ppf(0.975, count + 1, of - count)) if count < of else 1.0
    return estimate, low, high


def over_runs(values: np.ndarray) -> Estimate:
    """Return the mean of one value a run and its 95 % Student interval, mean ± t(.975, n-1) s / √n.

    A bootstrap of three to five values is too narrow, so Student's interval is used; with one run it is NaN.
    """
    if not values.size:
        return NOTHING
    mean = float(values.mean())
    if values.size == 1:
        return mean, float("nan"), float("nan")
    half = float(stats.t.ppf(0.975, values.size - 1) * values.std(ddof=1) / np.sqrt(values.size))
    return mean, mean - half, mean + half


def median_over_runs(values: np.ndarray) -> Estimate:
    """Return the median of one value a run and its 95 % interval between two of the values, whatever their law.

    It serves what need not have a mean, such as ratios. Fewer than six runs have no interval, and it is NaN.

    Notes
    -----
    Binomial order statistics: Conover (1999), Practical nonparametric statistics, section 3.2.
    """
    if not values.size:
        return NOTHING
    interval = stats.quantile_test(values, p=0.5).confidence_interval(0.95)
    return float(np.median(values)), float(interval.low), float(interval.high)


def null_band(values: np.ndarray) -> tuple[float, float] | None:
    """Return the central 95 % of the units of the untrained networks, or None where there are none."""
    return None if not values.size else tuple(np.quantile(values, [0.025, 0.975]).tolist())

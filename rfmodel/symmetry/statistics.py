"""Intervals for a population of units that come in groups, the seeds of a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rfmodel.errors import InputError


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval.

    Attributes
    ----------
    estimate, low, high : the statistic, and the 2.5 % and 97.5 % quantiles of its bootstrap distribution.
    groups, units : numbers of groups and units that went in.
    over : "groups and units", or "units only" where there is one group: then the interval says nothing of other seeds.
    """

    estimate: float
    low: float
    high: float
    groups: int
    units: int
    over: str


def bootstrap_mean(
    values: np.ndarray,
    groups: np.ndarray,
    n: int = 2000,
    seed: int = 0,
    statistic: Callable[..., float] = np.nanmedian,
) -> Interval:
    """Return a statistic of units within groups, with an interval that counts the groups.

    Each resample draws groups with replacement, then units with replacement within each drawn group, and takes the
    statistic of all drawn units. Units of one network are not independent, so that resampling units alone would make
    the interval too narrow.

    Parameters
    ----------
    values : ndarray (m,), a metric of units; NaN (dead units) are left out.
    groups : ndarray (m,), the group of each unit.
    n : number of resamples.
    seed : seed of the resampling.
    statistic : function of an array, called with `axis=-1`; a median or mean that skips NaN.

    Returns
    -------
    Interval

    Raises
    ------
    InputError
        If there is no value, the lengths differ, or n is below 1.

    Notes
    -----
    The hierarchical bootstrap of Saravanan, Berman & Sober (2020).
    """
    values, groups = np.asarray(values, dtype=float).ravel(), np.asarray(groups).ravel()
    if values.size != groups.size:
        raise InputError(f"{values.size} values came with {groups.size} groups: one group for each value would do")
    if n < 1:
        raise InputError(f"n = {n} resamples make no interval: 1 or more would do")
    known = np.isfinite(values)
    values, groups = values[known], groups[known]
    if values.size == 0:
        raise InputError("no value was given to resample, or all are NaN: at least one finite value would do")
    members = [values[groups == g] for g in np.unique(groups)]
    rng = np.random.default_rng(seed)
    drawn = np.array([_resampled(members, rng, statistic) for _ in range(n)])
    low, high = np.quantile(drawn, [0.025, 0.975])
    over = "groups and units" if len(members) > 1 else "units only"
    return Interval(float(statistic(values, axis=-1)), float(low), float(high), len(members), values.size, over)


def _resampled(members: list[np.ndarray], rng: np.random.Generator, statistic) -> float:
    picked = rng.integers(len(members), size=len(members))
    units = [members[g][rng.integers(members[g].size, size=members[g].size)] for g in picked]
    return float(statistic(np.concatenate(units), axis=-1))

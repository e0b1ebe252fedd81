"""Which rows to take so that every class keeps its share."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64

from rfmodel.errors import InputError


def first_rows(labels: Int64[np.ndarray, " n"], count: int) -> Int64[np.ndarray, " count"]:
    """Return the first `count` rows, classes in turn: every class's first row, then every class's second, and
    so on.

    Parameters
    ----------
    labels : (n,) class indices.
    count : rows to take, 1 to n.

    Returns
    -------
    Row numbers in ascending order.

    Raises
    ------
    InputError
        If `count` is outside of 1 to n.
    """
    if not isinstance(count, int) or not 1 <= count <= len(labels):
        raise InputError(f"train={count} images were asked for, but 1 to {len(labels)} are there")
    return np.sort(np.argsort(rank_within_class(labels), kind="stable")[:count])


def hold_out(
    labels: Int64[np.ndarray, " n"], fraction: float, seed: int
) -> tuple[Int64[np.ndarray, " kept"], Int64[np.ndarray, " held"]]:
    """Return the rows kept and the rows held out, `fraction` of each class (rounded) drawn without
    replacement.

    Parameters
    ----------
    labels : (n,) class indices.
    fraction : share held out, in [0, 1).
    seed : of the draw alone, so that a study's seeds all share one validation split.

    Returns
    -------
    kept, held : row numbers, both in ascending order.

    Raises
    ------
    InputError
        If `fraction` is not in [0, 1).
    """
    check_fraction(fraction)
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    rank = np.empty(len(labels), np.int64)
    rank[shuffled] = rank_within_class(labels[shuffled])
    quota = np.round(fraction * np.bincount(labels)).astype(np.int64)
    held = rank < quota[labels]
    return np.flatnonzero(~held), np.flatnonzero(held)


def check_fraction(fraction: float) -> None:
    """Raise `InputError` unless `fraction` is a share that leaves something to train on."""
    if not 0 <= fraction < 1:
        raise InputError(f"validation={fraction} was asked for: a fraction from 0 up to, not including, 1 would do")


def rank_within_class(labels: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """Return how many earlier rows have the same label, for each row."""
    order = np.argsort(labels, kind="stable")
    counts = np.bincount(labels)
    starts = np.cumsum(counts) - counts
    rank = np.empty(len(labels), np.int64)
    rank[order] = np.arange(len(labels)) - starts[labels[order]]
    return rank

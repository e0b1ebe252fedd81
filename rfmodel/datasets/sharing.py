"""Sharing a batch among processes that train together."""

from __future__ import annotations


def part(rows: int, which: int, parts: int) -> slice:
    """Return one of `parts` equal runs of a batch's rows; what they cannot share evenly is in none.

    Parameters
    ----------
    rows : of the batch.
    which : from 0.
    parts : processes.
    """
    each = rows // parts
    return slice(which * each, (which + 1) * each)

"""Test error by epoch of every condition on one axis: which rule converges, how fast, and where."""

from __future__ import annotations

import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from rfmodel.figures.learning import history, label_ends
from rfmodel.figures.rows import PERCENT, end_at
from rfmodel.figures.selection import conditions
from rfmodel.figures.theme import CONDITION_PALETTE, condition_colours, condition_dashes, line_count, themed

TOGETHER = 2 * len(CONDITION_PALETTE)  # conditions that colour and dash tell apart on one axis


def errors_height(labels: list[str]) -> float:
    """Return the height in inches of the axes of `error_curves`, in which every label has its line."""
    return max(2.6, 0.155 * len(labels) * line_count(labels))


@themed
def error_curves(study: xr.Dataset, axes: Axes, chosen: list[str] | None = None) -> list[Artist]:
    """Draw the test error by epoch, 100 (1 - a): the mean over finished runs and their range, labels at the ends.

    Parameters
    ----------
    study : Dataset
        With `accuracy_test` (run, epoch), a fraction.
    axes : Axes
        Where to draw, `errors_height` tall, labels to its right.
    chosen : list of str, optional
        The conditions drawn, all by default; sixteen have a colour and dash of their own.

    Returns
    -------
    list of Artist
        The labels.
    """
    chosen = chosen or conditions(study)
    colours, dashes = condition_colours(study), condition_dashes(study)
    ends = history(study, axes, 1 - study["accuracy_test"], chosen, 100.0, colours, dashes)
    axes.set_xlabel("epoch")
    axes.set_ylabel("test error (%)")
    end_at(axes.yaxis, PERCENT)
    return label_ends(axes, ends, colours, errors_height(chosen), dashes)

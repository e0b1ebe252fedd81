"""Test accuracy and dead units by condition: what the symmetry of the fields cost, or came free with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from rfmodel.figures.classes import class_fraction
from rfmodel.figures.comparison import Comparison
from rfmodel.figures.intervals import over_runs
from rfmodel.figures.rows import (
    PERCENT,
    draw_interval,
    draw_key,
    draw_note,
    draw_published,
    end_at,
    frame_rows,
    published_key,
    rings,
)
from rfmodel.figures.selection import conditions, last_values, readout
from rfmodel.figures.theme import condition_colours, themed


@themed
def test_accuracy(
    study: xr.Dataset, axes: Axes, chosen: list[str] | None = None, compared: Sequence[Comparison] = ()
) -> list[Artist]:
    """Draw the test accuracy at the last epoch: a ring a run, the mean and Student's 95 % interval.

    Parameters
    ----------
    study : Dataset
        With `accuracy_test` (run, epoch), a fraction.
    axes : Axes
        Where to draw. It ends at 0 and 100 %, and an interval that goes on ends there in an arrowhead.
    chosen : list of str, optional
        The conditions drawn, all by default.
    compared : sequence of Comparison, optional
        Published values, drawn as diamonds on their rows.

    Returns
    -------
    list of Artist
        Rings, intervals and published values.
    """
    chosen = chosen or conditions(study)
    colours = condition_colours(study)
    theirs = {row.condition: row for row in compared}
    frame_rows(axes, chosen)
    artists: list[Artist] = []
    for row, condition in enumerate(chosen):
        values = 100 * last_values(study, "accuracy_test", condition)
        if condition in theirs:
            same = theirs[condition].like_for_like
            published = 100 * theirs[condition].theirs.accuracy
            artists += draw_published(axes, row - 0.3, published, colours[condition], same)
        if not values.size:
            draw_note(axes, row, "no finished run")
            continue
        artists.append(axes.scatter(values, np.full(values.size, row + 0.22), **rings(colours[condition])))
        artists += draw_interval(axes, row - 0.08, *over_runs(values), colours[condition], bounds=PERCENT)
    end_at(axes.xaxis, PERCENT)
    axes.set_xlabel("test accuracy at the last epoch (%)")
    draw_key(axes, ("○ one run", "◆ mean and 95 % interval", *published_key(compared)))
    return artists


test_accuracy.__test__ = False  # a figure, whatever its name says to a test collector


@themed
def accuracy_and_dead(
    study: xr.Dataset,
    figure: Figure | SubFigure,
    layer: str | None = None,
    chosen: list[str] | None = None,
    compared: Sequence[Comparison] = (),
) -> list[Artist]:
    """Draw `test_accuracy` with the dead fraction of a layer beside it."""
    layer = layer or readout(study)
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    artists = test_accuracy(study, left, chosen, compared)
    artists += class_fraction(study, right, "dead", layer, named=False, chosen=chosen)
    right.set_xlabel(f"fraction dead\n{layer}")
    return artists

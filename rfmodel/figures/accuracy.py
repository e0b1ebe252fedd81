"""Test accuracy and dead units by condition: what the symmetry of the fields cost, or came free with."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from rfmodel.figures.classes import class_fraction
from rfmodel.figures.intervals import over_runs
from rfmodel.figures.rows import draw_interval, draw_key, draw_note, frame_rows
from rfmodel.figures.selection import conditions, last_values, readout
from rfmodel.figures.theme import condition_colours, themed


@themed
def test_accuracy(study: xr.Dataset, axes: Axes, chosen: list[str] | None = None) -> list[Artist]:
    """Draw the test accuracy at the last epoch: a ring a run, the mean and Student's 95 % interval.

    Parameters
    ----------
    study : Dataset
        With `accuracy_test` (run, epoch), a fraction.
    axes : Axes
        Where to draw.
    chosen : list of str, optional
        The conditions drawn, all by default.

    Returns
    -------
    list of Artist
        Rings and intervals.
    """
    chosen = chosen or conditions(study)
    colours = condition_colours(study)
    frame_rows(axes, chosen)
    artists: list[Artist] = []
    for row, condition in enumerate(chosen):
        values = 100 * last_values(study, "accuracy_test", condition)
        if not values.size:
            draw_note(axes, row, "no finished run")
            continue
        style = {
            "s": 16,
            "facecolors": "none",
            "edgecolors": colours[condition],
            "linewidths": 0.9,
            "zorder": 3,
        }
        artists.append(axes.scatter(values, np.full(values.size, row + 0.22), **style))
        artists += draw_interval(axes, row - 0.08, *over_runs(values), colours[condition])
    axes.margins(x=0.08)
    axes.set_xlabel("test accuracy at the last epoch (%)")
    draw_key(axes, ("○ one run", "◆ mean and 95 % interval"))
    return artists


test_accuracy.__test__ = False  # a figure, whatever its name says to a test collector


@themed
def accuracy_and_dead(
    study: xr.Dataset, figure: Figure | SubFigure, layer: str | None = None, chosen: list[str] | None = None
) -> list[Artist]:
    """Draw `test_accuracy` with the dead fraction of a layer beside it."""
    layer = layer or readout(study)
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    artists = test_accuracy(study, left, chosen)
    artists += class_fraction(study, right, "dead", layer, named=False, chosen=chosen)
    right.set_xlabel(f"fraction dead\n{layer}")
    return artists

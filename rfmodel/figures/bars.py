"""Accuracy as bars, ours beside the published value of the same condition."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from rfmodel.figures.comparison import Comparison
from rfmodel.figures.intervals import over_runs
from rfmodel.figures.rows import PERCENT, draw_interval, rings
from rfmodel.figures.selection import conditions, last_values
from rfmodel.figures.theme import INK, condition_colours, themed, wrapped

WIDE = 0.36
FEWEST = 4  # places, so that a lone bar is no wall


@themed
def accuracy_bars(
    study: xr.Dataset,
    axes: Axes,
    chosen: list[str] | None = None,
    compared: Sequence[Comparison] = (),
    labels: dict[str, str] | None = None,
) -> list[Artist]:
    """Draw the test accuracy at the last epoch as a bar a condition, the published value as a bar beside it.

    Parameters
    ----------
    study : Dataset
        With `accuracy_test` (run, epoch), a fraction.
    axes : Axes
        Where to draw; bars start at 0, so that their heights compare, and their values are written above them.
    chosen : list of str, optional
        The conditions drawn, all by default; a page holds about eight.
    compared : sequence of Comparison, optional
        Published values: a tinted bar where like for like, a hollow one where not.
    labels : dict of condition to str, optional
        What to write below the bars in place of a condition's label.

    Returns
    -------
    list of Artist
        Bars, rings, intervals and numbers.
    """
    chosen = chosen or conditions(study)
    colours = condition_colours(study)
    theirs = {row.condition: row for row in compared}
    artists: list[Artist] = []
    for place, condition in enumerate(chosen):
        beside = condition in theirs
        at, colour = place - beside * WIDE / 2, colours[condition]
        values = 100 * last_values(study, "accuracy_test", condition)
        if values.size:
            artists += _ours(axes, at, values, colour)
        else:
            artists.append(axes.text(at, 1, "no finished run", rotation=90, ha="center", va="bottom", style="italic"))
        if beside:
            artists += _theirs(axes, at + WIDE, theirs[condition], colour)
    _frame(axes, [(labels or {}).get(c, c) for c in chosen], [theirs[c] for c in chosen if c in theirs])
    return artists


def _ours(axes: Axes, at: float, values: np.ndarray, colour: str) -> list[Artist]:
    mean, low, high = over_runs(values)
    artists: list[Artist] = list(axes.bar(at, mean, WIDE * 0.92, color=colour, alpha=0.55, linewidth=0))
    artists.append(axes.scatter(np.full(values.size, at - WIDE / 4), values, **rings(colour)))
    artists += draw_interval(axes, at, mean, low, high, colour, bounds=PERCENT, upright=True)
    top = max(values.max(), min(high, PERCENT[1]) if np.isfinite(high) else mean)
    return [*artists, _number(axes, at, top, mean, INK)]


def _theirs(axes: Axes, at: float, row: Comparison, colour: str) -> list[Artist]:
    accuracy = 100 * row.theirs.accuracy
    style = {"facecolor": colour if row.like_for_like else "none", "alpha": 0.25 if row.like_for_like else None}
    artists: list[Artist] = list(axes.bar(at, accuracy, WIDE * 0.92, edgecolor=colour, linestyle="--", **style))
    spread = 100 * (row.theirs.std or 0.0)
    if spread:
        artists.append(axes.errorbar(at, accuracy, spread, color=colour, linewidth=0.9, capsize=2))
    return [*artists, _number(axes, at, accuracy + spread, accuracy, colour)]


def _number(axes: Axes, at: float, above: float, value: float, colour: str) -> Artist:
    return axes.annotate(
        f"{value:.1f}", (at, above), (0, 3), textcoords="offset points", ha="center", va="bottom", color=colour
    )


def _frame(axes: Axes, labels: list[str], published: list[Comparison]) -> None:
    width = max(9, min(20, 84 // max(len(labels), 1)))  # characters of 8 pt between two bars of a page's width
    axes.set_xticks(range(len(labels)), [wrapped(label, width) for label in labels])
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.6, max(len(labels), FEWEST) - 0.4)
    axes.set_ylim(0, 100)
    axes.set_ylabel("test accuracy at the last epoch (%)")
    swatches = [Patch(facecolor="#888888", alpha=0.55, label="ours, ○ one run, ◆ mean and 95 % interval")]
    for same, label in ((True, "published, like for like"), (False, "published, not like for like")):
        if any(row.like_for_like == same for row in published):
            look = {"facecolor": "#DDDDDD" if same else "none", "edgecolor": "#888888", "linestyle": "--"}
            swatches.append(Patch(label=label, **look))
    place = {"loc": "lower left", "bbox_to_anchor": (0, 1.02), "borderaxespad": 0.2, "columnspacing": 1.2}
    axes.legend(handles=swatches, ncols=len(swatches), handlelength=1.2, **place)

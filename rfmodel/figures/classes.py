"""The classes of receptive fields by condition: what the galleries show, counted."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle

from rfmodel.figures.intervals import fraction
from rfmodel.figures.rows import draw_interval, draw_note, frame_rows, rings
from rfmodel.figures.selection import KINDS, conditions, pooled, readout
from rfmodel.figures.theme import INK, KIND_COLOURS, condition_colours, themed


@themed
def class_composition(
    study: xr.Dataset,
    axes: Axes,
    layer: str | None = None,
    chosen: list[str] | None = None,
) -> list[Artist]:
    """Draw the share of each class among a condition's units, dead ones included, with the counts.

    Parameters
    ----------
    study : Dataset
        With `kind` and `status` of dims (run, stage, unit).
    axes : Axes
        Where to draw.
    layer : str, optional
        The retina's output by default.
    chosen : list of str, optional
        The conditions drawn, all by default.

    Returns
    -------
    list of Artist
        The bars' rectangles.
    """
    layer, chosen = layer or readout(study), chosen or conditions(study)
    frame_rows(axes, chosen)
    artists: list[Artist] = []
    for row, condition in enumerate(chosen):
        kinds, _ = pooled(study, "kind", condition, layer)
        if not kinds.size:
            draw_note(axes, row, f"no finished run has {layer}")
            continue
        artists += _draw_counts(axes, row, kinds.astype(str))
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of units (numbers: units)")
    handles = [_swatch(kind) for kind in KINDS]
    place = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "borderaxespad": 0.2}
    axes.legend(handles=handles, ncols=3, handlelength=0.9, columnspacing=1.0, handletextpad=0.4, **place)
    return artists


def _swatch(kind: str) -> Rectangle:
    dead = {"hatch": "/////", "edgecolor": "#AAAAAA"} if kind == "dead" else {"edgecolor": "white"}
    return Rectangle((0, 0), 1, 1, facecolor=KIND_COLOURS[kind], linewidth=0.5, label=kind, **dead)


def _draw_counts(axes: Axes, row: int, kinds: np.ndarray) -> list[Artist]:
    artists: list[Artist] = []
    left = 0.0
    for kind in KINDS:
        count = int((kinds == kind).sum())
        share = count / kinds.size
        if not count:
            continue
        bar = _swatch(kind)
        bar.set_bounds(left, row - 0.33, share, 0.66)
        bar.set_label("_nolegend_")
        artists.append(axes.add_patch(bar))
        if share >= 0.05:
            style = {"color": "white" if kind in ("centre-surround", "oriented") else INK}
            if kind == "dead":
                style["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
            axes.text(left + share / 2, row, str(count), ha="center", va="center_baseline", **style)
        left += share
    return artists


@themed
def class_fraction(
    study: xr.Dataset,
    axes: Axes,
    kind: str = "centre-surround",
    layer: str | None = None,
    named: bool = True,
    chosen: list[str] | None = None,
) -> list[Artist]:
    """Draw the fraction of units in one class: a dot a run, the pooled fraction and its 95 % interval.

    Parameters
    ----------
    study, axes, layer, chosen
        As in `class_composition`.
    kind : str
        A class; "dead" gives the dead fraction.
    named : bool
        Whether the rows carry the conditions' labels.

    Returns
    -------
    list of Artist
        Dots and intervals.
    """
    layer, chosen = layer or readout(study), chosen or conditions(study)
    colours = condition_colours(study)
    frame_rows(axes, chosen, named)
    artists: list[Artist] = []
    for row, condition in enumerate(chosen):
        kinds, runs = pooled(study, "kind", condition, layer)
        if not kinds.size:
            draw_note(axes, row, "no such layer" if named else "none")
            continue
        member = kinds.astype(str) == kind
        each = [member[runs == run].mean() for run in np.unique(runs)]
        artists.append(axes.scatter(each, np.full(len(each), row + 0.22), **rings(colours[condition])))
        artists += draw_interval(axes, row - 0.08, *fraction(member, runs), colours[condition])
    axes.set_xlim(-0.04, 1.04)
    axes.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
    axes.set_xlabel(f"fraction\n{kind}")
    return artists


@themed
def classes(
    study: xr.Dataset,
    figure: Figure | SubFigure,
    layer: str | None = None,
    chosen: list[str] | None = None,
) -> list[Artist]:
    """Draw `class_composition` with the centre-surround and oriented fractions beside it."""
    left, middle, right = figure.subplots(1, 3, width_ratios=(2.6, 1, 1))
    artists = class_composition(study, left, layer, chosen)
    artists += class_fraction(study, middle, "centre-surround", layer, named=False, chosen=chosen)
    return artists + class_fraction(study, right, "oriented", layer, named=False, chosen=chosen)

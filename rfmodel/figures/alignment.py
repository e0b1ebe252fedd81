"""Angle between the delivered error and backpropagation's by epoch, over the layers that an error is delivered to."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from rfmodel.figures.learning import history, label_ends
from rfmodel.figures.selection import conditions, place
from rfmodel.figures.theme import condition_colours, condition_dashes, line_count, themed

NEAR, FAR = 40.0, 60.0  # degrees: what is expected of SSA, and beyond what of DFA
OWN = 0.1  # degrees: an error that is backpropagation's own, but for the rounding of a cosine near 1


def mean_angles(study: xr.Dataset) -> xr.DataArray:
    """Return each run's angle with backpropagation, the mean over its edges, dims (run, epoch), degrees.

    The output layer's own output is left out: there the error is backpropagation's under any rule, and to count it
    would flatter the rules that list it.

    Parameters
    ----------
    study : Dataset
        With `angle` (run, epoch, edge).
    """
    angle = study["angle"].transpose("run", "epoch", "edge")
    counted = np.isfinite(angle.values) & ~_own(angle)[:, None]
    total = np.where(counted, angle.values, 0.0).sum(axis=2)
    mean = np.where(counted.any(axis=2), total / np.maximum(counted.sum(axis=2), 1), np.nan)
    return xr.DataArray(mean, {"epoch": study["epoch"]}, ("run", "epoch"), "angle")


def _own(angle: xr.DataArray) -> np.ndarray:
    """Return by run and edge whether the error is the output layer's own.

    It is 0 degrees from backpropagation's at every epoch; or, where a local term is added to it, delivered to the
    output of the one layer to both sides of which a rule delivers errors.
    """
    known = np.isfinite(angle.values)
    held = known.any(axis=1)
    targets = [str(edge).rpartition("->")[2] for edge in angle["edge"].values]
    sides = [{targets[k] for k in np.flatnonzero(run)} for run in held]
    outputs = {t for run in sides for t in run if t.endswith(".output") and t.removesuffix("output") + "input" in run}
    zero = np.where(known, angle.values, 0.0).max(axis=1) < OWN
    return held & (zero | np.isin(targets, sorted(outputs)))


def aligned(study: xr.Dataset) -> list[str]:
    """Return the conditions of which a run has an angle, in the study's order."""
    if "angle" not in study or "epoch" not in study["angle"].dims:
        return []
    held = np.isfinite(mean_angles(study).values).any(axis=1)
    having = set(study["condition"].values.astype(str)[held].tolist())
    return [condition for condition in conditions(study) if condition in having]


def by_network(study: xr.Dataset, chosen: list[str]) -> dict[str, list[str]]:
    """Return conditions by the network that they are of."""
    found: dict[str, list[str]] = {}
    for condition in chosen:
        found.setdefault(str(place(study, condition, "network")), []).append(condition)
    return found


def alignment_heights(study: xr.Dataset, chosen: list[str]) -> list[float]:
    """Return the height in inches of each panel of `alignment_by_epoch`."""
    return [max(2.0, 0.155 * len(own) * line_count(own) + 0.3) for own in by_network(study, chosen).values()]


@themed
def alignment_by_epoch(study: xr.Dataset, figure: Figure | SubFigure, chosen: list[str] | None = None) -> list[Artist]:
    """Draw the mean angle with backpropagation by epoch, a panel a network, with marks at 40 and 60 degrees.

    Parameters
    ----------
    study : Dataset
        With `angle` (run, epoch, edge), degrees.
    figure : Figure or SubFigure
        Where to draw, as tall as `alignment_heights` adds up to.
    chosen : list of str, optional
        The conditions drawn, all with an angle by default; sixteen are told apart.

    Returns
    -------
    list of Artist
        The labels and the marks.

    Notes
    -----
    Roy et al., arXiv 2510.25594: SSA below 40 degrees by epoch 50, DFA above 60, as a summary of it expects.
    """
    chosen = chosen or aligned(study)
    groups, heights = by_network(study, chosen), alignment_heights(study, chosen)
    values, colours, dashes = mean_angles(study), condition_colours(study), condition_dashes(study)
    panels = figure.subplots(len(groups), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    artists: list[Artist] = []
    for axes, (network, own), tall in zip(panels, groups.items(), heights, strict=True):
        ends = history(study, axes, values, own, 1.0, colours, dashes)
        axes.set_title(network)
        axes.set_ylabel("angle with BP (°)")
        axes.set_ylim(0, max(95.0, 1.03 * axes.dataLim.y1) if axes.has_data() else 95.0)
        artists += _marks(axes) + label_ends(axes, ends, colours, tall - 0.3, dashes)
    panels[-1].set_xlabel("epoch")
    return artists


def _marks(axes: Axes) -> list[Artist]:
    """Draw dotted lines at 40, 60 and 90 degrees, the first two with what is expected there."""
    artists: list[Artist] = []
    for at, said in ((NEAR, "SSA expected below"), (FAR, "DFA expected above"), (90.0, "")):
        artists.append(axes.axhline(at, color="#888888", linestyle=":", linewidth=0.9, zorder=0))
        where = {"ha": "right", "va": "top" if at == NEAR else "bottom", "fontsize": 8, "color": "#666666"}
        if said:
            axes.annotate(said, (1, at), (-2, -2 if at == NEAR else 2), **where,
                          xycoords=("axes fraction", "data"), textcoords="offset points")  # fmt: skip
    return artists

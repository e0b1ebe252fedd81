"""Orientation tuning: average curves on the circle, and every unit's selectivity by condition."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.figure import Figure, SubFigure
from matplotlib.projections.polar import PolarAxes

from rfmodel.figures.distributions import metric_distribution, missing_note
from rfmodel.figures.selection import conditions, readout, run_units, seeds
from rfmodel.figures.theme import condition_colours, line_count, themed, wrapped

POLAR_COLUMNS = 6


def aligned_tuning(curves: np.ndarray) -> np.ndarray:
    """Return tuning curves turned so that the preferred orientation comes first, each divided by its peak.

    Parameters
    ----------
    curves : array, shape (unit, orientation)
        Responses on an even grid over 180 degrees.

    Returns
    -------
    array, shape (unit, orientation)
        Units without a positive response are left out.
    """
    curves = curves[np.isfinite(curves).all(axis=1)]
    curves = curves[curves.max(axis=1) > 0] if curves.size else curves
    best = curves.argmax(axis=1) if curves.size else np.empty(0, int)
    turned = [np.roll(curve, -at) / curve[at] for curve, at in zip(curves, best, strict=True)]
    return np.array(turned).reshape(-1, curves.shape[1])


def _curves(study: xr.Dataset, condition: str, layer: str, stage: str) -> np.ndarray:
    found = [
        units["tuning"].transpose("unit", "orientation").values
        for seed in seeds(study, condition)
        if (units := run_units(study, condition, layer, seed, stage)) is not None
    ]
    return aligned_tuning(np.concatenate([np.empty((0, study.sizes["orientation"])), *found]))


@themed
def polar_tuning(study: xr.Dataset, axes: PolarAxes, condition: str, layer: str | None = None) -> list[Artist]:
    """Draw a condition's mean tuning curve, turned to each unit's preferred orientation.

    Parameters
    ----------
    study : Dataset
        With `tuning` (run, stage, unit, orientation), orientation in degrees on an even grid over [0, 180).
    axes : PolarAxes
        Where to draw; the angle is the orientation relative to the preferred one.
    condition : str
        Whose units.
    layer : str, optional
        The retina's output by default.

    Returns
    -------
    list of Artist
        The untrained line, the trained line and the band between the quartiles, as far as there are units.
    """
    layer = layer or readout(study)
    colour = condition_colours(study)[condition]
    degrees = study["orientation"].values.astype(float)
    # Orientation has period 180 degrees, so the curve is drawn twice around the circle and closed.
    turned = degrees - degrees[0]
    angle = np.deg2rad(np.concatenate([turned, turned + 180, [360.0]]))
    artists: list[Artist] = []
    styles = {"untrained": {"color": "#8A8A8A", "linestyle": (0, (2, 1.2))}, "trained": {"color": colour}}
    for stage, style in styles.items():
        curves = _curves(study, condition, layer, stage)
        if not len(curves):
            continue
        if stage == "trained":
            low, high = np.quantile(curves, [0.25, 0.75], axis=0)
            band = {"color": colour, "alpha": 0.22, "linewidth": 0}
            artists.append(axes.fill_between(angle, _round(low), _round(high), **band))
        artists += axes.plot(angle, _round(curves.mean(axis=0)), **style)
    if not artists:
        note = wrapped(missing_note(study, condition, layer), 14)
        axes.text(
            0.5,
            0.5,
            note,
            transform=axes.transAxes,
            ha="center",
            va="center",
            style="italic",
            color="#666666",
        )
    _dress(axes, wrapped(condition, 18), colour)
    return artists


def _round(curve: np.ndarray) -> np.ndarray:
    return np.concatenate([curve, curve, curve[:1]])


def _dress(axes: PolarAxes, label: str, colour: str) -> None:
    axes.set_xlabel(label, color=colour, fontsize=8, weight="bold", labelpad=3)
    axes.set_ylim(0, 1.02)
    axes.set_thetagrids([0, 90, 180, 270], ["0°", "90°", "", ""])
    axes.set_rgrids([0.5, 1.0], ["", ""])
    axes.tick_params(axis="x", pad=-2)
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.spines["polar"].set_visible(False)


def tuning_height(labels: list[str], row: float) -> tuple[float, float]:
    """Return the heights in inches of the polar part and of the part below it."""
    rings = -(-len(labels) // POLAR_COLUMNS)
    return rings * (1.34 + 0.14 * line_count(labels, 18)), len(labels) * row + 0.75


@themed
def orientation_tuning(
    study: xr.Dataset,
    figure: Figure | SubFigure,
    layer: str | None = None,
    chosen: list[str] | None = None,
    heights: tuple[float, float] = (1.0, 1.0),
) -> list[Artist]:
    """Draw `polar_tuning` of every condition above the distributions of OSI and gOSI.

    OSI of noise lies near one half, so it is never drawn without the untrained band.
    """
    layer, chosen = layer or readout(study), chosen or conditions(study)
    top, bottom = figure.subfigures(2, 1, height_ratios=heights)
    count = -(-len(chosen) // POLAR_COLUMNS)
    grid = top.add_gridspec(count, POLAR_COLUMNS)
    artists: list[Artist] = []
    for index, condition in enumerate(chosen):
        place = grid[index // POLAR_COLUMNS, index % POLAR_COLUMNS]
        artists += polar_tuning(study, top.add_subplot(place, projection="polar"), condition, layer)
    left, right = bottom.subplots(1, 2)
    artists += metric_distribution(study, left, "osi", layer, chosen=chosen)
    return artists + metric_distribution(study, right, "gosi", layer, named=False, chosen=chosen)

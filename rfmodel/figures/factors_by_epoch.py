"""Factored layers by epoch: the rank of each, how far its factors drift, how sparse its singular values are."""

from __future__ import annotations

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from rfmodel.figures.learning import mean_and_range
from rfmodel.figures.selection import conditions, per_condition
from rfmodel.figures.theme import INK, themed, wrapped
from rfmodel.figures.theory_over_time import tenfold

FACTORS = {
    "factor_rank": "rank (% of the first)",
    "factor_drift": "drift from orthonormal",
    "factor_hoyer": "‖S‖₁ / ‖S‖₂",
}
ACROSS = 3  # conditions beside each other
NAMED = 16  # layers that a key holds
DARKEST, LIGHTEST = 0.02, 0.88  # of the colour map, whose lightest end is too faint for a line
OCTAVES = 50.0  # greatest over least positive value beyond which a scale is logarithmic
PANEL = 1.75  # inches


def factored(study: xr.Dataset) -> tuple[list[str], list[str]]:
    """Return the conditions with factored layers, and those layers, in the study's order."""
    names = [name for name in FACTORS if name in study and "site" in study[name].dims]
    if not names:
        return [], []
    held = [np.isfinite(study[name].transpose("run", "site", "epoch").values).any(axis=2) for name in names]
    cells = np.any(held, axis=0)
    having = set(study["condition"].values.astype(str)[cells.any(axis=1)].tolist())
    return [c for c in conditions(study) if c in having], study["site"].values[cells.any(axis=0)].astype(str).tolist()


def factors_height(quantities: int, sites: list[str]) -> float:
    """Return the height in inches of `factors_by_epoch`: of its rows, or of its key where that is taller."""
    return max(quantities * PANEL + 0.5, 0.17 * min(len(sites), NAMED) + 0.6)


def site_colours(sites: list[str]) -> dict[str, str]:
    """Return a colour a layer, from dark for the first to light for the last."""
    shades = matplotlib.colormaps["viridis"](np.linspace(DARKEST, LIGHTEST, len(sites)))
    return {site: to_hex(shade) for site, shade in zip(sites, shades, strict=True)}


@themed
def factors_by_epoch(
    study: xr.Dataset, figure: Figure | SubFigure, chosen: list[str] | None = None, sites: list[str] | None = None
) -> list[Artist]:
    """Draw rank, drift and sparsity of each factored layer by epoch, a column a condition, a line a layer.

    Parameters
    ----------
    study : Dataset
        With any of `factor_rank`, `factor_drift` and `factor_hoyer` (run, epoch, site).
    figure : Figure or SubFigure
        Where to draw, `factors_height` tall; a row a quantity.
    chosen : list of str, optional
        The conditions drawn, at most three beside each other; the first three with factored layers by default.
    sites : list of str, optional
        The layers, from dark to light; all with values in a run of the conditions by default.

    Returns
    -------
    list of Artist
        The lines of the means over finished runs.
    """
    chosen = chosen or factored(study)[0][:ACROSS]
    rows = study["condition"].isin(chosen).values
    sites = sites or factored(study.isel(run=rows))[1]
    quantities = {name: label for name, label in FACTORS.items() if name in study}
    grid = figure.subplots(len(quantities), len(chosen), sharex=True, sharey="row", squeeze=False)
    artists: list[Artist] = []
    for panels, (name, label) in zip(grid, quantities.items(), strict=True):
        for axes, condition in zip(panels, chosen, strict=True):
            artists += _lines(study, axes, name, condition, sites)
        panels[0].set_ylabel(wrapped(label, 18))
        _scale(panels[0], panels)
    for axes, condition in zip(grid[0], chosen, strict=True):
        axes.set_title(wrapped(condition, 26), color=INK)
    for axes in grid[-1]:
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    _name_sites(figure, sites, _ranks(study, chosen, sites))
    return artists


def _lines(study: xr.Dataset, axes: Axes, name: str, condition: str, sites: list[str]) -> list[Artist]:
    """Draw one quantity of one condition: the mean over finished runs, and their range."""
    known = study["site"].values.astype(str).tolist()
    values = per_condition(study.transpose("run", "epoch", "site", ...), name, condition)
    values = 100 * values / values[:, :1] if name == "factor_rank" else values
    epochs, colours = study["epoch"].values, site_colours(sites)
    artists: list[Artist] = []
    for site in sites:
        mean, low, high = mean_and_range(values[:, :, known.index(site)])
        at = np.isfinite(mean)
        if at.any():
            axes.fill_between(epochs[at], low[at], high[at], color=colours[site], alpha=0.2, linewidth=0)
            artists += axes.plot(epochs[at], mean[at], color=colours[site], label=site)
    return artists


def _scale(first: Axes, panels: np.ndarray) -> None:
    """Make a row logarithmic where its values are positive and span more than an axis shows otherwise."""
    drawn = [line.get_ydata() for axes in panels for line in axes.lines]
    values = np.concatenate([np.asarray(y, float) for y in drawn]) if drawn else np.empty(0)
    positive = values[values > 0]
    if positive.size and positive.size == values.size and positive.max() > OCTAVES * positive.min():
        tenfold(first.yaxis)


def _ranks(study: xr.Dataset, chosen: list[str], sites: list[str]) -> dict[str, str]:
    """Return the rank of each layer before training, "" where the conditions' differ or none is known."""
    if "factor_rank" not in study:
        return dict.fromkeys(sites, "")
    known = study["site"].values.astype(str).tolist()
    first = study["factor_rank"].transpose("run", "epoch", "site").values[study["condition"].isin(chosen).values, 0]
    ranks = {site: {int(r) for r in first[:, known.index(site)] if np.isfinite(r)} for site in sites}
    return {site: f", {next(iter(held))}" if len(held) == 1 else "" for site, held in ranks.items()}


def _name_sites(figure: Figure | SubFigure, sites: list[str], ranks: dict[str, str]) -> None:
    """Name the layers beside the panels, from the first to the last, with their first rank; of many, some."""
    colours = site_colours(sites)
    shown = [sites[at] for at in np.linspace(0, len(sites) - 1, min(len(sites), NAMED)).round().astype(int)]
    handles = [Line2D([], [], color=colours[site], label=f"{wrapped(site, 24)}{ranks[site]}") for site in shown]
    figure.legend(
        handles=handles, loc="outside right upper", title="layer, its first rank", handlelength=1.4, alignment="left"
    )

"""What a linear network has learnt at the end, mode by mode and rank by rank, and when."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from rfmodel.errors import InputError
from rfmodel.figures.groups import Line
from rfmodel.figures.intervals import over_runs
from rfmodel.figures.learning import label_ends
from rfmodel.figures.overlaps_over_time import mark_beyond
from rfmodel.figures.rows import draw_interval, draw_key, rings
from rfmodel.figures.theme import CONDITION_PALETTE, INK, themed
from rfmodel.figures.theory_lines import rule_name, theory_lines
from rfmodel.figures.theory_selection import at_end, line_colours, measured, medians, of_condition, size

SIDE = 0.5  # of the distance between modes that the conditions of one mode spread over
FAR = 6.0  # times the lowest rank, from which an axis of ranks is logarithmic
CLOSED = {"marker": "x", "markersize": 4.2, "markeredgewidth": 0.9, "color": INK, "linestyle": "none", "zorder": 6}
Sides = dict[str, float]


@themed
def overlap_by_mode(
    study: xr.Dataset, axes: Axes, chosen: Sequence[str] | None = None, inches: float = 2.4
) -> list[Artist]:
    """Draw each mode's overlap at the end: median over seeds with its interval, and the closed form where there is one.

    Parameters
    ----------
    study : Dataset
        With `overlap` (run, manner, seed, point, mode), of which the flow is drawn, and `overlap_stationary`
        (run, seed, mode).
    axes : Axes
        Where to draw, labels to its right.
    chosen : sequence of str, optional
        Conditions, all by default; at most eight are told apart by colour.
    inches : float
        Height of the axes, by which labels are spaced.

    Returns
    -------
    list of Artist
        For each condition its points, intervals and closed form; an upright line at a rank that all share; labels.
    """
    chosen = list(chosen or measured(study, "overlap"))
    colours, sides, artists = line_colours(study, chosen), _sides(chosen), []
    ends: dict[str, float] = {}
    for condition in chosen:
        run = of_condition(study, condition)
        found = np.array(medians(at_end(run.transpose("manner", "seed", "point", "mode", ...), "overlap")))
        x = np.arange(1, len(found) + 1) + sides[condition]
        artists += _points(axes, x, found, colours[condition])
        closed = _stationary(run)
        artists += axes.plot(x, closed, **CLOSED) if np.isfinite(closed).any() else []
        ends[condition] = float(found[-1, 0])
    _frame_modes(axes, "overlap at the end")
    axes.axhline(1.0, color="#BBBBBB", linewidth=0.6, linestyle=(0, (1, 2)), zorder=0)
    ranks = {size(study, c) for c in chosen if np.isfinite(size(study, c))}
    if len(ranks) == 1 and (rank := ranks.pop()) < axes.get_xlim()[1]:
        artists += mark_beyond(axes, rank + 0.5, f"r = {rank:g}")
    return artists + label_ends(axes, ends, colours, inches)


def _stationary(run: xr.Dataset) -> np.ndarray:
    if "overlap_stationary" not in run:
        return np.full(run.sizes["mode"], np.nan)
    return np.array([row[0] for row in medians(run["overlap_stationary"].transpose("seed", "mode").values)])


def _sides(chosen: Sequence[str]) -> Sides:
    places = np.linspace(-SIDE / 2, SIDE / 2, len(chosen)) if len(chosen) > 1 else [0.0]
    return dict(zip(chosen, map(float, places), strict=True))


def _points(axes: Axes, x: np.ndarray, found: np.ndarray, colour: str) -> list[Artist]:
    """Draw medians and their intervals (place, 3), joined by a thin line."""
    known = np.isfinite(found[:, 1])
    upright = axes.vlines(x[known], found[known, 1], found[known, 2], color=colour, linewidth=1.3, zorder=3)
    style = {"color": colour, "marker": "o", "markersize": 3.4, "linewidth": 0.5, "markeredgewidth": 0, "zorder": 4}
    return [*axes.plot(x, found[:, 0], **style), upright]


def _frame_modes(axes: Axes, label: str) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 4, 5, 10]))
    axes.set_xlabel("mode")
    axes.set_ylabel(label)


@themed
def recovery_time(
    study: xr.Dataset, axes: Axes, chosen: Sequence[str] | None = None, inches: float = 2.4
) -> list[Artist]:
    """Draw the time at which each mode's overlap reaches .9: median over the seeds in which it does.

    Parameters
    ----------
    study : Dataset
        With `recovery_time` (run, seed, mode) in units of tau, NaN where never; and, where the data have it,
        `recovery_time_closed`, that of the closed form.
    axes, chosen, inches
        As in `overlap_by_mode`.

    Returns
    -------
    list of Artist
        Points, hollow where some seeds never recover the mode, intervals, closed forms, labels. A mode that no seed
        recovers has none.
    """
    chosen = list(chosen or measured(study, "recovery_time"))
    colours, sides, artists = line_colours(study, chosen), _sides(chosen), []
    ends: dict[str, float] = {}
    for condition in chosen:
        run = of_condition(study, condition)
        times = run["recovery_time"].transpose("seed", "mode").values
        found, x = np.array(medians(times)), np.arange(1, times.shape[1] + 1) + sides[condition]
        artists += _points(axes, x, found, colours[condition])
        some = np.isfinite(times).any(axis=0) & ~np.isfinite(times).all(axis=0)
        hollow = {"marker": "o", "markersize": 3.4, "linestyle": "none", "markerfacecolor": "white", "zorder": 5}
        artists += axes.plot(x[some], found[some, 0], markeredgecolor=colours[condition], **hollow)
        if "recovery_time_closed" in run:
            closed = np.array(medians(run["recovery_time_closed"].transpose("seed", "mode").values))[:, 0]
            artists += axes.plot(x, closed, **CLOSED) if np.isfinite(closed).any() else []
        if np.isfinite(found[:, 0]).any():
            ends[condition] = float(found[np.isfinite(found[:, 0]), 0][-1])
    _frame_modes(axes, "time to an overlap of .9 (τ)")
    if axes.has_data():
        axes.set_ylim(bottom=0.0)
    return artists + label_ends(axes, ends, colours, inches)


@themed
def overlap_by_rank(
    study: xr.Dataset, figure: Figure | SubFigure, chosen: Sequence[Line] | None = None, inches: float = 2.4
) -> list[Artist]:
    """Draw what is recovered against the rank of the feedback as a share of the modes: the overlaps' sum, and how many.

    Parameters
    ----------
    study : Dataset
        With `overlap` (run, manner, seed, point, mode) and `recovered` (run, seed).
    figure : Figure or SubFigure
        Where to draw, two axes.
    chosen : sequence of Line, optional
        As `theory_lines` returns them, all by default; at most eight are told apart by colour.
    inches : float
        Height of the axes, by which labels are spaced.

    Returns
    -------
    list of Artist
        For each line rings for seeds and means with Student's 95 % interval; levels for rules without a rank; labels.

    Raises
    ------
    InputError
        If no condition has a rank.
    """
    chosen = list(theory_lines(study) if chosen is None else chosen)[: len(CONDITION_PALETTE)]
    if not chosen:
        raise InputError("overlap by rank needs a condition whose feedback has a rank: found none; use rule 'fa'")
    level = [c for c in measured(study, "overlap") if np.isnan(size(study, c))]
    left, right = figure.subplots(1, 2, sharex=True)
    artists = _against_rank(study, left, chosen, level, summed)[0]
    drawn, ends, colours = _against_rank(study, right, chosen, level, recovered_share)
    left.set_ylabel("sum of overlaps / modes")
    right.set_ylabel("modes recovered / modes")
    for axes in (left, right):
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, -0.04), max(high, 1.06))
        _frame_ranks(axes)
        draw_key(axes, ("○ one seed", "◆ mean, 95 % interval") if axes is left else ("⋯ as many as the rank",))
    return [*artists, *drawn, *label_ends(right, ends, colours, inches)]


def _frame_ranks(axes: Axes) -> None:
    """Draw as many overlaps as ranks, and halve the axis where the ranks go far."""
    places = np.concatenate([line.get_xdata() for line in axes.lines if line.get_zorder() == 2])
    least, most = places.min(), places.max()
    if least > 0 and most >= FAR * least:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlim(least * 0.9, most * 1.1)
    else:
        axes.set_xlim(0.0, most * 1.05)
    every = np.linspace(least / 2, min(1.0, most), 200)
    axes.plot(every, every, color="#999999", linestyle=(0, (1, 1.5)), zorder=0, scalex=False)
    axes.set_xlabel("rank / modes")


def summed(run: xr.Dataset) -> np.ndarray:
    """Return the sum of the overlaps at the end over the modes, as a share of their number (seed)."""
    return at_end(run.transpose("manner", "seed", "point", "mode", ...), "overlap").mean(axis=1)


def recovered_share(run: xr.Dataset) -> np.ndarray:
    """Return how many modes are recovered at the end, as a share of their number (seed)."""
    return run["recovered"].values / run.sizes["mode"]


def _against_rank(
    study: xr.Dataset, axes: Axes, chosen: list[Line], level: list[str], value: Callable[[xr.Dataset], np.ndarray]
) -> tuple[list[Artist], dict[str, float], dict[str, str]]:
    artists: list[Artist] = []
    ends: dict[str, float] = {}
    colours: dict[str, str] = {}
    for index, line in enumerate(chosen):
        runs = [of_condition(study, c) for c in line.conditions]
        places = np.array([at / run.sizes["mode"] for at, run in zip(line.places, runs, strict=True)])
        found, colour = [value(run) for run in runs], CONDITION_PALETTE[index]
        artists += axes.plot(places, [v.mean() for v in found], color=colour, zorder=2)
        for at, values in zip(places, found, strict=True):
            if values.size > 1:
                artists.append(axes.scatter(np.full(values.size, at), values, **rings(colour)))
            artists += draw_interval(axes, at, *over_runs(values), colour, upright=True)
        ends[line.label], colours[line.label] = float(found[-1].mean()), colour
    for condition in level:
        mean, name = float(value(of_condition(study, condition)).mean()), rule_name(study, condition)
        artists.append(axes.axhline(mean, color=INK, linewidth=1.0, zorder=1))
        ends[name], colours[name] = mean, INK
    return artists, ends, colours

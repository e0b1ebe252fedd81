"""Matrix factorisation: what random feedback loses against the best factors, and how its own differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from rfmodel.errors import InputError
from rfmodel.figures.groups import Line
from rfmodel.figures.intervals import median_over_runs
from rfmodel.figures.learning import label_ends
from rfmodel.figures.linear_dynamics import CLOSED
from rfmodel.figures.overlaps_over_time import mark_beyond
from rfmodel.figures.panels import draw_panels, panels_height
from rfmodel.figures.rows import draw_interval, draw_key, draw_note, frame_rows, rings, swarm
from rfmodel.figures.selection import conditions
from rfmodel.figures.theme import CONDITION_PALETTE, INK, NULL, condition_colours, themed
from rfmodel.figures.theory_lines import theory_lines
from rfmodel.figures.theory_over_time import on_linear
from rfmodel.figures.theory_selection import at_end, measured, medians, of_condition, size, word_of

ACROSS = 3  # panels of angles, whose titles need the room
TWICE = 2.0  # the separation that a constructed matrix is to reach


@themed
def error_by_width(
    study: xr.Dataset, axes: Axes, chosen: Sequence[Line] | None = None, inches: float = 2.4
) -> list[Artist]:
    """Draw the error at the end against the width of the factors, the best that is possible, and FA's closed form.

    Parameters
    ----------
    study : Dataset
        With `error` (run, manner, seed, point), relative, of which the flow is drawn; `optimum` and `stationary`
        (run, seed).
    axes : Axes
        Where to draw, labels to its right.
    chosen : sequence of Line, optional
        As `theory_lines` returns them along "width", all by default; at most eight are told apart by colour.
    inches : float
        Height of the axes, by which labels are spaced.

    Returns
    -------
    list of Artist
        Medians over seeds with their intervals, crosses of the closed form, the optimum as dots and its line, labels.
    """
    chosen = list(theory_lines(study, "width") if chosen is None else chosen)[: len(CONDITION_PALETTE)]
    artists: list[Artist] = []
    ends: dict[str, float] = {}
    colours = {line.label: CONDITION_PALETTE[index] for index, line in enumerate(chosen)}
    best: dict[float, list[float]] = {}
    for line in chosen:
        runs, places = [of_condition(study, c) for c in line.conditions], np.array(line.places)
        found = np.array([median_over_runs(at_end(run, "error")) for run in runs])
        artists += axes.plot(places, found[:, 0], color=colours[line.label], zorder=2)
        for at, estimate in zip(places, found, strict=True):
            artists += draw_interval(axes, at, *estimate, colours[line.label], upright=True)
        if word_of(study, line.conditions[0], "rule") != "gd":
            artists += axes.plot(places, [np.median(run["stationary"].values) for run in runs], **CLOSED)
        for at, run in zip(places, runs, strict=True):
            best.setdefault(float(at), []).append(float(np.median(run["optimum"].values)))
        ends[line.label] = float(found[-1, 0])
    widths = sorted(best)
    dots = {"color": INK, "linestyle": (0, (1, 1.5)), "marker": ".", "linewidth": 1.0, "zorder": 1}
    artists += axes.plot(widths, [np.median(best[at]) for at in widths], **dots)
    axes.set_ylim(bottom=min(axes.get_ylim()[0], -0.01))
    axes.set_xlabel("width of the factors r")
    axes.set_ylabel("relative error at the end")
    draw_key(axes, ("◆ median, 95 % interval", "× closed form", "⋯ Eckart–Young"))
    return artists + label_ends(axes, ends, colours, inches)


@themed
def principal_angles(study: xr.Dataset, axes: Axes, condition: str) -> list[Artist]:
    """Draw the principal angles between what FA and gradient descent represent at equal error, and those of chance.

    Parameters
    ----------
    study : Dataset
        With `principal_angle` and `principal_angle_random` (run, seed, angle) in degrees.
    axes : Axes
        Where to draw.
    condition : str

    Returns
    -------
    list of Artist
        The range of random subspaces over seeds and their median; measured medians with their intervals.

    Raises
    ------
    InputError
        If the condition is not there, or has no such angles.
    """
    run = of_condition(study, condition)
    found = run["principal_angle"].transpose("seed", "angle").values
    if not np.isfinite(found).any():
        raise InputError(f"condition '{condition}' has no principal angles: a rule with random feedback would do")
    chance = run["principal_angle_random"].transpose("seed", "angle").values
    x = np.arange(1, found.shape[1] + 1)
    low, high = np.nanmin(chance, axis=0), np.nanmax(chance, axis=0)
    # One angle has no width to shade, so that every band is drawn in steps about its number.
    edges = np.repeat(np.append(x, x[-1] + 1) - 0.5, 2)[1:-1]
    artists: list[Artist] = [
        axes.fill_between(edges, np.repeat(low, 2), np.repeat(high, 2), color=NULL, alpha=0.4, linewidth=0),
        *axes.plot(edges, np.repeat(np.nanmedian(chance, axis=0), 2), color="#777777", linewidth=0.9),
    ]
    colour = condition_colours(study)[condition]
    for at, estimate in zip(x, medians(found), strict=True):
        artists += draw_interval(axes, at, *estimate, colour, bounds=(0.0, 90.0), upright=True)
    axes.set_ylim(-3, 93)
    axes.set_yticks([0, 30, 60, 90])
    axes.set_xlim(edges[0] - 0.2, edges[-1] + 0.2)
    axes.xaxis.get_major_locator().set_params(integer=True, nbins=6)
    axes.set_xlabel("principal angle")
    axes.set_ylabel("angle (°)")
    return artists


def angle_panels_height(labels: Sequence[str]) -> float:
    """Return the height in inches of `angle_panels`."""
    return panels_height(list(labels), 1.4, ACROSS)


@themed
def angle_panels(study: xr.Dataset, figure: Figure | SubFigure, chosen: Sequence[str] | None = None) -> list[Artist]:
    """Draw the principal angles of each condition in a panel of its own: see `principal_angles`."""
    chosen = list(chosen or measured(study, "principal_angle"))

    def draw(axes: Axes, condition: str, left: bool, low: bool) -> list[Artist]:
        drawn = principal_angles(study, axes, condition)
        axes.set_ylabel("angle (°)" if left else "")
        axes.set_xlabel("principal angle" if low else "")
        return drawn

    return draw_panels(figure, chosen, condition_colours(study), draw, ACROSS, shared=False)


@themed
def separation(study: xr.Dataset, axes: Axes, chosen: Sequence[str] | None = None) -> list[Artist]:
    """Draw the ratio of the error reached to the best that is possible, a row a condition.

    Parameters
    ----------
    study : Dataset
        With `ratio` (run, seed), NaN where the optimum is 0.
    axes : Axes
        Where to draw.
    chosen : sequence of str, optional
        Conditions, all that have a ratio by default; a page holds about twelve.

    Returns
    -------
    list of Artist
        A ring a seed; medians with their intervals, since the ratio's mean need not be finite; lines at 1 and 2.
    """
    chosen, colours = list(chosen or measured(study, "ratio")), condition_colours(study)
    frame_rows(axes, chosen)
    artists: list[Artist] = []
    for row, condition in enumerate(chosen):
        values = of_condition(study, condition)["ratio"].values
        values = values[np.isfinite(values)]
        if not values.size:
            artists.append(draw_note(axes, row, "the optimum is exact"))
            continue
        artists.append(axes.scatter(values, row + swarm(np.log(values), 0.3), **rings(colours[condition])))
        artists += draw_interval(axes, row, *median_over_runs(values), colours[condition])
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.95), max(high, 2.1))
    for level in (1.0, TWICE):
        artists.append(axes.axvline(level, color="#AAAAAA", linestyle=(0, (1, 1.5)), linewidth=0.9, zorder=1))
    axes.set_xlabel("error / Eckart–Young optimum")
    draw_key(axes, ("○ one seed", "◆ median, 95 % interval"))
    return artists


@themed
def worst_case(
    study: xr.Dataset, figure: Figure | SubFigure, condition: str | None = None, inches: float = 2.4
) -> list[Artist]:
    """Draw the spectrum that a search found worst beside the others, and the way on which its ratio was found.

    Parameters
    ----------
    study : Dataset
        With `search_values` (run, candidate, mode), `search_ratio` (run, candidate), `singular_values`
        (run, seed, mode) and `ratio` (run, seed).
    figure : Figure or SubFigure
        Where to draw, two axes.
    condition : str, optional
        One that searched; the first by default.
    inches : float
        Height of the axes, by which labels are spaced.

    Returns
    -------
    list of Artist
        The spectra over their largest value, the search's ratios and the largest so far, levels of the other spectra
        under the same rule and width, labels.

    Raises
    ------
    InputError
        If no condition searched.
    """
    searched = measured(study, "search_ratio")
    if not searched:
        raise InputError("a worst case needs a condition whose spectrum is searched: found none; use the law 'worst'")
    condition = condition or searched[0]
    families = families_beside(study, condition)
    colours = {condition: INK} | {c: CONDITION_PALETTE[i % 8] for i, c in enumerate(families)}
    left, right = figure.subplots(1, 2)
    artists = _spectra(study, left, colours, size(study, condition))
    drawn, ends = _search(study, right, condition, colours)
    return [*artists, *drawn, *label_ends(right, on_linear(right, ends), colours, inches)]


def families_beside(study: xr.Dataset, condition: str) -> list[str]:
    """Return the conditions of the same rule and width that did not search and have a ratio, at most seven."""
    own = (word_of(study, condition, "rule"), size(study, condition))
    searched, ratios = measured(study, "search_ratio"), measured(study, "ratio")
    alike = [c for c in conditions(study) if (word_of(study, c, "rule"), size(study, c)) == own]
    return [c for c in alike if c not in searched and c in ratios][: len(CONDITION_PALETTE) - 1]


def _spectra(study: xr.Dataset, axes: Axes, colours: dict[str, str], width: float) -> list[Artist]:
    artists: list[Artist] = []
    for name, colour in colours.items():
        values = np.median(of_condition(study, name)["singular_values"].transpose("seed", "mode").values, axis=0)
        weight = {"linewidth": 1.8, "zorder": 4} if colour == INK else {"linewidth": 1.1}
        x = np.arange(1, values.size + 1)
        artists += axes.plot(x, values / values.max(), color=colour, marker="o", markersize=2.2, **weight)
    axes.set_ylim(-0.04, 1.06)
    axes.set_xlabel("mode")
    axes.set_ylabel("singular value / largest")
    axes.xaxis.get_major_locator().set_params(integer=True, nbins=6)
    return artists + (mark_beyond(axes, width + 0.5, f"r = {width:g}") if np.isfinite(width) else [])


def _search(
    study: xr.Dataset, axes: Axes, condition: str, colours: dict[str, str]
) -> tuple[list[Artist], dict[str, float]]:
    found = of_condition(study, condition)["search_ratio"].values
    steps = np.arange(1, found.size + 1)
    dots = {"marker": ".", "markersize": 2.5, "linestyle": "none", "color": "#999999", "zorder": 1}
    artists = axes.plot(steps, found, **dots)
    artists += axes.plot(steps, np.maximum.accumulate(found), color=INK, drawstyle="steps-post", zorder=3)
    ends = {condition: float(found.max())}
    for name, colour in colours.items():
        if name != condition:
            ends[name] = float(np.nanmedian(of_condition(study, name)["ratio"].values))
            artists.append(axes.axhline(ends[name], color=colour, linewidth=0.9, zorder=2))
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("spectra tried")
    axes.set_ylabel("error / Eckart–Young optimum")
    return artists, ends

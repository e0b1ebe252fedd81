"""What a solvable model does over time, a line a condition: error, residual, captured directions, alignment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from rfmodel.figures.learning import label_ends
from rfmodel.figures.selection import conditions
from rfmodel.figures.theme import themed
from rfmodel.figures.theory_selection import by_manner, line_colours, measured, of_condition

FLOOR = 1e-8  # below which a share of the error is the integrator's own
RIGHT_ANGLE = 90.0
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def over_time(
    study: xr.Dataset, axes: Axes, name: str, chosen: Sequence[str], logarithmic: bool = False
) -> tuple[list[Artist], dict[str, float]]:
    """Draw a variable over time: the flow's median over seeds, and their range as a band.

    Parameters
    ----------
    study : Dataset
        `name` of dims (run, seed, point), or (run, manner, seed, point).
    axes : Axes
    name : str
    chosen : sequence of str
    logarithmic : bool
        Whether the axis of the values is; what is below 1e-8 is drawn there.

    Returns
    -------
    artists : list of Artist
        A line and a band for each condition.
    ends : dict
        Where each line's label belongs, on a linear axis of the same limits.
    """
    colours, artists, last = line_colours(study, chosen), [], {}
    for condition in chosen:
        run = of_condition(study, condition)
        found = by_manner(run, name) if "manner" in run[name].dims else run[name].transpose("seed", ...).values
        found = found[np.isfinite(found).all(axis=1)]
        if not found.size:
            continue
        found, time = np.maximum(found, FLOOR) if logarithmic else found, run["time"].values
        artists += axes.plot(time, np.median(found, axis=0), color=colours[condition])
        band = {"color": colours[condition], "alpha": 0.18, "linewidth": 0}
        artists.append(axes.fill_between(time, found.min(axis=0), found.max(axis=0), **band))
        last[condition] = float(np.median(found[:, -1]))
    if logarithmic and last:
        tenfold(axes.yaxis)
    axes.set_xlabel("time (τ)")
    axes.margins(x=0)
    return artists, last


def tenfold(axis: Axis) -> None:
    """Give an axis a logarithmic scale, its powers of ten written out: the theme reads no formulae."""
    axis.axes.set_xscale("log") if axis.axis_name == "x" else axis.axes.set_yscale("log")
    axis.set_major_locator(LogLocator(numticks=6))
    axis.set_major_formatter(FuncFormatter(lambda value, _: power_of_ten(value)))
    axis.set_minor_formatter(NullFormatter())
    low, high = axis.get_view_interval()
    marked = np.log10([low, high])
    if np.floor(marked[1]) <= np.ceil(marked[0]):  # no two powers of ten are on it
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))


def power_of_ten(value: float) -> str:
    """Return a positive number as a few digits, or as digits and a power of ten where it would be long."""
    if 1e-3 <= value < 1e4:
        return f"{value:g}"
    exponent = int(np.floor(np.log10(value) + 1e-9))
    digits = f"{value / 10.0**exponent:.3g}"
    return ("" if digits == "1" else f"{digits}·") + "10" + str(exponent).translate(RAISED)


def on_linear(axes: Axes, ends: dict[str, float]) -> dict[str, float]:
    """Return values where they would stand on a linear axis of the same limits, as labels are placed on."""
    low, high = axes.get_ylim()
    scale = axes.yaxis.get_transform().transform
    bottom, top = (float(scale(np.array([edge]))[0]) for edge in (low, high))
    shares = {name: (float(scale(np.array([value]))[0]) - bottom) / (top - bottom) for name, value in ends.items()}
    return {name: low + share * (high - low) for name, share in shares.items()}


@themed
def residual_over_time(
    study: xr.Dataset, figure: Figure | SubFigure, chosen: Sequence[str] | None = None, inches: float = 2.2
) -> list[Artist]:
    """Draw the residual inside the feedback's row space, which stationarity brings to 0, and outside, which it leaves.

    Parameters
    ----------
    study : Dataset
        With `residual_inside` and `residual_outside` (run, seed, point), shares of the task's squared norm.
    figure : Figure or SubFigure
        Where to draw, two axes.
    chosen : sequence of str, optional
        Conditions, all by default; at most eight are told apart by colour.
    inches : float
        Height of the axes, by which labels are spaced.

    Returns
    -------
    list of Artist
        Medians over seeds, ranges, labels.
    """
    chosen = list(chosen or measured(study, "residual_inside", "residual_outside"))
    artists: list[Artist] = []
    panels = figure.subplots(1, 2, sharey=True)
    for axes, name, title in zip(
        panels, ("residual_inside", "residual_outside"), ("inside the row space of B", "outside it"), strict=True
    ):
        drawn, ends = over_time(study, axes, name, chosen, logarithmic=True)
        artists += drawn
        axes.set_title(title)
    panels[0].set_ylabel("residual (share of ‖S‖²)")
    low, high = panels[0].get_ylim()
    panels[0].set_ylim(max(low, FLOOR / 2), high)
    return artists + label_ends(panels[1], on_linear(panels[1], ends), line_colours(study, chosen), inches)


@themed
def capture_over_time(
    study: xr.Dataset, axes: Axes, chosen: Sequence[str] | None = None, inches: float = 2.2
) -> list[Artist]:
    """Draw how much of the leading r left directions the row space of P holds, 1 where it holds them all.

    Parameters
    ----------
    study : Dataset
        With `capture` (run, seed, point).
    axes, chosen, inches
        As in `error_over_time`.
    """
    chosen = list(chosen or measured(study, "capture"))
    artists, ends = over_time(study, axes, "capture", chosen)
    axes.set_ylabel("share of the leading r directions in P")
    axes.set_ylim(-0.04, 1.06)
    return artists + label_ends(axes, ends, line_colours(study, chosen), inches)


@themed
def error_over_time(
    study: xr.Dataset, axes: Axes, chosen: Sequence[str] | None = None, inches: float = 2.2
) -> list[Artist]:
    """Draw the error over time, and below it as dots the Eckart-Young optimum where the study has one.

    Parameters
    ----------
    study : Dataset
        With `error` (run, manner, seed, point), relative, of which the flow is drawn; and `optimum` (run, seed).
    axes : Axes
        Where to draw, labels to its right.
    chosen : sequence of str, optional
        Conditions, all by default; at most eight are told apart by colour.
    inches : float
        Height of the axes, by which labels are spaced.

    Returns
    -------
    list of Artist
        Medians over seeds, ranges, levels of the optimum, labels.
    """
    chosen = list(chosen or conditions(study))
    colours = line_colours(study, chosen)
    artists, ends = over_time(study, axes, "error", chosen, logarithmic=True)
    for condition in chosen if "optimum" in study else ():
        level = float(np.median(of_condition(study, condition)["optimum"].values))
        if level > FLOOR:
            artists.append(axes.axhline(level, color=colours[condition], linestyle=(0, (1, 1.5)), linewidth=1.0))
    axes.set_ylabel("relative error" if "optimum" in study else "error (share of ‖S‖²)")
    return artists + label_ends(axes, on_linear(axes, ends), colours, inches)


@themed
def alignment_over_time(
    study: xr.Dataset, axes: Axes, chosen: Sequence[str] | None = None, inches: float = 2.2
) -> list[Artist]:
    """Draw the angle between the fixed feedback C and the transpose of the factor that it stands for.

    Parameters
    ----------
    study : Dataset
        With `alignment` (run, seed, point) in degrees.
    axes, chosen, inches
        As in `error_over_time`.
    """
    chosen = list(chosen or measured(study, "alignment"))
    artists, ends = over_time(study, axes, "alignment", chosen)
    artists.append(axes.axhline(RIGHT_ANGLE, color="#888888", linestyle=":", linewidth=0.9))
    axes.set_ylabel("angle between C and Zᵀ (°)")
    return artists + label_ends(axes, ends, line_colours(study, chosen), inches)

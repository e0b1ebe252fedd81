"""Mode overlaps over time: the simulation of a learning rule, and its equations laid over."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator
from matplotlib.transforms import blended_transform_factory

from rfmodel.errors import InputError
from rfmodel.figures.curves import HIGHEST, LOWEST
from rfmodel.figures.selection import conditions
from rfmodel.figures.theme import INK, themed, wrapped
from rfmodel.figures.theory_selection import by_manner, of_condition, seed_numbers, seed_place, simulated

MOST = 16  # modes that lines tell apart
COLUMNS = 3
PANEL = 1.45  # inches, without its title
SIMULATION = {"linewidth": 2.2, "alpha": 0.75, "solid_capstyle": "butt", "zorder": 2}
FLOW = {"linewidth": 0.8, "linestyle": (0, (3, 2)), "color": INK, "zorder": 3}


def mode_colours(count: int) -> np.ndarray:
    """Return a colour a mode, lighter for later ones: (mode, RGBA)."""
    return matplotlib.colormaps["viridis"](np.linspace(HIGHEST, LOWEST, count))


def shown_modes(count: int, most: int = MOST) -> list[int]:
    """Return as many mode numbers as lines tell apart, evenly from the first to the last."""
    return sorted({int(i) + 1 for i in np.linspace(0, count - 1, min(count, most)).round()})


@themed
def mode_overlaps(
    study: xr.Dataset,
    axes: Axes,
    condition: str,
    seed: int | None = None,
    modes: Sequence[int] | None = None,
    mean: bool = False,
    bar: bool = True,
    span: int | None = None,
) -> list[Artist]:
    """Draw a condition's mode overlaps over time: its simulation solid, its flow dashed over it.

    Parameters
    ----------
    study : Dataset
        With `overlap` (run, manner, seed, point, mode) and `time` (run, point), in units of tau.
    axes : Axes
        Where to draw.
    condition : str
    seed : int, optional
        The one that is drawn; the median over seeds by default.
    modes : sequence of int, optional
        Counted from 1; by default at most 16, evenly from the first to the last.
    mean : bool
        Whether the mean over all modes is drawn too, in bold.
    bar : bool
        Whether a colour bar of the modes is drawn beside the axes.
    span : int, optional
        How many modes the colours go over; those of the condition by default.

    Returns
    -------
    list of Artist
        The lines, the simulation's before the flow's; then those of the means.

    Raises
    ------
    InputError
        If the condition, the seed or a mode is not there.
    """
    run = of_condition(study, condition)
    count = run.sizes["mode"]
    modes = shown_modes(count) if modes is None else list(modes)
    if unknown := [m for m in modes if not 1 <= m <= count]:
        raise InputError(f"mode {unknown[0]}: condition '{condition}' has modes 1 to {count}")
    time = run["time"].values
    colours = mode_colours(max(span or count, count))
    simulation, flow = simulated(run), overlaps(run, condition, "flow", seed)
    artists: list[Artist] = []
    if simulation is not None:
        found = overlaps(run, condition, simulation, seed)
        for mode in modes:
            artists += axes.plot(time, found[:, mode - 1], color=colours[mode - 1], **SIMULATION)
    for mode in modes:
        colour = {} if simulation is not None else {"color": colours[mode - 1], "linewidth": 1.3}
        artists += axes.plot(time, flow[:, mode - 1], **FLOW | colour)
    if mean:
        bold = flow if simulation is None else found
        artists += axes.plot(time, bold.mean(axis=1), color="white", linewidth=4.6, zorder=4)
        artists += axes.plot(time, bold.mean(axis=1), color=INK, linewidth=3.0, zorder=5)
        artists += axes.plot(time, flow.mean(axis=1), **FLOW | {"color": "white", "zorder": 6})
    _dress(axes)
    if bar:
        mode_bar(axes.figure, axes, max(span or count, count))
    return artists


def overlaps(run: xr.Dataset, condition: str, manner: str, seed: int | None) -> np.ndarray:
    """Return the overlaps (point, mode) of one seed, or their median over seeds."""
    found = by_manner(run.transpose("manner", "seed", "point", "mode", ...), "overlap", manner)
    return np.median(found, axis=0) if seed is None else found[seed_place(run, condition, seed)]


def _dress(axes: Axes) -> None:
    for level in (0.0, 1.0):
        axes.axhline(level, color="#BBBBBB", linewidth=0.6, linestyle=(0, (1, 2)), zorder=0)
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, -0.05), max(high, 1.08))
    axes.set_xlabel("time (τ)")
    axes.set_ylabel("mode overlap")
    axes.margins(x=0)


def mode_bar(figure: Figure | SubFigure, axes: Axes | Sequence[Axes], count: int) -> None:
    """Draw beside the axes which colour is which mode."""
    scale = ScalarMappable(Normalize(0.5, count + 0.5), ListedColormap(mode_colours(count)))
    ticks = sorted({int(t) for t in np.linspace(1, count, min(count, 5)).round()})
    bar = figure.colorbar(scale, ax=axes, label="mode", ticks=FixedLocator(ticks), fraction=0.04, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.invert_yaxis()


def overlap_panels_height(labels: Sequence[str], columns: int = COLUMNS) -> float:
    """Return the height in inches of `overlap_panels`."""
    lines = max((wrapped(label, 26).count("\n") + 1 for label in labels), default=1)
    return -(-len(labels) // columns) * (PANEL + 0.14 * lines) + 0.6


@themed
def overlap_panels(
    study: xr.Dataset,
    figure: Figure | SubFigure,
    chosen: Sequence[str] | None = None,
    seed: int | None = None,
    mean: bool = False,
) -> list[Artist]:
    """Draw the mode overlaps of each condition in a panel of its own, under one key and one colour bar.

    Parameters
    ----------
    study : Dataset
        As for `mode_overlaps`.
    figure : Figure or SubFigure
        Where to draw.
    chosen : sequence of str, optional
        Conditions, all by default; a page holds about twelve.
    seed, mean
        As in `mode_overlaps`; a condition without the seed shows its first.

    Returns
    -------
    list of Artist
        The lines.
    """
    chosen = list(chosen or conditions(study))
    return draw_overlaps(study, figure, [(c, c, None, mean) for c in chosen], seed, COLUMNS)


Panel = tuple[str, str, Sequence[int] | None, bool]


def draw_overlaps(
    study: xr.Dataset, figure: Figure | SubFigure, panels: Sequence[Panel], seed: int | None, columns: int
) -> list[Artist]:
    """Draw panels of (title, condition, modes, whether with the mean) under one key, beside one colour bar."""
    rows, across = -(-len(panels) // columns), min(columns, len(panels))
    grid = figure.subplots(rows, across, squeeze=False, sharey=True)
    runs = {condition: of_condition(study, condition) for _, condition, _, _ in panels}
    span = max(run.sizes["mode"] for run in runs.values())
    artists: list[Artist] = []
    for place, axes in enumerate(grid.flat):
        if place >= len(panels):
            axes.set_visible(False)
            continue
        title, condition, modes, mean = panels[place]
        artists += mode_overlaps(
            study, axes, condition, _seed(runs[condition], seed), modes, mean, bar=False, span=span
        )
        axes.set_title(wrapped(title, 46 if across < COLUMNS else 26), fontsize=8, weight="bold")
        axes.set_ylabel("mode overlap" if place % across == 0 else "")
        axes.set_xlabel("time (τ)" if place + across >= len(panels) else "")
    mode_bar(figure, list(grid.flat), span)
    kinds = {simulated(run) for run in runs.values()}
    figure.legend(handles=_key(kinds, any(mean for *_, mean in panels)), loc="outside upper left", ncols=3)
    return artists


def _seed(run: xr.Dataset, seed: int | None) -> int | None:
    known = seed_numbers(run)
    return seed if seed is None or seed in known else known[0]


def _key(kinds: set[str | None], mean: bool) -> list[Line2D]:
    said = " or ".join(sorted(kind.replace("_", " ") for kind in kinds if kind))
    key = [Line2D([], [], color=mode_colours(3)[1], linewidth=2.2, label=f"simulation, {said}")] if said else []
    key.append(Line2D([], [], label="equations (flow)", **FLOW))
    return [*key, Line2D([], [], color=INK, linewidth=3.0, label="mean over all modes")] if mean else key


def mark_beyond(axes: Axes, at: float, text: str) -> list[Artist]:
    """Draw an upright line at a rank or a mode number, its name above it."""
    place = blended_transform_factory(axes.transData, axes.transAxes)
    line = axes.axvline(at, color="#888888", linestyle=(0, (1, 1.5)), linewidth=0.9, zorder=1)
    return [line, axes.text(at, 1.01, text, transform=place, ha="center", va="bottom", color="#666666", fontsize=8)]

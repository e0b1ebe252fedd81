"""How far a simulation is from its equations: by condition against the bound, and against the step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from rfmodel.figures.groups import Line
from rfmodel.figures.learning import label_ends
from rfmodel.figures.rows import draw_note, frame_rows, rings
from rfmodel.figures.theme import CONDITION_PALETTE, condition_colours, themed
from rfmodel.figures.theory_lines import theory_lines
from rfmodel.figures.theory_over_time import on_linear, tenfold
from rfmodel.figures.theory_selection import by_manner, manners, measured, of_condition

BOUND = 0.02  # of the largest difference between simulation and flow
MARKERS = {"full_batch": "o", "online": "s"}


def largest_differences(run: xr.Dataset) -> dict[str, np.ndarray]:
    """Return each simulation's largest distance from the flow (seed), without seeds that have none."""
    found = {m: by_manner(run, "difference", m) for m in manners(run) if m != "flow"}
    return {m: values[np.isfinite(values)] for m, values in found.items() if np.isfinite(values).any()}


@themed
def simulation_agreement(
    study: xr.Dataset, axes: Axes, chosen: Sequence[str] | None = None, bound: float = BOUND
) -> list[Artist]:
    """Draw the largest difference between each simulation and its flow, a row a condition, against a bound.

    Parameters
    ----------
    study : Dataset
        With `difference` (run, manner, seed).
    axes : Axes
        Where to draw.
    chosen : sequence of str, optional
        Conditions, all that have a simulation by default; a page holds about twelve.
    bound : float
        Where the line is drawn.

    Returns
    -------
    list of Artist
        A ring a seed, round for full batch and square for online, filled at the largest; the line of the bound.
    """
    chosen, colours = list(chosen or measured(study, "difference")), condition_colours(study)
    frame_rows(axes, chosen)
    artists: list[Artist] = []
    kinds: list[str] = []
    for row, condition in enumerate(chosen):
        found = largest_differences(of_condition(study, condition))
        for place, (manner, values) in enumerate(found.items()):
            at, marker = row + 0.16 * (place - (len(found) - 1) / 2), MARKERS.get(manner, "^")
            shown = np.maximum(values, np.finfo(float).eps)
            artists.append(axes.scatter(shown, np.full(values.size, at), marker=marker, **rings(colours[condition])))
            artists += axes.plot(shown.max(), at, marker=marker, markersize=4.5, color=colours[condition], zorder=4)
            kinds.append(manner)
        if not found:
            artists.append(draw_note(axes, row, "no simulation"))
    tenfold(axes.xaxis)
    artists.append(axes.axvline(bound, color="#888888", linestyle=(0, (1, 1.5)), linewidth=1.0, zorder=1))
    axes.set_xlabel("largest |simulation − equations|")
    marks = {"full_batch": "○ full batch", "online": "□ online"}
    key = [marks.get(kind, f"△ {kind}") for kind in dict.fromkeys(kinds)]
    axes.set_title("     ".join([*key, "filled: largest seed", f"⋮ {bound:g}"]), fontsize=8, color="#444444")
    return artists


@themed
def difference_by_step(
    study: xr.Dataset, axes: Axes, chosen: Sequence[Line] | None = None, inches: float = 2.2
) -> list[Artist]:
    """Draw the largest difference between full-batch simulation and flow against the step, beside a slope of one.

    Parameters
    ----------
    study : Dataset
        With `difference` (run, manner, seed) and settings that tell `integration.step`.
    axes : Axes
        Where to draw, labels to its right.
    chosen : sequence of Line, optional
        As `theory_lines` returns them along "integration.step"; those of two steps or more by default.
    inches : float
        Height of the axes, by which labels are spaced.

    Returns
    -------
    list of Artist
        The largest of the seeds at each step, joined; dots of proportionality through the first; labels.
    """
    chosen = theory_lines(study, "integration.step", least=2) if chosen is None else chosen
    artists: list[Artist] = []
    ends: dict[str, float] = {}
    colours: dict[str, str] = {}
    for index, line in enumerate(chosen[: len(CONDITION_PALETTE)]):
        runs = [largest_differences(of_condition(study, c)) for c in line.conditions]
        known = [(at, found["full_batch"].max()) for at, found in zip(line.places, runs, strict=True)
                 if "full_batch" in found]  # fmt: skip
        if not known:
            continue
        steps, found = np.array(known).T
        artists += axes.plot(steps, found, color=CONDITION_PALETTE[index], marker="o", markersize=4)
        artists += axes.plot(steps, found[0] * steps / steps[0], color="#999999", linestyle=(0, (1, 1.5)), zorder=0)
        ends[line.label], colours[line.label] = float(found[-1]), CONDITION_PALETTE[index]
    axes.set_xlabel("step (τ)")
    axes.set_ylabel("largest |simulation − equations|")
    if not ends:
        return artists
    tenfold(axes.yaxis)
    axes.set_xscale("log", base=2)
    marked = sorted({float(at) for line in axes.lines for at in line.get_xdata()})
    axes.xaxis.set_major_locator(FixedLocator(marked))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
    return artists + label_ends(axes, on_linear(axes, ends), colours, inches)

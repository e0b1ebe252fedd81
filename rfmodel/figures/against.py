"""Accuracy and cost against the rank of the feedback or another size: what a narrow teaching signal loses and saves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from rfmodel.figures.comparison import Comparison
from rfmodel.figures.costs import flops_to, scale_of
from rfmodel.figures.groups import Line, baseline, is_bp, level_conditions, lines, narrow_controls
from rfmodel.figures.intervals import over_runs
from rfmodel.figures.learning import label_ends
from rfmodel.figures.rows import PERCENT, draw_interval, draw_key, draw_published, end_at, published_key, rings
from rfmodel.figures.selection import last_values
from rfmodel.figures.theme import CONDITION_PALETTE, INK, themed

AXES = {
    "width": "width (units or channels)",
    "bottleneck": "bottleneck (channels)",
    "depth": "depth (layers)",
    "classes": "classes",
}
NARROW = "#777777"
GREYS = (INK, "#666666", "#909090", "#B0B0B0")
RINGS = -0.6  # how far aside of a mean its runs are drawn, in steps between lines
Values = Callable[[str], np.ndarray]


@themed
def accuracy_by_rank(
    study: xr.Dataset,
    axes: Axes,
    chosen: list[Line] | None = None,
    compared: Sequence[Comparison] = (),
    along: str = "rank",
    inches: float = 2.2,
) -> list[Artist]:
    """Draw the test accuracy at the last epoch against the rank of the feedback, a line a group of conditions.

    Parameters
    ----------
    study : Dataset
        With `accuracy_test` (run, epoch), a fraction.
    axes : Axes
        Where to draw, labels to its right.
    chosen : list of Line, optional
        As `lines` returns them, all by default; at most eight are told apart by colour.
    compared : sequence of Comparison, optional
        Published values, drawn as diamonds joined by dashes in the colour of their line.
    along : str
        "rank", or another coordinate with a size: "width", "bottleneck", "depth", "classes".
    inches : float
        Height of the axes, by which labels are spaced.

    Returns
    -------
    list of Artist
        Rings for runs, means with Student's 95 % interval, bands for conditions without a rank on networks of the same
        form, squares for backpropagation through a network as narrow as the feedback, published values, labels.
    """
    chosen = _of_one_axis(lines(study, along) if chosen is None else chosen)
    theirs = {row.condition: row for row in compared}
    artists, ends, colours = _draw(
        study, axes, chosen, lambda c: 100 * last_values(study, "accuracy_test", c), PERCENT, along, theirs
    )
    axes.set_ylabel("test accuracy at the last epoch (%)")
    end_at(axes.yaxis, PERCENT)
    shown = [row for row in compared if row.condition in _drawn(study, chosen, along)]
    draw_key(axes, ("○ one run", "◆ mean, 95 % interval", *published_key(shown)))
    return artists + label_ends(axes, ends, colours, inches)


@themed
def flops_to_fraction(
    study: xr.Dataset,
    axes: Axes,
    chosen: list[Line] | None = None,
    along: str = "rank",
    inches: float = 2.2,
) -> list[Artist]:
    """Draw the operations done until 90 % of a run's own final test accuracy against the rank of the feedback.

    Parameters
    ----------
    study : Dataset
        With `accuracy_test` and `flops_epoch` (run, epoch).
    axes, chosen, along, inches
        As in `accuracy_by_rank`.

    Returns
    -------
    list of Artist
        As of `accuracy_by_rank`, without published values.
    """
    chosen = _of_one_axis(lines(study, along) if chosen is None else chosen)
    every = [flops_to(study, condition) for condition in _drawn(study, chosen, along)]
    prefix, size = scale_of(max((values.max() for values in every if values.size), default=0.0))
    artists, ends, colours = _draw(
        study, axes, chosen, lambda c: flops_to(study, c) / size, (0.0, np.inf), along, theirs={}
    )
    axes.set_ylabel(f"{prefix}FLOP to 90 % of the final accuracy")
    end_at(axes.yaxis, (0.0, np.inf))
    draw_key(axes, ("○ one run", "◆ mean, 95 % interval"))
    return artists + label_ends(axes, ends, colours, inches)


def _of_one_axis(chosen: list[Line]) -> list[Line]:
    """Return the lines on the axis of the first, as many as there are colours: fractions of the channels, or ranks."""
    return [line for line in chosen if line.fraction == chosen[0].fraction][: len(CONDITION_PALETTE)]


def _drawn(study: xr.Dataset, chosen: list[Line], along: str) -> list[str]:
    members = [condition for line in chosen for condition in line.conditions]
    if along != "rank":
        return members
    return [*members, *level_conditions(study, members), *narrow_controls(study, members)]


def _draw(
    study: xr.Dataset,
    axes: Axes,
    chosen: list[Line],
    values: Values,
    bounds: tuple[float, float],
    along: str,
    theirs: dict[str, Comparison],
) -> tuple[list[Artist], dict[str, float], dict[str, str]]:
    """Draw everything but the axis along y; return the artists, and each label's end and colour."""
    members = [condition for line in chosen for condition in line.conditions]
    controls = narrow_controls(study, members) if along == "rank" and not any(x.fraction for x in chosen) else {}
    scale = _scaled(axes, sorted({at for line in chosen for at in line.places} | set(controls.values())), along)
    artists: list[Artist] = []
    ends: dict[str, float] = {}
    colours: dict[str, str] = {}
    for index, line in enumerate(chosen):
        colour = CONDITION_PALETTE[index]
        places = [scale(np.array(line.places), index - (len(chosen) - 1) / 2 + aside) for aside in (0, RINGS)]
        drawn, end = _line(axes, line, places, values, colour, bounds, theirs)
        artists += drawn
        if end is not None:
            ends[line.label], colours[line.label] = end, colour
    for level, colour in _levels(study, chosen, along).items():
        drawn, end = _level(axes, level, values, colour, bounds, theirs)
        artists += drawn
        if end is not None:
            ends[level], colours[level] = end, colour
    for control, at in controls.items():
        beside = float(scale(np.array([at]), (len(chosen) + 1) / 2)[0])
        drawn, end = _control(axes, control, beside, values, bounds, theirs)
        artists += drawn
        if end is not None:
            ends[control], colours[control] = end, NARROW
    return artists, ends, colours


def _line(
    axes: Axes,
    line: Line,
    places: list[np.ndarray],
    values: Values,
    colour: str,
    bounds: tuple[float, float],
    theirs: dict[str, Comparison],
) -> tuple[list[Artist], float | None]:
    """Draw a line at its places, the rings beside them; return the artists and its last mean."""
    artists: list[Artist] = []
    published = [(at, theirs[c]) for at, c in zip(places[0], line.conditions, strict=True) if c in theirs]
    artists += axes.plot(
        [at for at, _ in published],
        [100 * row.theirs.accuracy for _, row in published],
        color=colour,
        linestyle=(0, (4, 2)),
        linewidth=0.9,
    )
    for at, row in published:
        artists += draw_published(axes, at, 100 * row.theirs.accuracy, colour, row.like_for_like, upright=True)
    every = zip(*places, line.conditions, strict=True)
    known = [(at, beside, found) for at, beside, c in every if (found := values(c)).size]
    artists += axes.plot([at for at, _, _ in known], [found.mean() for *_, found in known], color=colour)
    for at, beside, found in known:
        artists.append(axes.scatter(np.full(found.size, beside), found, **rings(colour)))
        artists += draw_interval(axes, at, *over_runs(found), colour, bounds=bounds, upright=True)
    return artists, float(known[-1][2].mean()) if known else None


def _levels(study: xr.Dataset, chosen: list[Line], along: str) -> dict[str, str]:
    """Return the conditions drawn as bands, each in the colour of the one line that it belongs to, or in ink."""
    if along != "rank":
        return {}
    found: dict[str, str] = {}
    for index, line in enumerate(chosen):
        bases = {baseline(study, condition) for condition in line.conditions} - {None}
        for level in level_conditions(study, list(line.conditions)):
            if is_bp(study, level) and level not in bases:
                continue
            found[level] = "" if level in found or len(chosen) == 1 else CONDITION_PALETTE[index]
    shared = [level for level, colour in found.items() if not colour]
    return found | {level: GREYS[min(i, len(GREYS) - 1)] for i, level in enumerate(shared)}


def _level(
    axes: Axes,
    condition: str,
    values: Values,
    colour: str,
    bounds: tuple[float, float],
    theirs: dict[str, Comparison],
) -> tuple[list[Artist], float | None]:
    artists: list[Artist] = []
    if condition in theirs:
        at = 100 * theirs[condition].theirs.accuracy
        artists.append(axes.axhline(at, color=colour, linestyle=(0, (4, 2)), linewidth=0.9, zorder=1))
    found = values(condition)
    if not found.size:
        return artists, None
    mean, low, high = over_runs(found)
    artists.append(axes.axhline(mean, color=colour, linewidth=1.0, zorder=1))
    if np.isfinite(low):
        low, high = np.clip([low, high], *bounds)
        artists.append(axes.axhspan(low, high, color=colour, alpha=0.1, linewidth=0, zorder=0))
    return artists, mean


def _control(
    axes: Axes,
    condition: str,
    at: float,
    values: Values,
    bounds: tuple[float, float],
    theirs: dict[str, Comparison],
) -> tuple[list[Artist], float | None]:
    artists: list[Artist] = []
    if condition in theirs:
        row = theirs[condition]
        artists += draw_published(axes, at, 100 * row.theirs.accuracy, NARROW, row.like_for_like, upright=True)
    found = values(condition)
    if not found.size:
        return artists, None
    artists.append(axes.scatter(np.full(found.size, at), found, **rings(NARROW)))
    artists += draw_interval(axes, at, *over_runs(found), NARROW, marker="s", bounds=bounds, upright=True)
    return artists, float(found.mean())


def _scaled(axes: Axes, places: list[float], along: str) -> Callable[[np.ndarray, float], np.ndarray]:
    """Set the axis along x, and return how a line's places are moved aside so that intervals stay apart."""
    axes.set_xlabel(_named(places, along))
    if not places:
        return lambda at, aside: at
    even, doubled = (_evenness(np.array(p)) for p in (places, np.log2(places)))
    ends = np.array([places[0], places[-1]])
    if doubled < even:
        axes.set_xscale("log", base=2)
        room = 0.06 * max(np.log2(ends[1] / ends[0]), 1.0)
        axes.set_xlim(*(ends * 2.0 ** np.array([-room, room])))
        _ticks(axes, places, np.log2(places))
        return lambda at, aside: at * 2.0 ** (0.2 * room * aside)
    room = 0.06 * ((ends[1] - ends[0]) or max(1.0, ends[0]))
    axes.set_xlim(ends[0] - room, ends[1] + room)
    _ticks(axes, places, np.array(places))
    return lambda at, aside: at + 0.2 * room * aside


def _named(places: list[float], along: str) -> str:
    if along != "rank":
        return AXES.get(along, along)
    return "rank of the feedback / channels" if places and places[0] < 1 else "rank of the feedback"


def _evenness(places: np.ndarray) -> float:
    """Return how much wider the widest gap is than the mean one: 1 where places are even."""
    gaps = np.diff(places)
    return float(gaps.max() / gaps.mean()) if gaps.size else 1.0


def _ticks(axes: Axes, places: list[float], on_axis: np.ndarray) -> None:
    """Mark the places themselves, but for those whose numbers would touch; the largest always."""
    apart = 0.07 * max(float(on_axis[-1] - on_axis[0]), 1e-9)
    kept = [len(places) - 1]
    for index in range(len(places) - 2, -1, -1):
        if on_axis[kept[-1]] - on_axis[index] >= apart:
            kept.append(index)
    marked = [places[index] for index in kept]
    axes.xaxis.set_major_locator(FixedLocator(marked))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(marked, [_written(at) for at in marked])


def _written(at: float) -> str:
    simple = Fraction(at).limit_denominator(64)
    return str(simple) if at < 1 and abs(float(simple) - at) < 1e-6 else f"{at:g}"

"""One row a condition, where labels fit: its frame, and the marks of estimates, on rows and on columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis

from rfmodel.figures.comparison import Comparison
from rfmodel.figures.theme import INK, line_count, wrapped

PERCENT = (0.0, 100.0)  # what an accuracy cannot leave


def row_height(labels: Sequence[str]) -> float:
    """Return the height in inches that each row needs for its wrapped label."""
    return max(0.44, 0.15 * line_count(list(labels)) + 0.06)


def frame_rows(axes: Axes, labels: Sequence[str], named: bool = True) -> None:
    """Give the axes one labelled row a condition, the first on top."""
    axes.set_yticks(range(len(labels)), [wrapped(label) for label in labels] if named else [""] * len(labels))
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    for row in range(1, len(labels)):
        axes.axhline(row - 0.5, color="#E4E4E4", linewidth=0.6, zorder=0)


def swarm(values: np.ndarray, room: float, bins: int = 60) -> np.ndarray:
    """Return vertical offsets that keep near-equal values apart, at most `room` to either side."""
    if not values.size:
        return np.empty(0)
    low, high = float(values.min()), float(values.max())
    cell = np.zeros(values.size, int) if low == high else ((values - low) / (high - low) * bins).astype(int)
    offsets = np.empty(values.size)
    for index in np.unique(cell):
        members = np.flatnonzero(cell == index)
        members = members[np.argsort(values[members], kind="stable")]
        place = np.arange(members.size)
        # Alternating sides from the middle: 0, +1, -1, +2, -2, ...
        offsets[members] = ((place + 1) // 2) * np.where(place % 2, 1.0, -1.0)
    widest = max(np.abs(offsets).max(), 1.0)
    return offsets * min(room / widest, room / 3)


def draw_interval(
    axes: Axes,
    row: float,
    estimate: float,
    low: float,
    high: float,
    colour: str,
    marker: str = "D",
    bounds: tuple[float, float] | None = None,
    upright: bool = False,
) -> list[Artist]:
    """Draw an estimate with its interval on a row; an interval that does not exist is not drawn.

    Parameters
    ----------
    axes, row, estimate, low, high, colour, marker
        Where and what.
    bounds : (float, float), optional
        What the quantity cannot leave; an interval that goes on is cut there and ends in an arrowhead.
    upright : bool
        Draw on a column at `row` instead.
    """
    artists: list[Artist] = []
    if not np.isfinite(estimate):
        return artists
    if np.isfinite(low) and np.isfinite(high):
        ends = np.clip([low, high], *bounds) if bounds else np.array([low, high])
        line = {"color": INK, "linewidth": 2.2, "solid_capstyle": "butt", "zorder": 4}
        artists += axes.plot(*_turned(ends, np.repeat(row, 2), upright), **line)
        for end, wanted, head in zip(ends, (low, high), "v^" if upright else "<>", strict=True):
            if end != wanted:
                cut = {"marker": head, "markersize": 6, "markeredgewidth": 0, "color": INK, "clip_on": False}
                artists += axes.plot(*_turned([end], [row], upright), linestyle="none", zorder=4, **cut)
    point = {"marker": marker, "markersize": 5.0, "markerfacecolor": colour, "markeredgecolor": "white"}
    place = _turned([estimate], [row], upright)
    return artists + axes.plot(*place, linestyle="none", markeredgewidth=0.9, zorder=5, **point)


def rings(colour: str) -> dict[str, object]:
    """Return the style of the rings that are one run each."""
    return {"s": 16, "facecolors": "none", "edgecolors": colour, "linewidths": 0.9, "zorder": 3}


def end_at(axis: Axis, bounds: tuple[float, float], margin: float = 0.08) -> None:
    """Give an axis room about what is drawn, as far as the quantity's bounds."""
    low, high = axis.get_data_interval()
    if not np.isfinite([low, high]).all():
        low, high = bounds
    room = margin * (high - low) or margin * abs(high) or 1.0
    low, high = max(low - room, bounds[0]), min(high + room, bounds[1])
    axis.axes.set_xlim(low, high) if axis.axis_name == "x" else axis.axes.set_ylim(low, high)


def draw_published(
    axes: Axes, row: float, accuracy: float, colour: str, like_for_like: bool, upright: bool = False
) -> list[Artist]:
    """Draw a published value as a diamond: hollow where it is not like for like, with a dot in it where it is."""
    place = _turned([accuracy], [row], upright)
    hollow = {"marker": "D", "markersize": 5.5, "markerfacecolor": "white", "markeredgecolor": colour}
    artists = axes.plot(*place, linestyle="none", markeredgewidth=1.1, zorder=6, **hollow)
    if like_for_like:
        dot = {"marker": "D", "markersize": 2.0, "color": colour}
        artists += axes.plot(*place, linestyle="none", zorder=7, **dot)
    return artists


def published_key(compared: Sequence[Comparison]) -> tuple[str, ...]:
    """Return what the key says of published values, as far as there are any that have been run."""
    shown = {row.like_for_like for row in compared if row.runs}
    said = {False: "◇ published, not like for like", True: "◈ published, like for like"}
    return tuple(said[kind] for kind in (False, True) if kind in shown)


def _turned(along: Sequence[float], across: Sequence[float], upright: bool) -> tuple[Sequence[float], Sequence[float]]:
    return (across, along) if upright else (along, across)


def draw_note(axes: Axes, row: float, text: str) -> Artist:
    """Write in a row why it holds nothing."""
    place = axes.get_yaxis_transform()
    return axes.text(0.02, row, text, transform=place, va="center", ha="left", style="italic", color="#666666")


def draw_key(axes: Axes, parts: Sequence[str]) -> Artist:
    """Write above the axes what its marks are; as a title, whose width the layout does not reserve."""
    return axes.set_title("     ".join(parts), fontsize=8, color="#444444")

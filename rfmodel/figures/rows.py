"""One row a condition: the frame of distributions, compositions and accuracies, where labels fit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from rfmodel.figures.theme import INK, line_count, wrapped


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
    axes: Axes, row: float, estimate: float, low: float, high: float, colour: str, marker: str = "D"
) -> list[Artist]:
    """Draw an estimate with its interval on a row; an interval that does not exist is not drawn."""
    artists: list[Artist] = []
    if not np.isfinite(estimate):
        return artists
    if np.isfinite(low) and np.isfinite(high):
        artists += axes.plot([low, high], [row, row], color=INK, linewidth=2.2, solid_capstyle="butt", zorder=4)
    point = {"marker": marker, "markersize": 5.0, "markerfacecolor": colour, "markeredgecolor": "white"}
    return artists + axes.plot([estimate], [row], linestyle="none", markeredgewidth=0.9, zorder=5, **point)


def draw_note(axes: Axes, row: float, text: str) -> Artist:
    """Write in a row why it holds nothing."""
    place = axes.get_yaxis_transform()
    return axes.text(0.02, row, text, transform=place, va="center", ha="left", style="italic", color="#666666")


def draw_key(axes: Axes, parts: Sequence[str]) -> Artist:
    """Write above the axes what its marks are; as a title, whose width the layout does not reserve."""
    return axes.set_title("     ".join(parts), fontsize=8, color="#444444")

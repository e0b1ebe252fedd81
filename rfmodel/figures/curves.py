"""Test accuracy by epoch, coloured by the rank of the feedback, with the training loss as an inset."""

from __future__ import annotations

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from rfmodel.figures.groups import is_bp
from rfmodel.figures.learning import history, label_ends
from rfmodel.figures.rows import PERCENT, end_at
from rfmodel.figures.selection import conditions, finished, place
from rfmodel.figures.theme import INK, condition_colours, themed

HIGHEST, LOWEST = 0.12, 0.82  # of the colour map, whose lightest end is too faint for a line


def rank_colours(study: xr.Dataset, chosen: list[str]) -> dict[str, str]:
    """Return a colour a condition: ink for backpropagation, lighter for lower rank, its own for any other."""
    ranks = sorted({r for c in chosen if np.isfinite(r := place(study, c, "rank"))}, reverse=True)
    shades = matplotlib.colormaps["viridis"](np.linspace(HIGHEST, LOWEST, len(ranks)))
    by_rank = {rank: to_hex(shade) for rank, shade in zip(ranks, shades, strict=True)}
    own = condition_colours(study)
    return {c: INK if is_bp(study, c) else by_rank.get(place(study, c, "rank"), own[c]) for c in chosen}


@themed
def accuracy_curves(
    study: xr.Dataset, axes: Axes, chosen: list[str] | None = None, inset: bool = True, inches: float = 2.6
) -> list[Artist]:
    """Draw test accuracy by epoch: the mean over finished runs and their range, coloured by rank.

    Parameters
    ----------
    study : Dataset
        With `accuracy_test` (fraction) and `loss_train` (nats) of dims (run, epoch).
    axes : Axes
        Where to draw, labels to its right.
    chosen : list of str, optional
        The conditions drawn, all by default; a page holds about eight.
    inset : bool
        Whether the training loss is drawn within.
    inches : float
        Height of the axes, by which labels are spaced.

    Returns
    -------
    list of Artist
        The labels.
    """
    chosen = chosen or conditions(study)
    colours = rank_colours(study, chosen)
    ends = history(study, axes, study["accuracy_test"], chosen, 100.0, colours)
    axes.set_xlabel("epoch")
    axes.set_ylabel("test accuracy (%)")
    end_at(axes.yaxis, PERCENT)
    if inset and finished(study).size:
        low, high = axes.get_ylim()
        # Accuracy rises to the upper right, so that the lower right is free.
        within = axes.inset_axes((0.55, 0.13, 0.42, 0.4))
        history(study, within, study["loss_train"], chosen, 1.0, colours)
        within.set_title("training loss (nats)", fontsize=8, pad=2)
        within.patch.set_alpha(0.85)
        axes.set_ylim(max(low - 0.35 * (high - low), PERCENT[0]), high)
    return label_ends(axes, ends, colours, inches)

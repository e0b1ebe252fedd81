"""What the feedback does by optimiser step: how it aligns with backpropagation, and what of the error it passes."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from rfmodel.figures.learning import history, label_ends, learning_height
from rfmodel.figures.selection import conditions
from rfmodel.figures.theme import condition_colours, themed

FEEDBACK_ANGLES = {
    "weight_angle": "weights (°)",
    "gradient_angle": "gradient (°)",
    "signal_angle": "signal (°)",
}
FEEDBACK_ERRORS = {
    "participation_ratio": "participation ratio",
    "energy_passed": "energy passed",
    "signal_gain": "gain",
}
LIMIT = 90.0  # degrees: nothing in common with backpropagation


def diagnosed(study: xr.Dataset) -> tuple[list[str], list[str]]:
    """Return the conditions and the edges that any run has a diagnostic for, in the study's order."""
    names = [name for name in (*FEEDBACK_ANGLES, *FEEDBACK_ERRORS) if name in study and "step" in study[name].dims]
    if not names:
        return [], []
    held = [np.isfinite(study[name].transpose("run", "edge", "step").values).any(axis=2) for name in names]
    cells = np.any(held, axis=0)
    having = set(study["condition"].values.astype(str)[cells.any(axis=1)].tolist())
    return [c for c in conditions(study) if c in having], study["edge"].values[cells.any(axis=0)].astype(str).tolist()


@themed
def feedback_by_step(
    study: xr.Dataset,
    figure: Figure | SubFigure,
    quantities: dict[str, str],
    edges: list[str] | None = None,
    chosen: list[str] | None = None,
) -> list[Artist]:
    """Draw diagnostics of each feedback edge by step of training: mean over runs and their range.

    Parameters
    ----------
    study : Dataset
        With the quantities (run, step, edge).
    figure : Figure or SubFigure
        Where to draw, one row an edge and one column a quantity.
    quantities : dict of variable to label
        `FEEDBACK_ANGLES` or `FEEDBACK_ERRORS`; those in degrees have a dotted line at 90.
    edges, chosen : list of str, optional
        All edges and conditions that hold values by default.

    Returns
    -------
    list of Artist
        The labels and the dotted lines.
    """
    known_conditions, known_edges = diagnosed(study)
    edges, chosen = edges or known_edges, chosen or known_conditions
    panels = figure.subplots(len(edges), len(quantities), sharex=True, squeeze=False)
    artists: list[Artist] = []
    for row, edge in zip(panels, edges, strict=True):
        at = study["edge"].values.astype(str).tolist().index(edge)
        for axes, (name, label) in zip(row, quantities.items(), strict=True):
            ends = history(study, axes, study[name].isel(edge=at), chosen)
            axes.set_ylabel(label)
            if not axes.has_data():
                _say_undefined(axes)
            elif label.endswith("(°)"):
                artists.append(axes.axhline(LIMIT, color="#888888", linestyle=":", linewidth=0.9))
        row[0].set_title(edge.replace("->", " → "))
        artists += label_ends(row[-1], ends, condition_colours(study), learning_height(list(ends)) - 0.45)
    for axes in panels[-1]:
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    return artists


def _say_undefined(axes: Axes) -> None:
    axes.text(
        0.5, 0.5, "not defined\non this edge", transform=axes.transAxes, ha="center", va="center", color="#666666"
    )
    axes.set_yticks([])

"""Learning by epoch: losses and accuracies, and how the delivered error lines up with backpropagation's."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from rfmodel.figures.selection import conditions, finished
from rfmodel.figures.theme import condition_colours, line_count, themed, wrapped

SPLITS = ("train", "validation", "test")
UNITS = {"accuracy": ("accuracy (%)", 100.0), "loss": ("loss (nats)", 1.0)}
FEW = 8  # conditions whose bands stand beside each other; those of more are fainter
QUANTITIES = {"angle": "angle with BP (°)", "feedback_norm": "feedback norm"}


def mean_and_range(histories: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean, least and greatest over runs at each epoch or step, NaN where no run has a value.

    Parameters
    ----------
    histories : array, shape (run, epoch or step)
    """
    known = np.isfinite(histories)
    count = known.sum(axis=0)
    mean = np.where(count > 0, np.where(known, histories, 0).sum(axis=0) / np.maximum(count, 1), np.nan)
    low = np.where(count > 0, np.where(known, histories, np.inf).min(axis=0, initial=np.inf), np.nan)
    high = np.where(count > 0, np.where(known, histories, -np.inf).max(axis=0, initial=-np.inf), np.nan)
    return mean, low, high


def _histories(study: xr.Dataset, history: xr.DataArray, condition: str, state: str = "done") -> np.ndarray:
    rows = np.flatnonzero(study["condition"].values.astype(str) == condition)
    done = np.isin(rows, finished(study))
    return history.transpose("run", ...).values[rows[done if state == "done" else ~done]]


@themed
def history(
    study: xr.Dataset,
    axes: Axes,
    values: xr.DataArray,
    chosen: list[str],
    scale: float = 1.0,
    colours: dict[str, str] | None = None,
    dashes: dict[str, str] | None = None,
) -> dict[str, float]:
    """Draw one quantity by epoch or step: the mean over finished runs and their range; diverged runs to a cross.

    Parameters
    ----------
    study : Dataset
        Whose conditions and states.
    axes : Axes
        Where to draw.
    values : DataArray, dims (run, epoch) or (run, step)
        What is drawn, multiplied by `scale`.
    chosen : list of str
        The conditions overlaid, at most eight unless dashes tell more apart.
    scale : float
    colours : dict of condition to colour, optional
        By the condition's place in the study by default.
    dashes : dict of condition to line style, optional
        Solid by default.

    Returns
    -------
    dict
        Each drawn condition's last mean, for its label.
    """
    colours = colours or condition_colours(study)
    (along,) = (name for name in values.dims if name != "run")
    times = study[along].values
    ends: dict[str, float] = {}
    for condition in chosen:
        for path in _histories(study, values, condition, "diverged"):
            known = np.flatnonzero(np.isfinite(path))
            if known.size:
                style = {
                    "color": colours[condition],
                    "linestyle": (0, (1, 1)),
                    "linewidth": 0.9,
                    "marker": "x",
                }
                axes.plot(times[known], scale * path[known], markevery=[-1], markersize=5, **style)
        mean, low, high = mean_and_range(scale * _histories(study, values, condition))
        known = np.isfinite(mean)
        if not known.any():
            continue
        faint = 0.2 if len(chosen) <= FEW else 0.1
        axes.fill_between(times[known], low[known], high[known], color=colours[condition], alpha=faint, linewidth=0)
        mark = "o" if known.sum() == 1 else None
        dash = (dashes or {}).get(condition, "-")
        axes.plot(times[known], mean[known], dash, color=colours[condition], marker=mark, markersize=3)
        ends[condition] = float(mean[known][-1])
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    return ends


def label_ends(
    axes: Axes,
    ends: dict[str, float],
    colours: dict[str, str],
    inches: float,
    dashes: dict[str, str] | None = None,
) -> list[Artist]:
    """Write each line's label to the right of the axes at its last value, moved apart until none overlaps.

    Parameters
    ----------
    axes : Axes
        Whose lines end at the right.
    ends : dict
        Last value of each condition.
    colours : dict
        Colour of each condition.
    inches : float
        Height of the axes, by which lines of 8 pt are spaced.
    dashes : dict of condition to line style, optional
        Of the strokes that lead to the labels; solid by default.
    """
    low, high = axes.get_ylim()
    names = sorted(ends, key=lambda name: ends[name])
    tall = np.array([0.145 * (wrapped(name).count("\n") + 1) / inches for name in names])
    wanted = np.array([(ends[name] - low) / (high - low) for name in names])
    artists: list[Artist] = []
    for name, place in zip(names, spread(wanted, tall), strict=True):
        text = {"xytext": (1.09, place), "textcoords": "axes fraction", "va": "center", "ha": "left"}
        line = {
            "arrowstyle": "-",
            "linestyle": (dashes or {}).get(name, "-"),
            "color": colours[name],
            "linewidth": 0.6,
            "shrinkA": 2,
            "shrinkB": 0,
            "relpos": (0, 0.5),
        }
        point = {"xy": (1.0, (ends[name] - low) / (high - low)), "xycoords": "axes fraction"}
        artists.append(axes.annotate(wrapped(name), **point, **text, color=colours[name], arrowprops=line))
    return artists


def spread(wanted: np.ndarray, tall: np.ndarray) -> np.ndarray:
    """Return places as near to the wanted ones as lets labels of the given heights stand clear of each other.

    Least squares under an order constraint: with the heights accumulated away, the places must not decrease,
    which is isotonic regression by pooling adjacent violators. Labels stay between 0 and 1, to which the solution is
    clipped; those that do not all fit begin at 0.
    """
    shift = np.concatenate([[0.0], np.cumsum((tall[1:] + tall[:-1]) / 2)]) if wanted.size else np.empty(0)
    pools: list[list[float]] = []
    for value in wanted - shift:
        pools.append([value, 1.0])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, n), (b, m) = pools[-2:]
            pools[-2:] = [[(a * n + b * m) / (n + m), n + m]]
    flat = np.array([value for value, count in pools for _ in range(int(count))])
    if not flat.size:
        return flat
    least = tall[0] / 2
    return flat.clip(least, max(least, 1 - tall[-1] / 2 - shift[-1])) + shift


def learning_height(labels: list[str]) -> float:
    """Return the height in inches of each of the two rows of `learning_curves`."""
    return max(1.75, 0.16 * len(labels) * line_count(labels) + 0.5)


@themed
def learning_curves(study: xr.Dataset, figure: Figure | SubFigure, chosen: list[str] | None = None) -> list[Artist]:
    """Draw accuracy and loss by epoch on train, validation and test, the conditions named beside.

    Parameters
    ----------
    study : Dataset
        With `accuracy_*` (fractions) and `loss_*` (run, epoch).
    figure : Figure or SubFigure
        Where to draw.
    chosen : list of str, optional
        At most eight conditions are told apart by colour; all by default.

    Returns
    -------
    list of Artist
        The labels.
    """
    chosen = chosen or conditions(study)
    panels = figure.subplots(2, 3, sharex=True, sharey="row", squeeze=False)
    artists: list[Artist] = []
    for row, (quantity, (label, scale)) in zip(panels, UNITS.items(), strict=True):
        for axes, split in zip(row, SPLITS, strict=True):
            ends = history(study, axes, study[f"{quantity}_{split}"], chosen, scale)
        row[0].set_ylabel(label)
        artists += label_ends(row[-1], ends, condition_colours(study), learning_height(chosen) - 0.45)
    for axes, split in zip(panels[0], SPLITS, strict=True):
        axes.set_title(split)
    for axes in panels[-1]:
        axes.set_xlabel("epoch")
    return artists


def drawn_edges(study: xr.Dataset) -> list[str]:
    """Return the feedback edges that any run has an angle or a norm for."""
    if "edge" not in study.dims:
        return []
    names = [n for n in QUANTITIES if n in study]
    if not names:
        return []
    held = [np.isfinite(study[n].transpose("edge", "run", "epoch").values).any(axis=(1, 2)) for n in names]
    return [str(edge) for edge in study["edge"].values[np.any(held, axis=0)]]


@themed
def feedback_alignment(
    study: xr.Dataset,
    figure: Figure | SubFigure,
    edges: list[str] | None = None,
    chosen: list[str] | None = None,
) -> list[Artist]:
    """Draw each feedback edge's angle between delivered and true error, and the norm of its map.

    Parameters
    ----------
    study : Dataset
        With `angle` (degrees) and `feedback_norm` (run, epoch, edge).
    figure : Figure or SubFigure
        Where to draw, one row an edge.
    edges, chosen : list of str, optional
        All edges that hold values and all conditions by default.

    Returns
    -------
    list of Artist
        The labels, and the dotted line at 90 degrees, where the error carries nothing of backpropagation's.
    """
    edges, chosen = edges or drawn_edges(study), chosen or conditions(study)
    panels = figure.subplots(len(edges), 2, sharex=True, squeeze=False)
    artists: list[Artist] = []
    for row, edge in zip(panels, edges, strict=True):
        at = study["edge"].values.astype(str).tolist().index(edge)
        for axes, (quantity, label) in zip(row, QUANTITIES.items(), strict=True):
            ends = history(study, axes, study[quantity].isel(edge=at), chosen)
            axes.set_ylabel(label)
        row[0].set_title(edge.replace("->", " → "))
        artists.append(row[0].axhline(90, color="#888888", linestyle=":", linewidth=0.9))
        artists += label_ends(row[1], ends, condition_colours(study), learning_height(list(ends)) - 0.45)
    for axes in panels[-1]:
        axes.set_xlabel("epoch")
    return artists

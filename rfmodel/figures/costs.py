"""What training cost: floating-point operations by part, relative to backpropagation, and until an accuracy."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from rfmodel.figures.groups import baseline
from rfmodel.figures.rows import draw_note, frame_rows
from rfmodel.figures.selection import conditions, per_condition
from rfmodel.figures.theme import themed

FRACTION = 0.9
PARTS = {
    "forward": "#BDBDBD",
    "error": "#0072B2",
    "weights": "#56A9D0",
    "feedback": "#117733",
    "plasticity": "#999933",
    "local": "#D9A441",
    "svd": "#CC6677",
    "optimiser": "#882255",
}
SCALES = (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3))


def to_fraction(accuracy: np.ndarray, flops_epoch: np.ndarray, fraction: float = FRACTION) -> float:
    r"""Return the operations done until a run first has a fraction of its own final accuracy.

    .. math:: C(t^*), \quad t^* = \min\{t : a(t) \ge f\, a(T)\}, \quad C(t) = \sum_{s \le t} F_s

    with the accuracy a and the operations C linear between epochs; 0 where the untrained network is there already.
    Operations of evaluation are not counted.

    Parameters
    ----------
    accuracy : array, shape (epoch,)
        From epoch 0, before training; NaN after the run's last epoch T.
    flops_epoch : array, shape (epoch,)
        Floating-point operations F done in each epoch, 0 at epoch 0.
    fraction : float
        Of the accuracy at epoch T.

    Returns
    -------
    float
        NaN where the run has no accuracy, or an epoch until then no count.

    Notes
    -----
    Hanut & Kadmon, Fig. 3c, bottom: 90 % of the final accuracy.
    """
    known = np.isfinite(accuracy)
    path, done = accuracy[known], np.cumsum(flops_epoch)[known]
    if not path.size:
        return float("nan")
    target = fraction * path[-1]
    after = int(np.argmax(path >= target))
    if after == 0:
        return float(done[0])
    share = (target - path[after - 1]) / (path[after] - path[after - 1])
    return float(done[after - 1] + share * (done[after] - done[after - 1]))


def flops_to(study: xr.Dataset, condition: str, fraction: float = FRACTION) -> np.ndarray:
    """Return `to_fraction` of the test accuracy of each finished run of a condition, shape (run,)."""
    if "flops_epoch" not in study:
        return np.empty(0)
    histories = (per_condition(study, name, condition) for name in ("accuracy_test", "flops_epoch"))
    found = np.array([to_fraction(*both, fraction) for both in zip(*histories, strict=True)])
    return found[np.isfinite(found)]


def step_flops(study: xr.Dataset, condition: str) -> np.ndarray:
    """Return the operations of a step by part, mean over finished runs, shape (part,); empty where not recorded."""
    if "flops" not in study:
        return np.empty(0)
    steps = per_condition(study.transpose("run", "cost_layer", "part", ...), "flops", condition)
    steps = steps[np.isfinite(steps).any(axis=(1, 2))]
    return np.nansum(steps, axis=1).mean(axis=0) if len(steps) else np.empty(0)


def relative_flops(study: xr.Dataset, condition: str) -> float:
    """Return the operations of a condition's step over those of backpropagation on a network of the same form.

    NaN where either was not recorded.
    """
    other = baseline(study, condition)
    ours, theirs = step_flops(study, condition), step_flops(study, other) if other else np.empty(0)
    return float(ours.sum() / theirs.sum()) if ours.size and theirs.size else float("nan")


def costed(study: xr.Dataset) -> list[str]:
    """Return the conditions whose operations were recorded."""
    return [condition for condition in conditions(study) if step_flops(study, condition).size]


def scale_of(largest: float) -> tuple[str, float]:
    """Return the prefix and the size of the unit in which a number of operations is at least 1."""
    return next(((prefix, size) for prefix, size in SCALES if largest >= size), ("", 1.0))


@themed
def cost_by_part(study: xr.Dataset, axes: Axes, chosen: list[str] | None = None) -> list[Artist]:
    """Draw the floating-point operations of a step by part, stacked, a bar a condition.

    Parameters
    ----------
    study : Dataset
        With `flops` (run, cost_layer, part).
    axes : Axes
        Where to draw; the ratio to backpropagation on a network of the same form is written beside each bar.
    chosen : list of str, optional
        The conditions drawn, all with recorded operations by default.

    Returns
    -------
    list of Artist
        The bars.
    """
    chosen = chosen or costed(study)
    frame_rows(axes, chosen)
    found = [step_flops(study, condition) for condition in chosen]
    prefix, size = scale_of(max((steps.sum() for steps in found), default=0.0))
    parts = study["part"].values.astype(str).tolist() if "part" in study.dims else []
    artists: list[Artist] = []
    for row, (condition, steps) in enumerate(zip(chosen, found, strict=True)):
        if not steps.size:
            draw_note(axes, row, "no operations recorded")
            continue
        left = 0.0
        for part in sorted(parts, key=_order):
            share = steps[parts.index(part)] / size
            artists += axes.barh(row, share, 0.62, left, color=PARTS.get(part, "#444444"), label=part, linewidth=0)
            left += share
        ratio = relative_flops(study, condition)
        if np.isfinite(ratio):
            axes.text(left, row, f" {ratio:.2f} × BP", va="center", ha="left")
    axes.margins(x=0.12)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"operations a step ({prefix}FLOP)")
    _name_parts(axes)
    return artists


def _order(part: str) -> tuple[int, str]:
    return (list(PARTS).index(part) if part in PARTS else len(PARTS), part)


def _name_parts(axes: Axes) -> None:
    """Name the parts above the axes, each once, in the order of the stack; those that take nothing are left out."""
    bars = {group.get_label(): group for group in axes.containers if group[0].get_width() > 0}
    if bars:
        place = {"loc": "lower left", "bbox_to_anchor": (0, 1.0), "borderaxespad": 0.2, "columnspacing": 1.0}
        names = sorted(bars, key=_order)
        axes.legend([bars[name] for name in names], names, ncols=len(names), handlelength=1.0, **place)

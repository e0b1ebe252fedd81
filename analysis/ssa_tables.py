"""Tables of studies of SVD-space alignment: beside backpropagation, error by epoch, angles, factored layers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import xarray as xr
from beside import Given

from rfmodel import figures
from rfmodel.figures.intervals import Estimate, over_runs
from rfmodel.figures.selection import per_condition
from rfmodel.symmetry.statistics import bootstrap_difference

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of a training, beside its first epoch
HELD = {"factor_rank": "rank", "factor_drift": "drift", "factor_hoyer": "‖S‖₁ / ‖S‖₂"}


@dataclass(frozen=True)
class Gap:
    """A condition's test accuracy less backpropagation's, in points, over the seeds that both have.

    `bootstrap` and `student` are 95 % intervals over pairs of one seed, NaN with one pair; `published` is the published
    difference of the two, NaN where one of them is not published.
    """

    condition: str
    baseline: str
    seeds: int
    mean: float
    bootstrap: tuple[float, float]
    student: tuple[float, float]
    published: float


def on_par(given: Given) -> list[str]:
    """Return the lines that say how far each condition is from backpropagation, and whether SSA is on par with it."""
    found = [gap for c in figures.conditions(given.study) if (gap := gap_of(given, c)) is not None]
    if not found:
        return ["No backpropagation on a network of the same form has finished in this study: nothing to compare."]
    said = [f"- {verdict(gap)}" for gap in found if is_ssa(given.study, gap.condition)]
    head = "| condition | less | seeds | points | bootstrap 95 % | Student 95 % | published, points |"
    return [
        *(said or ["No SSA of these has finished."]),
        "",
        "Test accuracy at the last epoch less backpropagation's from the same seed, in points. The bootstrap draws "
        "seeds, 2000 times; of two or three seeds it is too narrow, and Student's interval stands beside it.",
        "",
        head,
        "|" + "---|" * (head.count("|") - 1),
        *(
            f"| {g.condition} | {g.baseline} | {g.seeds} | {g.mean:+.2f} | {span(g.bootstrap)} | {span(g.student)} | "
            f"{points(g.published)} |"
            for g in found
        ),
    ]


def is_ssa(study: xr.Dataset, condition: str) -> bool:
    """Whether a condition's rule is SSA, in any of its variants."""
    return any(part.startswith("ssa") for part in str(figures.place(study, condition, "rule")).split("+"))


def gap_of(given: Given, condition: str) -> Gap | None:
    """Return how far a condition is from the backpropagation of its network; None where either has not finished."""
    study = given.study
    baseline = figures.baseline(study, condition)
    if baseline is None or baseline == condition:
        return None
    ours, theirs = by_seed(study, condition), by_seed(study, baseline)
    both = sorted(ours.keys() & theirs.keys())
    if not both:
        return None
    pairs = [100 * np.array([held[seed] for seed in both]) for held in (ours, theirs)]
    mean, low, high = over_runs(pairs[0] - pairs[1])
    drawn = bootstrap_difference(*pairs, np.array(both), np.array(both), statistic=np.mean)
    interval = (drawn.low, drawn.high) if len(both) > 1 else (math.nan, math.nan)
    published = {row.condition: 100 * row.theirs.accuracy for row in given.compared}
    apart = published.get(condition, math.nan) - published.get(baseline, math.nan)
    return Gap(condition, baseline, len(both), mean, interval, (low, high), apart)


def by_seed(study: xr.Dataset, condition: str) -> dict[int, float]:
    """Return the test accuracy at the last epoch of each finished seed of a condition."""
    rows = figures.finished(study)
    rows = rows[study["condition"].values.astype(str)[rows] == condition]
    accuracy = study["accuracy_test"].transpose("run", "epoch").values[rows]
    known = {int(s): row[np.isfinite(row)] for s, row in zip(study["seed"].values[rows], accuracy, strict=True)}
    return {seed: float(row[-1]) for seed, row in known.items() if row.size}


def verdict(gap: Gap) -> str:
    """Return in a sentence whether a condition is on par with backpropagation, by its interval over seeds."""
    low, high = gap.bootstrap
    if gap.seeds < 2:
        answer = "one seed, which answers nothing"
    elif high < 0:
        answer = "no: below it by every resample of the seeds"
    elif low > 0:
        answer = "yes: above it by every resample of the seeds"
    else:
        answer = "not told apart by these seeds"
    said = f"**{gap.condition}**: {answer}. {gap.mean:+.2f} points to {gap.baseline} ({span(gap.bootstrap)}"
    said += f", {gap.seeds} seeds)" if gap.seeds > 1 else ")"
    if math.isnan(gap.published):
        return f"{said}; no number is published for the two."
    beside = "within" if gap.mean >= gap.published else "beyond"
    return f"{said}; published {gap.published:+.2f}, so that ours lies {beside} the gap that the paper calls on par."


def errors(study: xr.Dataset) -> list[str]:
    """Return the lines of the table of test errors along the training, the mean over seeds and their range."""
    last = int(study["epoch"].values.max())
    at = sorted({1, *(round(share * last) for share in SHARES)} & set(study["epoch"].values.astype(int).tolist()))
    head = ["condition", "seeds", *(f"epoch {epoch}" for epoch in at)]
    rows = []
    for condition in figures.conditions(study):
        error = 100 * (1 - per_condition(study, "accuracy_test", condition))
        cells = [ranged(error[:, int(np.flatnonzero(study["epoch"].values == epoch)[0])]) for epoch in at]
        rows.append([condition, str(len(error)), *cells])
    return ["Test error in %: mean over seeds (least, greatest).", "", *lined(head, rows)]


def angles(study: xr.Dataset) -> list[str]:
    """Return the lines of the table of angles at the last epoch, by condition and by edge."""
    mean, rows = figures.mean_angles(study), []
    edges = study["edge"].values.astype(str).tolist()
    whole = study.assign(mean_angle=mean)
    for condition in figures.aligned(study):
        ends = last_of(per_condition(whole, "mean_angle", condition))
        of_edge = per_condition(study.transpose("run", "epoch", "edge", ...), "angle", condition)
        ends_of_edge = {edge: last_of(of_edge[:, :, k]) for k, edge in enumerate(edges)}
        said = [f"{edge.partition('->')[2]} {held.mean():.1f}" for edge, held in ends_of_edge.items() if held.size]
        rows.append([condition, str(ends.size), told(over_runs(ends)), ", ".join(said)])
    said = "In degrees, with Student's 95 % interval over seeds; the mean leaves out the output layer's own error."
    return [said, "", *lined(["condition", "seeds", "mean over layers", "by layer"], rows)]


def factors(study: xr.Dataset) -> list[str]:
    """Return the lines of the table of factored layers: rank before and after, drift and sparsity at the end."""
    conditions, sites = figures.factored(study)
    known = study["site"].values.astype(str).tolist()
    quantities = {name: said for name, said in HELD.items() if name in study}
    rows = []
    for condition in conditions:
        held = {n: per_condition(study.transpose("run", "epoch", "site", ...), n, condition) for n in quantities}
        for site in sites:
            paths = {name: values[:, :, known.index(site)] for name, values in held.items()}
            if not any(np.isfinite(path).any() for path in paths.values()):
                continue
            first = ranged(paths["factor_rank"][:, 0], 0) if "factor_rank" in paths else ""
            ends = [ranged(last_of(path), 0 if name == "factor_rank" else 3) for name, path in paths.items()]
            rows.append([condition, site, first, *ends])
    said = "Mean over seeds (least, greatest); drift is that of U and V from orthonormal columns, before a retraction."
    return [said, "", *lined(["condition", "layer", "rank before", *quantities.values()], rows)]


def last_of(histories: np.ndarray) -> np.ndarray:
    """Return the last finite value of each run, shape (run,), without runs that have none."""
    return np.array([row[np.isfinite(row)][-1] for row in histories if np.isfinite(row).any()])


def ranged(values: np.ndarray, digits: int = 2) -> str:
    """Return the mean of one value a run, with the least and the greatest where they differ."""
    values = values[np.isfinite(values)]
    if not values.size:
        return ""
    mean = f"{values.mean():.{digits}f}" if digits < 3 else f"{values.mean():.3g}"
    if np.ptp(values) == 0:
        return mean
    low, high = (f"{v:.{digits}f}" if digits < 3 else f"{v:.3g}" for v in (values.min(), values.max()))
    return f"{mean} ({low}, {high})"


def told(estimate: Estimate) -> str:
    """Return an estimate with its interval, where it has one."""
    mean, low, high = estimate
    return f"{mean:.1f}" + ("" if math.isnan(low) else f" ({low:.1f}, {high:.1f})")


def span(interval: tuple[float, float]) -> str:
    """Return an interval in points."""
    return "no interval" if math.isnan(interval[0]) else f"{interval[0]:+.2f} to {interval[1]:+.2f}"


def points(value: float) -> str:
    """Return a difference in points, nothing where there is none."""
    return "" if math.isnan(value) else f"{value:+.2f}"


def lined(head: list[str], rows: list[list[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in rows)]

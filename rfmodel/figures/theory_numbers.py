"""The theory bench's table of numbers: a row a condition, over its seeds, each with what interval it has."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

import numpy as np
import xarray as xr

from rfmodel.figures.intervals import NOTHING, Estimate, median_over_runs, over_runs
from rfmodel.figures.selection import conditions, per_run
from rfmodel.figures.theory_agreement import largest_differences
from rfmodel.figures.theory_lines import rule_name
from rfmodel.figures.theory_selection import at_end, of_condition, size, word_of
from rfmodel.spreadsheet import word

# What the table holds of each model, with its heading, and whether an interval belongs to it.
DYNAMICS = {
    "recovered": ("modes recovered", True),
    "least_of_top": ("least overlap of the top r", False),
    "largest_of_rest": ("largest of the rest", False),
    "overlap_sum": ("sum of overlaps", True),
    "error": ("error", True),
}
FACTORS = {
    "error": ("error", True),
    "optimum": ("optimum", False),
    "stationary": ("closed form", False),
    "ratio": ("error / optimum", True),
    "excess": ("largest error − optimum", False),
    "alignment": ("alignment, °", True),
    "principal_angle": ("principal angle, °", True),
    "principal_angle_random": ("of random subspaces, °", True),
}
BOTH = {"difference": ("largest difference", False), "drift": ("largest drift", False), "seconds": ("seconds", False)}


@dataclass(frozen=True)
class TheoryRow:
    """What is known of one condition, over its seeds.

    `size` is the rank of the feedback or the width of the factors, NaN where there is neither. `estimates` holds
    (estimate, low, high): counts of recovered modes, errors, ratios and angles are medians with intervals between two
    of the seeds' values, the sum of overlaps a mean with Student's interval; the rest are extremes over seeds or single
    numbers, whose interval is NaN.
    """

    condition: str
    rule: str
    law: str
    size: float
    seeds: int
    estimates: dict[str, Estimate]


def theory_numbers(study: xr.Dataset) -> list[TheoryRow]:
    """Return a row for each condition, in the study's order.

    Parameters
    ----------
    study : Dataset
        As `tidied_theory` returns it.
    """
    return [_row(study, condition) for condition in conditions(study)]


def _row(study: xr.Dataset, condition: str) -> TheoryRow:
    run = of_condition(study, condition)
    of_model = _dynamics(run, size(study, condition)) if "overlap" in run else _factors(run)
    apart = [values.max() for values in largest_differences(run).values()]
    seconds = per_run(study, "seconds")[conditions(study).index(condition)]
    found = of_model | {
        "difference": _single(max(apart, default=np.nan)),
        "drift": _single(_most(run, "drift")),
        "seconds": _single(float(seconds) if seconds else np.nan),
    }
    law = word_of(study, condition, "law")
    return TheoryRow(condition, rule_name(study, condition), law, size(study, condition), run.sizes["seed"], found)


def _dynamics(run: xr.Dataset, rank: float) -> dict[str, Estimate]:
    found = at_end(run.transpose("manner", "seed", "point", "mode", ...), "overlap")
    top = found.shape[1] if np.isnan(rank) else min(int(rank), found.shape[1])
    return {
        "recovered": _median(run["recovered"].values),
        "least_of_top": _single(found[:, :top].min()),
        "largest_of_rest": _single(found[:, top:].max() if top < found.shape[1] else np.nan),
        "overlap_sum": over_runs(found.sum(axis=1)),
        "error": _median(at_end(run, "error")),
    }


def _factors(run: xr.Dataset) -> dict[str, Estimate]:
    # One number a seed: the mean over the angles, of which there are as many as the factors are wide.
    angles = {
        name: run[name].transpose("seed", "angle").values.mean(axis=1) if run.sizes["angle"] else np.empty(0)
        for name in ("principal_angle", "principal_angle_random")
    }
    return {
        "error": _median(at_end(run, "error")),
        "optimum": _single(float(np.median(run["optimum"].values))),
        "stationary": _single(float(np.median(run["stationary"].values))),
        "ratio": _median(run["ratio"].values),
        "excess": _single(_most(run, "excess")),
        "alignment": _median(at_end(run, "alignment")),
        **{name: _median(values) for name, values in angles.items()},
    }


def _median(values: np.ndarray) -> Estimate:
    return median_over_runs(values[np.isfinite(values)])


def _single(value: float) -> Estimate:
    return float(value), *NOTHING[1:]


def _most(run: xr.Dataset, name: str) -> float:
    held = run[name].values if name in run else np.empty(0)
    return float(held[np.isfinite(held)].max(initial=-np.inf)) if np.isfinite(held).any() else float("nan")


def theory_headings(rows: list[TheoryRow]) -> dict[str, tuple[str, bool]]:
    """Return heading and whether there is an interval of each estimate that any row has, in the table's order."""
    every = (DYNAMICS if any("recovered" in row.estimates for row in rows) else FACTORS) | BOTH
    return {n: said for n, said in every.items() if any(np.isfinite(row.estimates[n][0]) for row in rows)}


def theory_numbers_csv(rows: list[TheoryRow]) -> str:
    """Return the table as comma-separated values; an estimate with an interval has three columns, NaN an empty cell.

    A condition whose name a spreadsheet would compute has an apostrophe before it (`rfmodel.spreadsheet`).
    """
    headings = theory_headings(rows)
    ends = {name: ("", "_low", "_high") if spans else ("",) for name, (_, spans) in headings.items()}
    linear = any("recovered" in row.estimates for row in rows)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    head = ("condition", "rule", "law", "rank" if linear else "width", "seeds")
    writer.writerow([*head, *(f"{name}{end}" for name in headings for end in ends[name])])
    for row in rows:
        cells = [word(row.condition), word(row.rule), word(row.law), _cell(row.size), row.seeds]
        writer.writerow(cells + [_cell(v) for name in headings for v in row.estimates[name][: len(ends[name])]])
    return buffer.getvalue()


def _cell(value: float) -> str:
    return f"{value:.6g}" if np.isfinite(value) else ""

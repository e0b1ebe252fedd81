"""The table of numbers: one row a condition, layer and stage, or a condition without fields, each with intervals."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

import numpy as np
import xarray as xr

from rfmodel.figures.costs import flops_to, relative_flops, step_flops
from rfmodel.figures.intervals import Estimate, fraction, over_runs, over_units
from rfmodel.figures.selection import conditions, last_values, layers, per_condition, pooled
from rfmodel.spreadsheet import word

METRICS = ("p0", "p1", "p2", "p_rest", "anisotropy", "coherence", "osi", "gosi", "gosi_mean")
FRACTIONS = {"centre_surround_fraction": "centre-surround", "oriented_fraction": "oriented"}
# What is known of a condition as a whole, whatever its layers.
OVERALL = ("test_accuracy", "validation_accuracy", "flops_step", "flops_relative", "flops_to_90", "peak_memory")


@dataclass(frozen=True)
class Row:
    """What is known of one condition's units in one layer at one stage, or of a condition without fields.

    `estimates` holds medians over live units by metric and fractions of all units; and of the condition, trained, the
    mean accuracies at the last epoch (fractions), operations of a step, their ratio to backpropagation's on a network
    of the same form, operations until 90 % of the final accuracy, and peak memory (bytes). Each is (estimate, low,
    high), NaN where nothing was left to measure. Without fields `layer` is "" and the counts of units are 0.
    """

    condition: str
    layer: str
    stage: str
    runs: int
    diverged: int
    units: int
    dead: int
    border: int
    estimates: dict[str, Estimate]


def numbers(study: xr.Dataset) -> list[Row]:
    """Return the rows of the table of numbers, by layer, then condition, trained before untrained.

    Parameters
    ----------
    study : Dataset
        With the metrics, `kind` and `status` of dims (run, stage, unit), where there are fields.

    Returns
    -------
    list of Row
        Conditions without the layer are left out; those without any come last, a row each.
    """
    stages = [s for s in ("trained", "untrained") if "stage" in study.dims and s in study["stage"].values]
    rows = [_row(study, c, layer, s) for layer in layers(study) for c in conditions(study) for s in stages]
    rows = [row for row in rows if row.units]
    having = {row.condition for row in rows}
    return rows + [row for row in overall(study) if row.condition not in having]


def overall(study: xr.Dataset) -> list[Row]:
    """Return one row a condition, without its units."""
    return [
        Row(c, "", "trained", len(_done(study, c)), diverged(study, c), 0, 0, 0, _overall(study, c))
        for c in conditions(study)
    ]


def diverged(study: xr.Dataset, condition: str) -> int:
    """Return how many runs of a condition diverged."""
    states = study["state"].values.astype(str)[study["condition"].values.astype(str) == condition]
    return int((states == "diverged").sum())


def _done(study: xr.Dataset, condition: str) -> np.ndarray:
    return per_condition(study, "seed", condition)


def _overall(study: xr.Dataset, condition: str) -> dict[str, Estimate]:
    """Return a condition's accuracies and costs, as far as its study holds them."""
    found = {
        f"{split}_accuracy": over_runs(last_values(study, f"accuracy_{split}", condition))
        for split in ("test", "validation")
        if f"accuracy_{split}" in study
    }
    if "flops" in study:
        steps = step_flops(study, condition)
        found["flops_step"] = (float(steps.sum()) if steps.size else np.nan, np.nan, np.nan)
        found["flops_relative"] = (relative_flops(study, condition), np.nan, np.nan)
    if "flops_epoch" in study:
        found["flops_to_90"] = over_runs(flops_to(study, condition))
    if "peak_memory" in study:
        peaks = per_condition(study, "peak_memory", condition)
        found["peak_memory"] = over_runs(peaks[np.isfinite(peaks)])
    return found


def _row(study: xr.Dataset, condition: str, layer: str, stage: str) -> Row:
    status, runs = pooled(study, "status", condition, layer, stage)
    kinds, _ = pooled(study, "kind", condition, layer, stage)
    estimates = {name: over_units(*pooled(study, name, condition, layer, stage)) for name in METRICS if name in study}
    for name, kind in FRACTIONS.items():
        estimates[name] = fraction(kinds.astype(str) == kind, runs)
    if stage == "trained":
        estimates |= _overall(study, condition)
    counts = {name: int((status.astype(str) == name).sum()) for name in ("dead", "border")}
    lost = diverged(study, condition)
    return Row(condition, layer, stage, np.unique(runs).size, lost, status.size, **counts, estimates=estimates)


def estimate_names(rows: list[Row]) -> list[str]:
    """Return the estimates that any row holds, in the order of the table."""
    return list(dict.fromkeys(name for row in rows for name in row.estimates))


def numbers_csv(rows: list[Row]) -> str:
    """Return the table as comma-separated values: each estimate in three columns, an empty cell for NaN.

    A condition or layer whose name a spreadsheet would compute has an apostrophe before it (`rfmodel.spreadsheet`).
    """
    names = estimate_names(rows)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    head = ["condition", "layer", "stage", "runs", "diverged", "units", "dead", "border"]
    writer.writerow([*head, *(f"{name}{end}" for name in names for end in ("", "_low", "_high"))])
    for row in rows:
        counts = (row.units, row.dead, row.border) if row.layer else ("", "", "")
        cells = [word(row.condition), word(row.layer), row.stage, row.runs, row.diverged, *counts]
        for name in names:
            values = row.estimates.get(name, (np.nan,) * 3)
            cells += [f"{value:.6g}" if np.isfinite(value) else "" for value in values]
        writer.writerow(cells)
    return buffer.getvalue()

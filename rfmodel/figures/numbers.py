"""The table of numbers: one row a condition, layer and stage, each estimate with its 95 % interval."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

import numpy as np
import xarray as xr

from rfmodel.figures.intervals import Estimate, fraction, over_runs, over_units
from rfmodel.figures.selection import conditions, last_values, layers, pooled

METRICS = ("p0", "p1", "p2", "p_rest", "anisotropy", "coherence", "osi", "gosi", "gosi_mean")
FRACTIONS = {"centre_surround_fraction": "centre-surround", "oriented_fraction": "oriented"}


@dataclass(frozen=True)
class Row:
    """What is known of one condition's units in one layer at one stage.

    `estimates` holds medians over live units by metric, fractions of all units, and the mean test accuracy;
    each is (estimate, low, high), NaN where nothing was left to measure.
    """

    condition: str
    layer: str
    stage: str
    runs: int
    units: int
    dead: int
    border: int
    estimates: dict[str, Estimate]


def numbers(study: xr.Dataset) -> list[Row]:
    """Return the rows of the table of numbers, by layer, then condition, trained before untrained.

    Parameters
    ----------
    study : Dataset
        With the metrics, `kind` and `status` of dims (run, stage, unit).

    Returns
    -------
    list of Row
        Conditions without the layer are left out.
    """
    stages = [s for s in ("trained", "untrained") if s in study["stage"].values]
    rows = [_row(study, c, layer, s) for layer in layers(study) for c in conditions(study) for s in stages]
    return [row for row in rows if row.units]


def _row(study: xr.Dataset, condition: str, layer: str, stage: str) -> Row:
    status, runs = pooled(study, "status", condition, layer, stage)
    kinds, _ = pooled(study, "kind", condition, layer, stage)
    estimates = {name: over_units(*pooled(study, name, condition, layer, stage)) for name in METRICS if name in study}
    for name, kind in FRACTIONS.items():
        estimates[name] = fraction(kinds.astype(str) == kind, runs)
    if stage == "trained":
        estimates["test_accuracy"] = over_runs(last_values(study, "accuracy_test", condition))
    counts = {name: int((status.astype(str) == name).sum()) for name in ("dead", "border")}
    return Row(condition, layer, stage, np.unique(runs).size, status.size, **counts, estimates=estimates)


def estimate_names(rows: list[Row]) -> list[str]:
    """Return the estimates that any row holds, in the order of the table."""
    return list(dict.fromkeys(name for row in rows for name in row.estimates))


def numbers_csv(rows: list[Row]) -> str:
    """Return the table as comma-separated values: each estimate in three columns, an empty cell for NaN."""
    names = estimate_names(rows)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    head = ["condition", "layer", "stage", "runs", "units", "dead", "border"]
    writer.writerow([*head, *(f"{name}{end}" for name in names for end in ("", "_low", "_high"))])
    for row in rows:
        cells = [row.condition, row.layer, row.stage, row.runs, row.units, row.dead, row.border]
        for name in names:
            values = row.estimates.get(name, (np.nan,) * 3)
            cells += [f"{value:.6g}" if np.isfinite(value) else "" for value in values]
        writer.writerow(cells)
    return buffer.getvalue()

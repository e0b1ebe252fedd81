"""Differences between conditions, seed by seed, as a section of the report and as a table to take away."""

from __future__ import annotations

import csv
import io
from html import escape

import numpy as np
import xarray as xr

from rfmodel import figures
from rfmodel.comparing import Difference, compare_conditions
from rfmodel.markup import interval, table
from rfmodel.spreadsheet import word

FIELDS = ("p0", "anisotropy", "centre_surround_fraction", "oriented_fraction")
ACCURACY = ("test_accuracy",)
NAMES = {
    "centre_surround_fraction": "centre-surround",
    "oriented_fraction": "oriented",
    "test_accuracy": "test accuracy, %",
}
MOST = 400  # differences, beyond which a table is no help


def differences(study: xr.Dataset) -> list[Difference]:
    """Return every condition's difference from the first in accuracy and in the fields' headline metrics.

    Empty where fewer than two conditions have finished runs, or where they are too many for a table.
    """
    live = [name for name in figures.conditions(study) if figures.seeds(study, name)]
    fielded = [name for name in live if name in figures.fielded(study)]
    if len(live) < 2 or len(live) * (len(FIELDS) + 1) > MOST:
        return []
    with_fields = len(fielded) == len(live) and "kind" in study and "stage" in study.dims
    return compare_conditions(study, (*FIELDS, *ACCURACY) if with_fields else ACCURACY)


def differences_section(found: list[Difference]) -> str:
    """Return a row a difference, with what it was compared with and how."""
    first = found[0]
    layer = next((escape(one.layer) for one in found if one.layer), "")
    told = (
        f"<p>Each condition less <b>{escape(first.against)}</b>"
        f"{f'; fields of {layer}' if layer else ''}. Medians over live units, shares of all units, mean accuracy. The"
        " interval is a bootstrap over seeds, then units. p permutes seeds, never units, since units of one network are"
        " not independent; beside it the smallest p that so many seeds can give. q is p adjusted over this table"
        " (Benjamini and Hochberg). d<sub>z</sub> is the mean difference of paired seeds over its spread (g where"
        " conditions share no seed), and the last column the seeds that would find that effect with 80 % power at .05:"
        " an estimate from these few seeds."
        ' The same numbers: <a href="differences.csv">differences.csv</a>.</p>'
    )
    alone = "" if any(one.test for one in found) else '<p class="warn">One seed makes no test between conditions.</p>'
    head = ("metric", "condition", "seeds", "value", "difference", "p", "least p", "q", "effect", "seeds for 80 %")
    return told + alone + table(head, [_row(one) for one in found])


def _row(one: Difference) -> str:
    unit, digits = (0.01, 1) if one.metric == "test_accuracy" else (1.0, 2)
    low, high = one.interval.low, one.interval.high
    p = ("–", "–") if one.test is None else (f"{one.test.p:.3g}", f"{one.test.smallest_p:.3g}")
    cells = [
        f"<td>{escape(NAMES.get(one.metric, one.metric))}</td>",
        f'<th scope="row">{escape(one.condition)}</th>',
        f"<td>{one.counted}</td>",
        f'<td class="n">{_number(one.value / unit, f".{digits}f")}</td>',
        interval((one.value - one.baseline, low, high), unit, digits),
        *(f'<td class="n">{text}</td>' for text in (*p, _number(one.q, ".2g"), _number(one.effect, ".2f"))),
        f'<td class="n">{_number(one.needed, ".0f")}</td>',
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _number(value: float, form: str) -> str:
    if np.isnan(value):
        return "–"
    return "∞" if np.isinf(value) else f"{value:{form}}"


def differences_csv(found: list[Difference]) -> str:
    """Return the differences as comma-separated values, one row each; names as in `numbers.csv`."""
    names = (
        "metric", "layer", "condition", "against", "paired", "seeds", "left_out", "value", "baseline", "difference",
        "low", "high", "p", "smallest_p", "q", "effect", "seeds_needed",
    )  # fmt: skip
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(names)
    for one in found:
        p = ("", "") if one.test is None else (one.test.p, one.test.smallest_p)
        what = (one.metric, *map(word, (one.layer, one.condition, one.against)), one.paired, one.seeds, one.left_out)
        sizes = (one.value, one.baseline, one.value - one.baseline, one.interval.low, one.interval.high)
        writer.writerow([*what, *sizes, *p, one.q, one.effect, one.needed])
    return out.getvalue()

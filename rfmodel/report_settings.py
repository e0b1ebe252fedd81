"""What made the numbers: settings by condition, versions, hardware, commit, data, thresholds."""

from __future__ import annotations

import json
from html import escape

import xarray as xr

from rfmodel import figures
from rfmodel.figures.labels import dotted, parsed
from rfmodel.markup import table

PROVENANCE = ("preset", "data_fingerprint", "data_source", "commit", "hardware", "versions")
ACROSS = 8  # conditions side by side; more are rows


def settings_and_provenance(study: xr.Dataset, spent: str = "training time") -> str:
    """Return the tables of settings, by condition and shared, and of what the runs recorded.

    Parameters
    ----------
    study : Dataset
    spent : str
        What the runs' seconds went on.
    """
    return _settings(study) + _provenance(study, spent)


def _settings(study: xr.Dataset) -> str:
    texts, labels = figures.per_run(study, "settings"), study["condition"].values.astype(str)
    if not any(texts):
        return '<p class="warn">The runs recorded no settings.</p>'
    known = figures.conditions(study)
    table_of: dict[str, dict[str, list[str]]] = {}
    for text, label in zip(texts, labels, strict=True):
        for key, value in dotted(parsed(text)).items():
            held = table_of.setdefault(key, {}).setdefault(str(label), [])
            if value not in held:
                held.append(value)
    cells = {key: [", ".join(held.get(c, ["–"])) for c in known] for key, held in table_of.items()}
    differing = {key: row for key, row in cells.items() if len(set(row)) > 1}
    html = "<p>Settings that differ between conditions; tinted where they differ from the first one.</p>"
    html += _differing(differing, known) if differing else "<p>All conditions have the same settings.</p>"
    same = [
        f'<tr><th scope="row">{escape(k)}</th><td>{escape(row[0])}</td></tr>'
        for k, row in cells.items()
        if k not in differing
    ]
    shared = table(["setting", "value in every condition"], same, "settings")
    return (
        html + "<details open><summary>Settings that all conditions share"
        f" ({len(same)})</summary>{shared}</details>" + _exact(study, texts)
    )


def _differing(cells: dict[str, list[str]], known: list[str]) -> str:
    """Return what differs, a column a condition; where these would not fit side by side, a row a condition."""
    if len(known) <= ACROSS:
        return table(
            ["setting", *map(escape, known)], [_setting_row(key, row) for key, row in cells.items()], "settings"
        )
    body = []
    for place, condition in enumerate(known):
        marked = "".join(_setting_cell(row[place], row[0]) for row in cells.values())
        body.append(f'<tr><th scope="row">{escape(condition)}</th>{marked}</tr>')
    return table(["condition", *map(escape, cells)], body, "settings")


def _setting_cell(value: str, first: str) -> str:
    return f"<td{' class=other' if value != first else ''}>{escape(value)}</td>"


def _setting_row(key: str, row: list[str]) -> str:
    cells = "".join(_setting_cell(value, row[0]) for value in row)
    return f'<tr><th scope="row">{escape(key)}</th>{cells}</tr>'


def _exact(study: xr.Dataset, texts: list[str]) -> str:
    firsts = dict(reversed(list(zip(study["condition"].values.astype(str).tolist(), texts, strict=True))))
    html = []
    for condition in figures.conditions(study):
        text = json.dumps(parsed(firsts[condition]), indent=1, ensure_ascii=False)
        html.append(
            f"<details><summary>{escape(condition)}: exact settings of its first"
            f" run</summary><pre>{escape(text)}</pre></details>"
        )
    return "".join(html)


def _recorded(held: list[str], numeric: bool) -> str:
    """Return what runs recorded: the one value, the range of numbers that differ, or the first few texts."""
    values = list(dict.fromkeys(text for text in held if text))
    absent = sum(not text for text in held)
    lost = f"; not recorded in {absent} of {len(held)} runs" if values and absent else ""
    numbers = [_number(text) for text in values] if numeric else [None]
    if values and None not in numbers:
        low, high = f"{min(numbers):.4g}", f"{max(numbers):.4g}"
        return (low if low == high else f"{low} to {high} over the runs") + lost
    more = f"; … ({len(values)} values over the runs)" if len(values) > 4 else ""
    return "; ".join(values[:4]) + more + lost


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _provenance(study: xr.Dataset, spent: str) -> str:
    """Return what made the numbers: versions, hardware, commit, data, the classifier's thresholds."""
    names = [n for n in PROVENANCE if any(figures.per_run(study, n))]
    named = {str(n) for n in (*study.attrs, *study.variables)}
    judged = sorted(n for n in named if n.startswith(("classifier", "threshold", "null")))
    body = []
    for name in (*names, *judged):
        shown = _recorded(figures.per_run(study, name), numeric=name in judged)  # a commit may be all digits
        body.append(f'<tr><th scope="row">{escape(name.replace("_", " "))}</th><td>{escape(shown)}</td></tr>')
    seconds = [float(v) for v in figures.per_run(study, "seconds") if v]
    if seconds:
        total = f"{sum(seconds):.0f} s over {len(seconds)} runs"
        body.append(f'<tr><th scope="row">{spent}</th><td>{total}</td></tr>')
    html = "<h3>Provenance</h3>" + table(("", "recorded"), body, "settings")
    if figures.layers(study) and not judged:
        html += '<p class="warn">The runs recorded no classifier thresholds.</p>'
    return html

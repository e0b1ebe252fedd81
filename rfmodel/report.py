"""One page to take away: what was run, what came out, with which intervals, from which settings.

The page needs nothing beside it: style and pictures are inside, there are no scripts, and every string from a
study is escaped. The same pictures and the table as `numbers.csv` lie beside it for use elsewhere.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

import numpy as np
import xarray as xr

from rfmodel import figures
from rfmodel.errors import InputError
from rfmodel.figures.labels import dotted, parsed
from rfmodel.store import write_aside

PROVENANCE = ("data_fingerprint", "data_source", "commit", "hardware", "versions")
HEADINGS = {
    "p_rest": "rest",
    "osi": "OSI",
    "gosi": "gOSI",
    "gosi_mean": "gOSI, f-mean",
    "centre_surround_fraction": "centre-surround",
    "oriented_fraction": "oriented",
    "test_accuracy": "test accuracy",
}


def write_report(
    study: xr.Dataset,
    folder: Path,
    title: str | None = None,
    protocol: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Write a study's report, `report.html`, with its figures and `numbers.csv` beside it.

    Parameters
    ----------
    study : Dataset
        As `rfmodel.open_study` returns it.
    folder : Path
        Where to write; made if it is not there. Every file is written aside and renamed, the page last.
    title : str, optional
        Heading of the page.
    protocol : str, optional
        The protocol's name, or its text, which is then kept on the page.
    progress : callable of (title), optional
        Told of each figure as it is drawn.

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    InputError
        If no run has finished, no finished run holds a field, or the folder cannot be written.
    """
    study = figures.tidied(study)
    figures.require_finished(study)
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        found = error.strerror or error
        raise InputError(f"the report's folder '{folder}' cannot be made: {found}; give a folder that can be") from None
    rows = figures.numbers(study)
    sections: dict[str, list[str]] = {}
    for plate in figures.plates(study):
        if progress is not None:
            progress(plate.title)
        data = figures.png(plate.figure)
        write_aside(folder / f"{plate.name}.png", lambda path, data=data: path.write_bytes(data))
        sections.setdefault(plate.section, []).append(_figure(plate, data))
    write_aside(folder / "numbers.csv", lambda path: path.write_text(figures.numbers_csv(rows), encoding="utf-8"))
    page = _page(study, title or "Receptive fields and the teaching signal", protocol, sections, rows)
    write_aside(folder / "report.html", lambda path: path.write_text(page, encoding="utf-8"))
    return folder / "report.html"


def _page(
    study: xr.Dataset,
    title: str,
    protocol: str | None,
    sections: dict[str, list[str]],
    rows: list[figures.Row],
) -> str:
    style = files("rfmodel").joinpath("report.css").read_text(encoding="utf-8")
    parts = {"What was run": _what_was_run(study, rows)}
    parts |= {name: "".join(drawn) for name, drawn in sections.items()}
    parts |= {
        "Numbers": _numbers(study, rows),
        "Settings and provenance": _settings(study) + _provenance(study),
    }
    links = " ".join(f'<a href="#s{i}">{escape(name)}</a>' for i, name in enumerate(parts))
    body = "".join(
        f'<section id="s{i}"><h2>{escape(name)}</h2>{html}</section>' for i, (name, html) in enumerate(parts.items())
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head>\n"
        f"<body><header><h1>{escape(title)}</h1>{_protocol(protocol)}</header><nav>{links}</nav>\n{body}</body></html>\n"
    )


def _protocol(protocol: str | None) -> str:
    if not protocol:
        return ""
    if "\n" not in protocol.strip():
        return f"<p>Protocol: <b>{escape(protocol.strip())}</b></p>"
    return f"<details><summary>Protocol</summary><pre>{escape(protocol)}</pre></details>"


def _figure(plate: figures.Plate, data: bytes) -> str:
    source = "data:image/png;base64," + base64.b64encode(data).decode("ascii")
    image = f'<img alt="{escape(plate.title)}: {escape(plate.section)}" src="{source}">'
    caption = f"<figcaption>{escape(plate.caption)}</figcaption>"
    return f'<figure><h3>{escape(plate.title)}</h3><div class="wide">{image}</div>{caption}</figure>'


def _table(head: Sequence[str], body: Iterable[str], kind: str = "") -> str:
    cells = "".join(f'<th scope="col">{name}</th>' for name in head)
    return (
        '<div class="wide"><table'
        f' class="{kind}"><thead><tr>{cells}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'
    )


def _interval(values: Sequence[float], percent: bool = False) -> str:
    scale, digits = (100, 1) if percent else (1, 2)
    estimate, low, high = (scale * v for v in values)
    if not np.isfinite(estimate):
        return '<td class="n">–</td>'
    span = f"{low:.{digits}f}–{high:.{digits}f}" if np.isfinite(low) and np.isfinite(high) else "no interval"
    return f'<td class="n">{estimate:.{digits}f}<small>{span}</small></td>'


def _what_was_run(study: xr.Dataset, rows: list[figures.Row]) -> str:
    labels, states = study["condition"].values.astype(str), study["state"].values.astype(str)
    known = figures.conditions(study)
    seeds = sorted({int(seed) for seed in study["seed"].values})
    done, missing = int((states == "done").sum()), len(known) * len(seeds) - len(states)
    count = (
        f"{len(known)} condition{'s'[: len(known) > 1]}, seed{'s'[: len(seeds) > 1]}"
        f" {', '.join(map(str, seeds))}: {done} done, {int((states == 'diverged').sum())} diverged, {missing}"
        " missing."
    )
    accuracy = {row.condition: row.estimates["test_accuracy"] for row in rows if "test_accuracy" in row.estimates}
    body = []
    for condition in known:
        of = labels == condition
        counts = (int((of & (states == s)).sum()) for s in ("done", "diverged"))
        cells = "".join(f"<td>{n}</td>" for n in (*counts, len(seeds) - int(of.sum())))
        value = _interval(accuracy.get(condition, (np.nan,) * 3), percent=True)
        body.append(f'<tr><th scope="row">{escape(condition)}</th>{cells}{value}</tr>')
    head = ("condition", "done", "diverged", "missing", "test accuracy, %")
    return f"<p>{escape(count)}</p>{_alone(done, states)}{_table(head, body)}{GUIDE}"


GUIDE = (
    '<p class="soft">Test accuracy is at the last epoch: mean over finished runs and Student\'s 95 % interval'
    " over runs. Missing counts pairs of a condition and a seed without a result. Diverged runs are counted"
    ' and left out of all else.</p><p class="soft">Reading guide. Every figure says below it what is shown,'
    " how its interval is made and of how many units and runs. Units are not independent within a run, so"
    " intervals over units draw runs first. Conditions keep their order and colour throughout; grey is always"
    " the untrained networks.</p>"
)


def _alone(done: int, states: np.ndarray) -> str:
    if done == 1:
        return (
            '<p class="warn">One run has finished: intervals are over its units only and say nothing of other'
            " seeds.</p>"
        )
    lost = int((states != "done").sum())
    return (
        f'<p class="warn">{lost} of {len(states)} runs diverged; a condition may look better for it.</p>'
        if lost
        else ""
    )


def _numbers(study: xr.Dataset, rows: list[figures.Row]) -> str:
    names = figures.estimate_names(rows)
    html = [
        "<p>Medians over live units; classes as fractions of all units, dead ones included; below each its 95"
        " % interval (bootstrap over runs, then units; Clopper and Pearson's over units where a fraction is 0 or 1,"
        " since no resample differs there; Student's over runs for accuracy, in %). Grey rows:"
        ' the same networks before training. The same numbers: <a href="numbers.csv">numbers.csv</a>.</p>'
    ]
    head = [
        "condition",
        "runs",
        "units",
        "dead",
        "cut by border",
        *(HEADINGS.get(name, name) for name in names),
    ]
    for layer in figures.layers(study):
        body = [_number_row(row, names) for row in rows if row.layer == layer]
        html.append(f"<h3>{escape(layer)}</h3>" + _table(head, body))
    return "".join(html)


def _number_row(row: figures.Row, names: list[str]) -> str:
    nothing = (np.nan,) * 3
    estimates = "".join(_interval(row.estimates.get(n, nothing), percent=n == "test_accuracy") for n in names)
    counts = "".join(f"<td>{n}</td>" for n in (row.runs, row.units, row.dead, row.border))
    label = escape(row.condition) + (", untrained" if row.stage == "untrained" else "")
    return f'<tr class="{row.stage}"><th scope="row">{label}</th>{counts}{estimates}</tr>'


def _settings(study: xr.Dataset) -> str:
    texts, labels = figures.per_run(study, "settings"), study["condition"].values.astype(str)
    if not any(texts):
        return '<p class="warn">The runs recorded no settings.</p>'
    known = figures.conditions(study)
    table: dict[str, dict[str, list[str]]] = {}
    for text, label in zip(texts, labels, strict=True):
        for key, value in dotted(parsed(text)).items():
            held = table.setdefault(key, {}).setdefault(str(label), [])
            if value not in held:
                held.append(value)
    cells = {key: [", ".join(held.get(c, ["–"])) for c in known] for key, held in table.items()}
    differing = {key: row for key, row in cells.items() if len(set(row)) > 1}
    body = [_setting_row(key, row) for key, row in differing.items()]
    html = (
        _table(["setting", *map(escape, known)], body, "settings")
        if body
        else "<p>All conditions have the same settings.</p>"
    )
    html = "<p>Settings that differ between conditions; tinted where they differ from the first one.</p>" + html
    same = [
        f'<tr><th scope="row">{escape(k)}</th><td>{escape(row[0])}</td></tr>'
        for k, row in cells.items()
        if k not in differing
    ]
    shared = _table(["setting", "value in every condition"], same, "settings")
    return (
        html + "<details open><summary>Settings that all conditions share"
        f" ({len(same)})</summary>{shared}</details>" + _exact(study, texts)
    )


def _setting_row(key: str, row: list[str]) -> str:
    cells = "".join(f"<td{' class=other' if v != row[0] else ''}>{escape(v)}</td>" for v in row)
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


def _provenance(study: xr.Dataset) -> str:
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
        body.append(f'<tr><th scope="row">training time</th><td>{total}</td></tr>')
    lost = [] if judged else ['<p class="warn">The runs recorded no classifier thresholds.</p>']
    return "<h3>Provenance</h3>" + _table(("", "recorded"), body, "settings") + "".join(lost)

"""What was run and what came out: tables of runs, numbers, and ours beside the published values."""

from __future__ import annotations

from html import escape

import numpy as np
import xarray as xr

from rfmodel import figures
from rfmodel.markup import interval, table
from rfmodel.published import Published

HEADINGS = {
    "p_rest": "rest",
    "osi": "OSI",
    "gosi": "gOSI",
    "gosi_mean": "gOSI, f-mean",
    "centre_surround_fraction": "centre-surround",
    "oriented_fraction": "oriented",
    "test_accuracy": "test accuracy",
}
# Heading, unit's size and digits of what is known of a condition as a whole.
OVERALL = {
    "test_accuracy": ("test accuracy, %", 0.01, 1),
    "validation_accuracy": ("validation accuracy, %", 0.01, 1),
    "flops_step": ("GFLOP a step", 1e9, 3),
    "flops_relative": ("FLOPs relative to BP", 1.0, 2),
    "flops_to_90": ("TFLOP to 90 % of final accuracy", 1e12, 3),
    "peak_memory": ("peak memory, MiB", 2.0**20, 0),
}


def what_was_run(study: xr.Dataset, rows: list[figures.Row]) -> str:
    """Return the count of runs, and a row a condition: done, diverged, missing, test accuracy."""
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
        value = interval(accuracy.get(condition, (np.nan,) * 3), 0.01, 1)
        body.append(f'<tr><th scope="row">{escape(condition)}</th>{cells}{value}</tr>')
    head = ("condition", "done", "diverged", "missing", "test accuracy, %")
    guide = GUIDE + (UNITS if figures.layers(study) else "") + ORDER
    return f"<p>{escape(count)}</p>{_alone(done, states, bool(figures.layers(study)))}{table(head, body)}{guide}</p>"


GUIDE = (
    '<p class="soft">Test accuracy is at the last epoch: mean over finished runs and Student\'s 95 % interval'
    " over runs. Missing counts pairs of a condition and a seed without a result. Diverged runs are counted"
    ' and left out of all else.</p><p class="soft">Reading guide. Every figure says below it what is shown,'
    " how its interval is made and of how many runs. "
)
UNITS = (
    "Units are not independent within a run, so intervals over units draw runs first. Grey is always the untrained"
    " networks. "
)
ORDER = "Conditions keep their order and colour throughout, but where lines join them or shades are ranks."


def _alone(done: int, states: np.ndarray, fields: bool) -> str:
    if done == 1:
        over = "intervals are over its units only and say nothing of other seeds" if fields else "there is no interval"
        return f'<p class="warn">One run has finished: {over}.</p>'
    lost = int((states != "done").sum())
    return (
        f'<p class="warn">{lost} of {len(states)} runs diverged; a condition may look better for it.</p>'
        if lost
        else ""
    )


def numbers_section(study: xr.Dataset, rows: list[figures.Row]) -> str:
    """Return the table of conditions, and that of each layer's fields."""
    overall = figures.overall(study)
    known = [name for name in OVERALL if any(np.isfinite(row.estimates.get(name, (np.nan,))[0]) for row in overall)]
    html = (
        "<p>A row a condition: means over finished runs, below them Student's 95 % interval over runs. Operations are"
        " counts; relative to BP is to backpropagation on a network of the same form in this study, – where it has"
        ' none. The same numbers: <a href="numbers.csv">numbers.csv</a>.</p>'
    )
    head = ("condition", "runs", "diverged", *(OVERALL[name][0] for name in known))
    html += table(head, [_overall(row, known) for row in overall])
    return html + (_layers(study, rows) if figures.layers(study) else "")


def _overall(row: figures.Row, known: list[str]) -> str:
    nothing = (np.nan,) * 3
    cells = (interval(row.estimates.get(n, nothing), *OVERALL[n][1:], expected=n not in COUNTS) for n in known)
    lost = f"<td{' class=other' if row.diverged else ''}>{row.diverged}</td>"
    return f'<tr><th scope="row">{escape(row.condition)}</th><td>{row.runs}</td>{lost}{"".join(cells)}</tr>'


COUNTS = ("flops_step", "flops_relative")  # no interval to miss


def _layers(study: xr.Dataset, rows: list[figures.Row]) -> str:
    names = [n for n in figures.estimate_names(rows) if n not in figures.OVERALL or n == "test_accuracy"]
    html = [
        "<p>Fields. Medians over live units; classes as fractions of all units, dead ones included; below each its 95"
        " % interval (bootstrap over runs, then units; Clopper and Pearson's over units where a fraction is 0 or 1,"
        " since no resample differs there; Student's over runs for accuracy, in %). Grey rows: the same networks"
        " before training.</p>"
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
        html.append(f"<h3>{escape(layer)}</h3>" + table(head, body))
    return "".join(html)


def _number_row(row: figures.Row, names: list[str]) -> str:
    nothing = (np.nan,) * 3
    percent = {"test_accuracy": (0.01, 1)}
    estimates = "".join(interval(row.estimates.get(n, nothing), *percent.get(n, ())) for n in names)
    counts = "".join(f"<td>{n}</td>" for n in (row.runs, row.units, row.dead, row.border))
    label = escape(row.condition) + (", untrained" if row.stage == "untrained" else "")
    return f'<tr class="{row.stage}"><th scope="row">{label}</th>{counts}{estimates}</tr>'


def published_section(published: Published, compared: list[figures.Comparison]) -> str:
    """Return ours beside the published values, with what is not like for like, and what the protocol says of them."""
    note = f"<p>{escape(published.note.strip())}</p>" if published.note.strip() else ""
    if not compared:
        return note
    source = f"<p>Theirs: {escape(published.source)}.</p>" if published.source else ""
    same, run = sum(row.like_for_like for row in compared), sum(row.runs > 0 for row in compared)
    count = (
        f"<p>{run} of {len(compared)} published conditions have a finished run here; {same} of these are like for like"
        " in all that is stated of theirs."
        " Ours is the mean test accuracy at the last epoch, in %, with Student's 95 % interval over runs.</p>"
    )
    head = ("condition", "runs", "ours, %", "theirs, %", "difference", "not like for like", "evidence")
    return source + count + table(head, [_compared(row) for row in compared], "settings") + note


def _compared(row: figures.Comparison) -> str:
    spread = f" ± {100 * row.theirs.std:.2f}" if row.theirs.std is not None else ""
    difference = f"{100 * row.difference:+.1f}" if np.isfinite(row.difference) else "–"
    theirs = f'<td class="n">{100 * row.theirs.accuracy:.2f}{spread}</td><td class="n">{difference}</td>'
    said = [escape(way) for way in row.differs]
    if not row.runs:
        said.insert(0, "all runs diverged" if row.diverged else "not run yet")
    why = "; ".join(said) or "like for like"
    told = "; ".join(escape(part) for part in (row.theirs.evidence, row.theirs.note.strip()) if part)
    kind = "" if row.runs else ' class="untrained"'
    ours = f"<td>{row.runs}</td>{interval(row.ours, 0.01, 1)}"
    return f'<tr{kind}><th scope="row">{escape(row.condition)}</th>{ours}{theirs}<td>{why}</td><td>{told}</td></tr>'

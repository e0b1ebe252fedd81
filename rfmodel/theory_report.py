"""The theory bench's page to take away: what was solved, what came out over seeds, from which settings.

Like the report of trained networks it needs nothing beside it, holds no scripts, and escapes every string of a study.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path

import numpy as np
import xarray as xr

from rfmodel import figures
from rfmodel.markup import table
from rfmodel.report_page import made, page, write_plates, write_text
from rfmodel.report_settings import settings_and_provenance

TITLES = {"linear_dynamics": "Linear networks under low-dimensional feedback",
          "matrix_factorisation": "Matrix factorisation under random feedback"}  # fmt: skip
GUIDE = (
    "A row a condition, over its seeds. Recovered modes, errors, ratios and angles are medians, below them the 95 %"
    " interval between two of the seeds' values (binomial order statistics; fewer than six seeds have none). {own}"
    " Differences are between simulation and equations, drift is of what the equations conserve: the largest over"
    ' seeds. The same numbers: <a href="numbers.csv">numbers.csv</a>.'
)
OWN = {
    "linear_dynamics": "The sum of overlaps is a mean with Student's interval; the least overlap of the top r and the"
    " largest of the rest are over all seeds, at the end of the flow.",
    "matrix_factorisation": "The ratio to the optimum need not have a finite mean; principal angles are a seed's mean,"
    " and error less optimum is the largest over seeds.",
}


def write_theory_report(
    study: xr.Dataset,
    folder: Path,
    title: str | None = None,
    protocol: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Write a theory study's report, `report.html`, with its figures and `numbers.csv` beside it.

    Parameters
    ----------
    study : Dataset
        As `rfmodel.theory_study.open_theory` returns it.
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
        If there is no condition, the study is of neither model, or the folder cannot be written.
    """
    study = figures.tidied_theory(study)
    model = figures.theory_model(study)
    rows = figures.theory_numbers(study)
    folder = made(folder)
    parts = {"What was solved": _solved(study, model, rows)}
    parts |= write_plates(figures.theory_plates(study), folder, progress)
    write_text(folder / "numbers.csv", figures.theory_numbers_csv(rows))
    parts["Numbers"] = f"<p>{GUIDE.format(own=OWN[model])}</p>{_numbers(model, rows)}"
    parts["Settings and provenance"] = settings_and_provenance(study, "time of computation")
    write_text(folder / "report.html", page(title or TITLES[model], protocol, parts))
    return folder / "report.html"


def _solved(study: xr.Dataset, model: str, rows: list[figures.TheoryRow]) -> str:
    many = "conditions" if len(rows) > 1 else "condition"
    what = escape(model.replace("_", " "))
    count = f"{len(rows)} {many} of {what}; each seed of a condition draws a task, weights and feedback of its own."
    alone = [row.condition for row in rows if row.seeds == 1]
    few = sum(1 < row.seeds < 6 for row in rows)
    warned = [f"One seed each: {escape('; '.join(alone))}; there is no interval."] if alone else []
    warned += [f"{few} of the {many} have fewer than six seeds, and no interval of medians."] if few else []
    body = []
    for row in rows:
        run = figures.of_condition(study, row.condition)
        followed = ", ".join(manner.replace("_", " ") for manner in figures.theory_manners(run))
        cells = (row.rule, row.law, _plain(row.size), str(row.seeds), followed, _plain(float(run["time"].values[-1])))
        told = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        body.append(f'<tr><th scope="row">{escape(row.condition)}</th>{told}</tr>')
    head = ("condition", "rule", "spectrum", _size(model), "seeds", "followed as", "until, τ")
    return f"<p>{count}</p>" + "".join(f'<p class="warn">{text}</p>' for text in warned) + table(head, body)


def _size(model: str) -> str:
    return "rank" if model == "linear_dynamics" else "width"


def _numbers(model: str, rows: list[figures.TheoryRow]) -> str:
    headings = figures.theory_headings(rows)
    body = []
    for row in rows:
        first = f"<td>{escape(row.rule)}</td><td>{_plain(row.size)}</td>"
        cells = "".join(_estimate(row.estimates[name], spans) for name, (_, spans) in headings.items())
        body.append(f'<tr><th scope="row">{escape(row.condition)}</th>{first}{cells}</tr>')
    return table(("condition", "rule", _size(model), *(said for said, _ in headings.values())), body)


def _estimate(found: tuple[float, float, float], spans: bool) -> str:
    estimate, low, high = found
    if not np.isfinite(estimate):
        return '<td class="n">–</td>'
    if not spans:
        return f'<td class="n">{estimate:.3g}</td>'
    below = f"{low:.3g} to {high:.3g}" if np.isfinite([low, high]).all() else "no interval"
    return f'<td class="n">{estimate:.3g}<small>{below}</small></td>'


def _plain(value: float) -> str:
    return f"{value:g}" if np.isfinite(value) else "–"

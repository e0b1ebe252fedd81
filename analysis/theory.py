"""Hanut & Kadmon, Figs. 2 and 4a, and Garg & Vempala: what the studies of solvable models found, and measures of them.

python analysis/theory.py LINEAR_STUDY FACTORISATION_STUDY [--out FOLDER] [--command "HOW THE STUDIES WERE RUN"]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import theory_measures
import xarray as xr
from beside import heading, kept_reading

from rfmodel import figures, open_theory, store
from rfmodel.errors import InputError

NAME = "theory"
SHOWN = {  # of the plates of a report, by name
    "linear_dynamics": ("dynamics", "by-mode", "by-rank", "residual", "recovery", "agreement"),
    "matrix_factorisation": ("by-width", "separation", "worst", "alignment", "angles"),
}
MEASURES = {
    "How far simulation and flow are apart": (
        "Largest difference of an overlap over modes, seeds and 101 times until 20 tau, at n, k, m = 128, 64, 64.",
        theory_measures.halved,
    ),
    "The Johnson-Lindenstrauss argument by number": (
        "m = 64 outputs. Distortion of the squared distances of 64 errors; stationary overlaps of fixed feedback; "
        "medians over seeds.",
        theory_measures.argued,
    ),
    "Where Oja's rule on the residual keeps what it has learnt": (
        "Seeds whose top r modes are all above .9 after 60 tau under eq. 16, by the spectrum (its gap: s_{r+1} / s_r) "
        "and the rate of P's learning against the weights'; n, k, m = 24, 16, 16, orthonormal Q and P at first.",
        theory_measures.pursued,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("linear", help="folder that `rfmodel run linear_dynamics` wrote")
    parser.add_argument("factorisation", help="folder that `rfmodel run matrix_factorisation` wrote")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="where to write")
    parser.add_argument("--command", default="", help="what the studies were run by, kept on the page")
    parser.add_argument("--seeds", type=int, default=10, help="of what is measured beside the studies; 0 measures none")
    asked = parser.parse_args()
    try:
        studies = [opened(asked.linear, "linear_dynamics"), opened(asked.factorisation, "matrix_factorisation")]
        asked.out.mkdir(parents=True, exist_ok=True)
    except (InputError, OSError) as error:
        sys.stderr.write(f"{Path(sys.argv[0]).name}: {error}\n")
        sys.exit(2)
    parts = heading(NAME, asked.command)
    for study in studies:
        parts += ["", *section(study, asked.out)]
    for title, (said, rows) in MEASURES.items() if asked.seeds else ():
        parts += ["", f"## {title}", "", said, "", *table(rows(asked.seeds))]
    if asked.seeds:
        parts += ["", "## What it gains to follow all seeds at once", "", *table(theory_measures.batched())]
    written = asked.out / f"{NAME}.md"
    text = "\n".join(parts) + "\n" + kept_reading(written)
    store.write_aside(written, lambda path: path.write_text(text, encoding="utf-8"))


def opened(folder: str, model: str) -> xr.Dataset:
    """Return a study of one of the two models."""
    study = figures.tidied_theory(open_theory(folder))
    if (found := figures.theory_model(study)) != model:
        raise InputError(f"study '{folder}' is of {found}, and {model} is wanted here; give the two in that order")
    return study


def section(study: xr.Dataset, folder: Path) -> list[str]:
    """Write the figures of a study, and return the lines of its part of the page."""
    model = figures.theory_model(study)
    lines = [f"## {model}", "", provenance(study), "", *numbers(study)]
    for plate in figures.theory_plates(study):
        if plate.name in SHOWN[model] or plate.name.removesuffix("-1") in SHOWN[model]:
            name, picture = f"{NAME}_{plate.name}.png", figures.png(plate.figure)
            store.write_aside(folder / name, lambda path, picture=picture: path.write_bytes(picture))
            lines += ["", f"![{plate.title}]({name})", "", f"{plate.title}. {plate.caption}"]
    return lines


def provenance(study: xr.Dataset) -> str:
    """Return in a line what made a study."""
    machines = {f"{held['name']}, {held['threads']} thread(s)" for held in map(json.loads, study["hardware"].values)}
    commits = "/".join(sorted(set(study["commit"].values)))
    seconds = float(np.sum(study["seconds"].values.astype(float)))
    return f"Commit {commits}, {'; '.join(sorted(machines))}; {seconds:.0f} s of computation in all."


def numbers(study: xr.Dataset) -> list[str]:
    """Return the lines of the table of conditions."""
    rows = figures.theory_numbers(study)
    headings = figures.theory_headings(rows)
    return table(
        {"condition": row.condition, "seeds": row.seeds}
        | {said: told(*row.estimates[name]) for name, (said, _) in headings.items()}
        for row in rows
    )


def told(estimate: float, low: float, high: float) -> str:
    if not np.isfinite(estimate):
        return ""
    return f"{estimate:.3g}" + (f" ({low:.3g}, {high:.3g})" if np.isfinite([low, high]).all() else "")


def table(rows: Iterable[Mapping[str, str | int | float]]) -> list[str]:
    """Return rows as the lines of a Markdown table."""
    held = [{key: f"{v:.3g}" if isinstance(v, float) else str(v) for key, v in row.items()} for row in rows]
    head = list(held[0])
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row.values())} |" for row in held)]


if __name__ == "__main__":
    main()

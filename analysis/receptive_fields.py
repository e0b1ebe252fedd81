"""Fields, p0 and numbers of a study, for results/: python analysis/receptive_fields.py STUDY NAME "COMMAND".

Writes results/NAME_fields.png, NAME_p0.png, NAME.csv and NAME.md, the last with the command, commit and machine.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from beside import kept_reading

from rfmodel import figures, store

RESULTS = Path(__file__).parent / "results"
SHOWN = ("p0", "p1", "p2", "p_rest", "anisotropy", "osi", "gosi", "centre_surround_fraction", "oriented_fraction")


def main(folder: str, name: str, command: str) -> None:
    study = figures.tidied(store.open_study(folder))
    RESULTS.mkdir(exist_ok=True)
    for plate in figures.plates(study, galleries=1):
        lead = f"-{figures.readout(study)}"
        if plate.name.startswith(f"p0{lead}") or plate.name.startswith(f"fields{lead}-seed"):
            kind = plate.name.split("-")[0]
            (RESULTS / f"{name}_{kind}.png").write_bytes(figures.png(plate.figure))
    rows = figures.numbers(study)
    (RESULTS / f"{name}.csv").write_text(figures.numbers_csv(rows), encoding="utf-8")
    path = RESULTS / f"{name}.md"
    path.write_text(page(study, rows, name, command) + kept_reading(path), encoding="utf-8")


def page(study, rows, name: str, command: str) -> str:
    """Return a short page: what was run, on what, and the medians with their intervals."""
    machine = json.loads(str(study["hardware"].values[0]))
    seeds = sorted({int(s) for s in study["seed"].values})
    settings = json.loads(str(study["settings"].values[0]))
    lines = [
        f"# {name}",
        "",
        f"    {command}",
        "",
        f"{settings['train']['epochs']} epochs, seeds {seeds}, commit {'/'.join(sorted(set(study['commit'].values)))}, "
        f"{machine['name']}, {machine['threads']} thread(s), {machine['precision']}; "
        f"data {settings['data']['name']}, fingerprint {study['data_fingerprint'].values[0]}; "
        f"{float(study['seconds'].sum()) / 3600:.2f} h of training in all.",
        "",
        "Medians over units with 95 % intervals (bootstrap over seeds, then units; over units alone with one seed); "
        "fractions are of all units; test accuracy at the last epoch.",
        "",
        "| condition | layer | stage | units (dead) | " + " | ".join(SHOWN) + " | test accuracy |",
        "|" + "---|" * (len(SHOWN) + 5),
    ]
    return "\n".join(lines + [_line(row) for row in rows]) + "\n"


def _line(row) -> str:
    cells = [_cell(row.estimates.get(key)) for key in SHOWN]
    accuracy = _cell(row.estimates.get("test_accuracy"))
    return (
        f"| {row.condition} | {row.layer} | {row.stage} | {row.units} ({row.dead}) | {' | '.join(cells)} | {accuracy} |"
    )


def _cell(estimate: tuple[float, float, float] | None) -> str:
    value, low, high = estimate or (float("nan"),) * 3
    if value != value:
        return ""
    return f"{value:.2f}" if low != low else f"{value:.2f} ({low:.2f}, {high:.2f})"


if __name__ == "__main__":
    main(*sys.argv[1:])

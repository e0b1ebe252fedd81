"""How a layer's fields emerge over a training, for results/: python analysis/emergence.py STUDY NAME "COMMAND".

STUDY was run with `fields.at`. Writes results/NAME_strip.png (fields by epoch, the first condition that has some),
results/NAME_p0.png and NAME_anisotropy.png (by epoch) and results/NAME.md: medians by stage, and what was fitted.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from beside import kept_reading

from rfmodel import figures, store

RESULTS = Path(__file__).parent / "results"
SHOWN = ("p0", "p1", "p2", "anisotropy", "bar_score", "bar_score_corrected")
KINDS = ("centre-surround", "oriented", "mixed", "unstructured", "dead")


def main(folder: str, name: str, command: str) -> None:
    study = figures.tidied(store.open_study(folder))
    figures.require_finished(study)
    RESULTS.mkdir(exist_ok=True)
    layer = figures.readout(study)
    strip = figures.strip_figure(study, figures.fielded(study)[0], layer)
    (RESULTS / f"{name}_strip.png").write_bytes(figures.png(strip))
    for metric in ("p0", "anisotropy"):
        figure, axes = figures.new_axes(2.6)
        figures.metric_over_epochs(study, axes, metric, layer)
        (RESULTS / f"{name}_{metric}.png").write_bytes(figures.png(figure))
    path = RESULTS / f"{name}.md"
    path.write_text(page(study, name, command) + kept_reading(path), encoding="utf-8")


def page(study, name: str, command: str) -> str:
    """Return a row for each condition, layer and stage: accuracy, medians of live units, kinds, best fits."""
    machine = json.loads(str(study["hardware"].values[0]))
    lines = [
        f"# {name}", "", f"    {command}", "",
        f"Seeds {figures.seeds(study)}, commit {'/'.join(sorted(set(study['commit'].values)))}, {machine['name']}, "
        f"{machine['threads']} thread(s), {machine['precision']}; {float(study['seconds'].sum()) / 3600:.2f} h. "
        "Medians over live units, counts of units; fits by the lower BIC, of all live units, without a gate.", "",
        f"| condition | layer | stage | {' | '.join(SHOWN)} | {' | '.join(KINDS)} | best fit | test accuracy |",
        "|" + "---|" * (len(SHOWN) + len(KINDS) + 5),
    ]  # fmt: skip
    for condition in figures.conditions(study):
        accuracy = figures.last_values(study, "accuracy_test", condition).mean()
        for layer in figures.layers(study):
            for stage in study["stage"].values.astype(str):
                lines += _row(study, condition, layer, stage, accuracy)
    return "\n".join(lines) + "\n"


def _row(study, condition: str, layer: str, stage: str, accuracy: float) -> list[str]:
    runs = np.isin(study["condition"].values.astype(str), condition)
    here = study.sel(stage=stage).isel(run=runs, unit=study["layer"].values.astype(str) == layer)
    kinds = here["kind"].values.astype(str)
    if (kinds == "absent").all():
        return []
    medians = [f"{float(np.nanmedian(here[key])):.2f}" for key in SHOWN]
    counts = [str(int((kinds == kind).sum())) for kind in KINDS]
    best = here["fit_best"].values.astype(str).ravel() if "fit_best" in here else np.array([])
    fits = ", ".join(f"{int((best == model).sum())} {model}" for model in here["model"].values) if best.size else ""
    ends = stage in ("untrained", "trained")
    last = f"{accuracy:.3f}" if stage == "trained" else ""
    return [f"| {condition} | {layer} | {stage} | {' | '.join(medians + counts)} | {fits if ends else ''} | {last} |"]


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Fig. 4b and 4c of Hanut & Kadmon, from studies of dense networks: rank by layer, everywhere, by task, direct.

python analysis/mlp_rank.py STUDY [STUDY ...] [--out FOLDER] [--command "HOW THE STUDIES WERE RUN"]
"""

from __future__ import annotations

from beside import Given, run
from matplotlib.figure import Figure

from rfmodel import figures
from rfmodel.errors import InputError

TALL = 2.6


def main() -> None:
    run("mlp_rank", ("mlp",), draw)


def draw(given: list[Given]) -> Figure:
    """Return a figure with a panel a study: test accuracy against the rank of the feedback."""
    figure = figures.new_figure(len(given) * (TALL + 0.8))
    for part, one in zip(figure.subfigures(len(given), 1, squeeze=False)[:, 0], given, strict=True):
        lines = figures.lines(one.study)
        if not lines:
            raise InputError(f"study '{one.name}' holds no condition with a rank; give one whose feedback has one")
        axes = figures.panel(part, title(one))
        figures.accuracy_by_rank(one.study, axes, lines, one.compared, inches=TALL)
    return figure


def title(given: Given) -> str:
    """Return what a study varies besides the rank, read from its coordinates and rules."""
    study = given.study
    ranked = [c for line in figures.lines(study) for c in line.conditions]
    if len({str(figures.place(study, c, "classes")) for c in ranked}) > 1:
        return "Task dimension (Fig. 4b, bottom)"
    if any(figures.place(study, c, "rule") == "dldfa" for c in ranked):
        return "Error delivered directly (Fig. 4c)"
    if any("*" not in figures.settings_of(study, c)["rules"] for c in ranked):
        return "One layer at a time"
    return "All layers, and the narrow control (Fig. 4b, top)"


if __name__ == "__main__":
    main()

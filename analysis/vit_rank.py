"""Fig. 3b and 3c of Hanut & Kadmon, from studies of vision transformers: learning by rank, width, cost by rank.

python analysis/vit_rank.py STUDY [STUDY ...] [--out FOLDER] [--command "HOW THE STUDIES WERE RUN"]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from beside import Given, pages, run
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rfmodel import figures

TALL = 2.7
MOST = 10  # conditions that a panel tells apart


def main() -> None:
    run("vit_rank", ("vit",), draw)


def draw(given: list[Given]) -> Figure:
    """Return a figure with a row a panel that the studies have something for."""
    wanted = [panel for one in given for panel in panels(one)]
    figure = figures.new_figure(len(wanted) * (TALL + 0.8))
    for part, (title, draw_panel) in zip(figure.subfigures(len(wanted), 1, squeeze=False)[:, 0], wanted, strict=True):
        draw_panel(figures.panel(part, title))
    return figure


def panels(given: Given) -> Iterator[tuple[str, Callable[[Axes], object]]]:
    """Yield the title of each panel of a study, and what draws it into axes."""
    study, compared = given.study, given.compared
    known = figures.conditions(study)
    widths = [line for line in figures.lines(study, "width") if len(line.places) > 1]
    if widths:
        yield (
            "Width, the rank held (Fig. 3c, top)",
            lambda axes: figures.accuracy_by_rank(study, axes, widths, compared, "width", TALL),
        )
        return
    for chosen in pages(known, MOST):
        yield "Learning by rank (Fig. 3b)", lambda axes, chosen=chosen: figures.accuracy_curves(study, axes, chosen)
        yield (
            "Accuracy by rank (Fig. 3c, bottom)",
            lambda axes, chosen=chosen: figures.accuracy_bars(study, axes, chosen, compared),
        )
    if any(figures.flops_to(study, c).size for c in known) and figures.lines(study):
        yield "Operations by rank (Fig. 3c, bottom)", lambda axes: figures.flops_to_fraction(study, axes, inches=TALL)


if __name__ == "__main__":
    main()

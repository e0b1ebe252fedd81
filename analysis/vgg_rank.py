"""Fig. 3a and 4d of Hanut & Kadmon, from studies of VGG: rank as a fraction of the channels, normative and local.

python analysis/vgg_rank.py STUDY [STUDY ...] [--out FOLDER] [--command "HOW THE STUDIES WERE RUN"]
"""

from __future__ import annotations

from beside import Given, run
from matplotlib.figure import Figure

from rfmodel import figures

TALL = 3.3
NORMATIVE, LOCAL = "Feedback that follows the weights (Fig. 3a)", "Feedback by Oja's rule (Fig. 4d)"


def main() -> None:
    run("vgg_rank", ("vgg",), draw)


def draw(given: list[Given]) -> Figure:
    """Return a figure with two rows a study: accuracy by condition, and the operations of a step by part."""
    shown = [
        [c for c in figures.conditions(one.study) if figures.place(one.study, c, "network") == "vgg"] for one in given
    ]
    heights = [height for chosen in shown for height in (TALL, 0.44 * len(chosen) + 0.9)]
    figure = figures.new_figure(sum(heights))
    parts = iter(figure.subfigures(len(heights), 1, height_ratios=heights))
    for one, chosen in zip(given, shown, strict=True):
        normative = any("normative" in str(figures.place(one.study, c, "rule")) for c in chosen)
        figures.accuracy_bars(
            one.study, figures.panel(next(parts), NORMATIVE if normative else LOCAL), chosen, one.compared
        )
        figures.cost_by_part(one.study, figures.panel(next(parts), "Operations of a step"), chosen)
    return figure


if __name__ == "__main__":
    main()

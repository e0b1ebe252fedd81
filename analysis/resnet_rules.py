"""biotorch's benchmarks, from studies of LeNet and ResNets: accuracy by rule beside the published.

python analysis/resnet_rules.py STUDY [STUDY ...] [--out FOLDER] [--command "HOW THE STUDIES WERE RUN"]
"""

from __future__ import annotations

from beside import Given, pages, run
from matplotlib.figure import Figure

from rfmodel import figures

TALL = 2.4
MOST = 8  # bars that a panel holds
NETWORKS = ("lenet", "resnet")


def main() -> None:
    run("resnet_rules", NETWORKS, draw)


def draw(given: list[Given]) -> Figure:
    """Return a figure with a row a network: the accuracy by rule, each beside its published value."""
    wanted = [panel for one in given for panel in panels(one)]
    figure = figures.new_figure(len(wanted) * (TALL + 0.7))
    for part, (one, title, chosen) in zip(figure.subfigures(len(wanted), 1, squeeze=False)[:, 0], wanted, strict=True):
        figures.accuracy_bars(one.study, figures.panel(part, title), chosen, one.compared)
    return figure


def panels(given: Given) -> list[tuple[Given, str, list[str]]]:
    """Return each network of a study by each optimiser, in its order, with as many conditions as a panel holds."""
    by_network: dict[str, list[str]] = {}
    for condition in figures.conditions(given.study):
        network = str(figures.place(given.study, condition, "network"))
        depth = figures.place(given.study, condition, "depth")
        if network.startswith(NETWORKS):
            optimiser = figures.settings_of(given.study, condition)["train"]["optimiser"]["name"]
            name = f"{network}{'' if depth != depth else f', depth {depth:g}'}, {optimiser}"
            by_network.setdefault(name, []).append(condition)
    return [(given, network, some) for network, chosen in by_network.items() for some in pages(chosen, MOST)]


if __name__ == "__main__":
    main()

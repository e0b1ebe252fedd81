"""Operations and memory by layer: a rule beside backpropagation, and what it saves of both (Roy et al., Fig. 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from rfmodel.errors import InputError
from rfmodel.figures.costs import scale_of
from rfmodel.figures.theme import themed, wrapped

COLOURS = ("#BDBDBD", "#0072B2", "#D55E00")  # the first is what the others are measured by
ROW = 0.155  # inches a bar
MOST = len(COLOURS)


def account_height(layers: Sequence[str], kinds: int) -> float:
    """Return the height in inches of `account_by_layer`."""
    return len(layers) * (kinds * ROW + 0.12) + 0.95


@themed
def account_by_layer(
    figure: Figure | SubFigure,
    layers: Sequence[str],
    flops: Mapping[str, Sequence[float]],
    memory: Mapping[str, Sequence[float]] | None = None,
) -> list[Artist]:
    """Draw operations, and memory where it is given, as a bar a layer and a rule, with each ratio to the first rule.

    Parameters
    ----------
    figure : Figure or SubFigure
        Where to draw, `account_height` tall.
    layers : sequence of str
        From the first to the last.
    flops : mapping of rule to FLOPs a layer
        At most three rules; the first is what the others are measured by.
    memory : mapping of rule to bytes a layer, optional
        Of the same rules.

    Returns
    -------
    list of Artist
        The bars.

    Raises
    ------
    InputError
        If there are no rules or more than three, or one has another number of layers.
    """
    shown = {"operations": ("FLOP", flops), **({} if memory is None else {"memory": ("B", memory)})}
    for what, (_, table) in shown.items():
        _check(what, layers, table)
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    artists: list[Artist] = []
    for place, (axes, (what, (unit, table))) in enumerate(zip(panels, shown.items(), strict=True)):
        artists += _bars(axes, table)
        _dress(axes, layers if place == 0 else [""] * len(layers), what, unit, table)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper left", ncols=len(names), handlelength=1.0)
    return artists


def _check(what: str, layers: Sequence[str], table: Mapping[str, Sequence[float]]) -> None:
    if not 1 <= len(table) <= MOST:
        raise InputError(f"{what} of {len(table)} rules cannot be drawn beside each other; give 1 to {MOST}")
    for name, values in table.items():
        if len(values) != len(layers):
            raise InputError(f"{what} of '{name}' are {len(values)} for {len(layers)} layers; give one a layer")


def _bars(axes: Axes, table: Mapping[str, Sequence[float]]) -> list[Artist]:
    _, size = scale_of(_largest(table))
    tall = 0.8 / len(table)
    base = np.asarray(next(iter(table.values())), float)
    artists: list[Artist] = []
    for place, (name, values) in enumerate(table.items()):
        values = np.asarray(values, float)
        at = np.arange(len(values)) + (place - (len(table) - 1) / 2) * tall
        artists += axes.barh(at, values / size, tall * 0.92, color=COLOURS[place], label=name, linewidth=0)
        for row, value, reference in zip(at, values, base, strict=True):
            if place and reference > 0:
                axes.annotate(f"× {value / reference:.2f}", (value / size, row), (2, 0), va="center",
                              textcoords="offset points", color=COLOURS[place])  # fmt: skip
    return artists


def _dress(axes: Axes, names: Sequence[str], what: str, unit: str, table: Mapping[str, Sequence[float]]) -> None:
    prefix, _ = scale_of(_largest(table))
    axes.set_yticks(range(len(names)), [wrapped(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.18)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"{what} ({prefix}{unit})")
    base, *others = (float(np.sum(values)) for values in table.values())
    said = ", ".join(f"× {other / base:.2f}" for other in others) if base else ""
    axes.set_title(f"{what}: {said} in all" if said else what)


def _largest(table: Mapping[str, Sequence[float]]) -> float:
    return max((float(np.max(values, initial=0.0)) for values in table.values()), default=0.0)

"""The published plate of the linear network: Fig. 2 b-g and Fig. 4a of Hanut & Kadmon, from what a study holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.figure import Figure, SubFigure

from rfmodel.errors import InputError
from rfmodel.figures.overlaps_over_time import PANEL, draw_overlaps
from rfmodel.figures.selection import conditions
from rfmodel.figures.theme import themed
from rfmodel.figures.theory_lines import rule_name
from rfmodel.figures.theory_selection import of_condition, size, word_of

NARROW = 8  # the rank of the published panels
FULL, LOW, LEADING = "full", "low", "leading"
# Panel, the rules that would do in the order of preference, and which rank or modes it shows.
PUBLISHED = (
    ("2b", ("adaptive_q", "fa"), FULL),
    ("2c", ("adaptive_q", "fa"), LOW),
    ("2d", ("normative",), FULL),
    ("2e", ("normative",), LOW),
    ("2f", ("adaptive_q", "fa"), LEADING),
    ("2g", ("normative", "oja"), LEADING),
    ("4a", ("oja",), FULL),
    ("4a", ("oja",), LOW),
)


@dataclass(frozen=True)
class Shown:
    """A panel of the published plate: its figure and letter, its condition, the modes drawn, whether with the mean."""

    figure: str
    condition: str
    modes: tuple[int, ...] | None
    mean: bool


def published_panels(study: xr.Dataset) -> list[Shown]:
    """Return the panels of Fig. 2 b-g and 4a that a study can show, by rule and rank.

    Full rank is a rule's largest that is not below the task's, low rank that nearest to 8 of those below it. Of several
    conditions of one rule and rank the first is shown. Panels f and g draw the leading modes, as many as the rank, and
    the mean over all.
    """
    found = []
    for figure, rules, kind in PUBLISHED:
        chosen = next((c for rule in rules if (c := _condition(study, rule, kind == FULL)) is not None), None)
        if chosen is None:
            continue
        of = of_condition(study, chosen).sizes["mode"]
        leading = tuple(range(1, min(int(size(study, chosen)), of) + 1)) if kind == LEADING else None
        found.append(Shown(figure, chosen, leading, kind == LEADING))
    return found


def _condition(study: xr.Dataset, rule: str, full: bool) -> str | None:
    """Return the rule's condition of the widest feedback that no mode exceeds, or of the low rank nearest to 8."""
    ranks = {c: size(study, c) for c in conditions(study) if word_of(study, c, "rule") == rule}
    ranks = {c: r for c, r in ranks.items() if np.isfinite(r)}
    wide = {c: r for c, r in ranks.items() if r >= of_condition(study, c).sizes["mode"]}
    if full:
        return max(wide, key=wide.get, default=None)
    narrow = {c: abs(r - NARROW) for c, r in ranks.items() if c not in wide}
    return min(narrow, key=narrow.get, default=None)


def learning_dynamics_height(panels: Sequence[Shown]) -> float:
    """Return the height in inches of `learning_dynamics`."""
    return -(-len(panels) // 2) * (PANEL + 0.3) + 0.5


@themed
def learning_dynamics(
    study: xr.Dataset, figure: Figure | SubFigure, panels: Sequence[Shown] | None = None, seed: int | None = None
) -> list[Artist]:
    """Draw mode overlaps over time as Fig. 2 b-g and 4a have them: simulation solid, equations dashed.

    Parameters
    ----------
    study : Dataset
        As for `mode_overlaps`.
    figure : Figure or SubFigure
        Where to draw, two panels a row.
    panels : sequence of Shown, optional
        As `published_panels` returns them.
    seed : int, optional
        The one that is drawn; the median over seeds by default.

    Returns
    -------
    list of Artist
        The lines.

    Raises
    ------
    InputError
        If the study has no condition that any panel could show.

    Notes
    -----
    Hanut & Kadmon, Fig. 2 b-g and Fig. 4a.
    """
    panels = published_panels(study) if panels is None else panels
    if not panels:
        found = ", ".join(sorted({word_of(study, c, "rule") for c in conditions(study)})) or "none"
        raise InputError(f"Fig. 2 and 4a need a rule with feedback of a rank: found {found}; adaptive_q would do")
    return draw_overlaps(study, figure, [(_title(study, p), p.condition, p.modes, p.mean) for p in panels], seed, 2)


def _title(study: xr.Dataset, panel: Shown) -> str:
    said = f"{panel.figure}: {rule_name(study, panel.condition)}, r = {size(study, panel.condition):g}"
    return said + (", leading modes" if panel.mean else "")

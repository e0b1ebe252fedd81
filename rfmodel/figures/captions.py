"""What each figure of a report shows, how its intervals are made, and of how many."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from rfmodel.figures.comparison import Comparison
from rfmodel.figures.groups import Line, level_conditions, narrow_controls
from rfmodel.figures.intervals import DRAWS, over_runs
from rfmodel.figures.selection import last_values, pooled, seeds

OVER_UNITS = (
    f"Intervals are 95 %, by bootstrap over runs (seeds) and then over units within a run ({DRAWS} draws, percentiles)."
)
EXACT = (
    "Where a fraction is 0 or 1 no resample differs, and the interval is Clopper and Pearson's over units, taken as"
    " independent."
)
OVER_RUNS = "The interval is Student's 95 % over runs (seeds)."
UNTRAINED = (
    "Grey: the central 95 % and the median of the same networks' units before training, which is what no"
    " learning at all looks like; compare with it before comparing conditions."
)


def counts(study: xr.Dataset, chosen: list[str], layer: str) -> str:
    parts = []
    for condition in chosen:
        status, runs = pooled(study, "status", condition, layer)
        dead = int((status.astype(str) == "dead").sum())
        parts.append(f"{condition}: {status.size} units in {_runs(np.unique(runs).size)}, {dead} dead")
    return "n: " + "; ".join(parts) + "."


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def single(study: xr.Dataset, chosen: list[str], over_units: bool) -> str:
    alone = [condition for condition in chosen if len(seeds(study, condition)) == 1]
    if not alone:
        return ""
    who = "Every condition" if alone == chosen else ", ".join(alone)
    has = "has" if alone == chosen or len(alone) == 1 else "have"
    if over_units:
        return f"{who} {has} one finished run: the interval is over its units only and says nothing about other seeds."
    return f"{who} {has} one finished run, so that there is no interval."


def join(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def accuracy(study: xr.Dataset, chosen: list[str], layer: str | None, compared: Sequence[Comparison] = ()) -> str:
    """Return the caption of `accuracy_and_dead`, or of `test_accuracy` where there is no layer."""
    shown = "ccuracy on the test set at the last epoch, a ring a run and the mean as a diamond."
    ends = join(OVER_RUNS, single(study, chosen, False), _cut(study, chosen), _published(compared, chosen))
    if layer is None:
        return join(f"A{shown}", ends, each(study, chosen))
    dead = (
        f"Right: the fraction of units of {layer} whose receptive field is zero, a ring a run and the pooled fraction."
    )
    made = "On the right " + OVER_UNITS[0].lower() + OVER_UNITS[1:]
    return join(f"Left: a{shown}", dead, ends, made, EXACT, single(study, chosen, True), each(study, chosen))


def each(study: xr.Dataset, chosen: list[str]) -> str:
    counts = {len(seeds(study, c)) for c in chosen}
    if len(chosen) > 3 and len(counts) == 1:
        return f"n: {_runs(counts.pop())} of each condition."
    return "n: " + "; ".join(f"{c}: {_runs(len(seeds(study, c)))}" for c in chosen) + "."


def _cut(study: xr.Dataset, chosen: list[str]) -> str:
    """Say whose interval goes on beyond what an accuracy can be."""
    spans = {c: over_runs(last_values(study, "accuracy_test", c)) for c in chosen}
    beyond = [c for c, (_, low, high) in spans.items() if low < 0 or high > 1]
    if not beyond:
        return ""
    return f"Cut at 0 or 100 % and ended in an arrowhead: the intervals of {', '.join(beyond)}, which go on."


def _published(compared: Sequence[Comparison], chosen: Sequence[str]) -> str:
    """Say what the marks of published values are, and whether any is like for like."""
    shown = [row for row in compared if row.condition in chosen]
    if not shown:
        return ""
    same = sum(row.like_for_like for row in shown)
    return (
        f"Published values of {len(shown)} conditions are hollow where not like for like ({len(shown) - same}) and have"
        f" a dot or a tint where they are ({same}); the table of published values says what differs."
    )


def by_rank(study: xr.Dataset, chosen: list[Line], along: str = "rank", compared: Sequence[Comparison] = ()) -> str:
    """Return the caption of `accuracy_by_rank`."""
    members = [condition for line in chosen for condition in line.conditions]
    levels, controls = level_conditions(study, members), narrow_controls(study, members)
    shown = (
        f"Accuracy on the test set at the last epoch against the {along}; lines join conditions that differ in it only."
    )
    rest = ""
    if along == "rank":
        rest = join(
            f"Bands: {', '.join(levels)}, without a rank, on networks of the same form." if levels else "",
            f"Squares: {', '.join(controls)}, at as many channels as that network has." if controls else "",
        )
    every = [*members, *(levels if along == "rank" else ()), *(controls if along == "rank" else ())]
    cut = _cut(study, every)
    return join(
        shown, rest, OVER_RUNS, cut, single(study, every, False), _published(compared, every), each(study, every)
    )


def to_fraction(study: xr.Dataset, chosen: list[Line]) -> str:
    """Return the caption of `flops_to_fraction`."""
    members = [condition for line in chosen for condition in line.conditions]
    return join(
        "Floating-point operations of training, all parts, until a run first has 90 % of its own final test accuracy,"
        " accuracy taken as linear between epochs. A run that ends low has a low mark to reach: read it beside the"
        " accuracy.",
        OVER_RUNS,
        single(study, members, False),
        each(study, members),
    )


def costs(chosen: list[str]) -> str:
    """Return the caption of `cost_by_part`."""
    return (
        f"Floating-point operations of one step on a full batch by part, over all layers, of {len(chosen)} conditions:"
        " counts from shapes, at the ranks of the first epoch, equal for every seed, so that there is no interval."
        " Beside each bar its ratio to backpropagation on a network of the same form, where the study has it."
        " Operations are no seconds: a part that moves much and computes little takes longer than its share."
    )


def curves(study: xr.Dataset, chosen: list[str]) -> str:
    """Return the caption of `accuracy_curves`."""
    return join(
        "Test accuracy by epoch, and the training loss within; epoch 0 is before training. Black: backpropagation;"
        " the lower the rank of the feedback, the lighter the line.",
        "Lines: mean over finished runs; bands: from the least to the greatest run, not an interval of the mean.",
        each(study, chosen),
    )


def gallery(study: xr.Dataset, layer: str, seed: int) -> str:
    """Return the caption of `field_gallery`."""
    others = [s for s in seeds(study) if s != seed]
    also = f"Other finished seeds: {', '.join(map(str, others))}." if others else "No other seed has finished."
    return (
        f"Receptive fields of the units of {layer}, one block a condition, sorted by class and by falling p0"
        " within it; the frame's colour is the class. Red excites and blue inhibits; each field is scaled to"
        " its own largest magnitude, so colours compare within a field only. Hatched: dead units, whose"
        f" field is zero. No interval: one run each. {also}"
    )


def classes(study: xr.Dataset, chosen: list[str], layer: str) -> str:
    """Return the caption of `classes`."""
    shown = (
        f"Left: how the units of {layer} divide into classes, dead units included, pooled over runs. Right:"
        " the fractions of centre-surround and oriented units, a ring a run and the pooled fraction as a"
        " diamond."
    )
    return join(shown, OVER_UNITS, EXACT, single(study, chosen, True), counts(study, chosen, layer))


def p0(study: xr.Dataset, chosen: list[str], layer: str) -> str:
    """Return the caption of `p0_and_shares`."""
    shown = (
        "Left: p0, the share of a field's power that does not change with angle about its centre (1:"
        f" isotropic), for each live unit of {layer}; diamonds are medians."
    )
    shares = (
        "Right: the mean shares of power at angular orders 0 (isotropic), 1 (edge), 2 (bar) and above. p0"
        " falls with the noise left over from initialisation as well as with orientation: a low p0 with a"
        " large rest is noise, a low p0 with large p1 and p2 is orientation."
    )
    return join(shown, OVER_UNITS, single(study, chosen, True), UNTRAINED, shares, counts(study, chosen, layer))


def tuning(study: xr.Dataset, chosen: list[str], layer: str) -> str:
    """Return the caption of `orientation_tuning`."""
    shown = (
        f"Top: mean response of the live units of {layer} to gratings by orientation, each unit turned to its"
        " preferred orientation (0°) and divided by its peak; the band lies between the quartiles over"
        " units, circles are half and full peak, the dashed line is the untrained networks. Turning to the"
        " peak gives even noise a waist, so read the difference from the dashed line. Bottom: OSI and gOSI"
        " (1 - circular variance) of each unit, with medians."
    )
    trap = "Noise and every odd-symmetric field have a high OSI: it means nothing without the grey band."
    return join(shown, OVER_UNITS, single(study, chosen, True), UNTRAINED, trap, counts(study, chosen, layer))


def learning(study: xr.Dataset, chosen: list[str]) -> str:
    """Return the caption of `learning_curves`."""
    shown = "Lines: mean over finished runs; bands: from the least to the greatest run, not an interval of the mean."
    lost = int((study["state"].values.astype(str) != "done").sum())
    also = f"Dotted to a cross: {_runs(lost)} that diverged, left out of every mean." if lost else ""
    runs = each(study, chosen)
    return join("Accuracy and loss by epoch; epoch 0 is before training.", shown, also, runs)


def feedback(study: xr.Dataset, chosen: list[str]) -> str:
    """Return the caption of `feedback_alignment`."""
    runs = each(study, chosen)
    return (
        "Left: angle between the delivered teaching signal and backpropagation's at the same place (0°: the"
        " same direction; dotted, 90°: nothing in common). Right: norm of the feedback map, because a change"
        " of rank is also a change of gain. Lines: mean over finished runs; bands: least to greatest run."
        f" {runs}"
    )


def edges(shown: list[str], held: list[str]) -> str:
    """Say that some edges are left out, where they are."""
    if len(shown) == len(held):
        return ""
    return f" {len(shown)} of {len(held)} edges are drawn, evenly from the first to the last; the study holds the rest."


def feedback_angles(study: xr.Dataset, chosen: list[str]) -> str:
    """Return the caption of `feedback_by_step` on the angles."""
    return join(
        "Angles with backpropagation by step of training: of the feedback map with the weights that it stands for, of"
        " the weight gradient that the delivered error teaches first, and of the delivered error itself, both on"
        " the same validation images (0°: the same direction; dotted, 90°: nothing in common).",
        _by_step(study, chosen),
    )


def feedback_error(study: xr.Dataset, chosen: list[str]) -> str:
    """Return the caption of `feedback_by_step` on the arriving error."""
    return join(
        "By step of training: the participation ratio of the error that arrives at the edge's source (how many"
        " directions share its energy, uncentred), the fraction of its energy in the space that P reads (1 for"
        " maps without P), and the norm of the delivered error over that of backpropagation's.",
        _by_step(study, chosen),
    )


def _by_step(study: xr.Dataset, chosen: list[str]) -> str:
    lost = int(((study["state"] != "done") & study["condition"].isin(chosen)).sum())
    return join(
        "Lines: mean over finished runs; bands: least to greatest run.",
        f"Dotted to a cross: {_runs(lost)} that diverged, left out of every mean." if lost else "",
        each(study, chosen),
    )

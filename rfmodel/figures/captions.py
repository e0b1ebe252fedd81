"""What each figure of a report shows, how its intervals are made, and of how many."""

from __future__ import annotations

import numpy as np
import xarray as xr

from rfmodel.figures.intervals import DRAWS
from rfmodel.figures.selection import pooled, seeds

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


def _counts(study: xr.Dataset, chosen: list[str], layer: str) -> str:
    parts = []
    for condition in chosen:
        status, runs = pooled(study, "status", condition, layer)
        dead = int((status.astype(str) == "dead").sum())
        parts.append(f"{condition}: {status.size} units in {_runs(np.unique(runs).size)}, {dead} dead")
    return "n: " + "; ".join(parts) + "."


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def _single(study: xr.Dataset, chosen: list[str], over_units: bool) -> str:
    alone = [condition for condition in chosen if len(seeds(study, condition)) == 1]
    if not alone:
        return ""
    who = "Every condition" if alone == chosen else ", ".join(alone)
    has = "has" if alone == chosen or len(alone) == 1 else "have"
    if over_units:
        return f"{who} {has} one finished run: the interval is over its units only and says nothing about other seeds."
    return f"{who} {has} one finished run, so that there is no interval."


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def accuracy(study: xr.Dataset, chosen: list[str], layer: str) -> str:
    """Return the caption of `accuracy_and_dead`."""
    shown = (
        "Left: accuracy on the test set at the last epoch, a ring a run and the mean as a diamond. Right:"
        f" the fraction of units of {layer} whose receptive field is zero, a ring a run and the pooled"
        " fraction."
    )
    runs = "n: " + "; ".join(f"{c}: {_runs(len(seeds(study, c)))}" for c in chosen) + "."
    dead = "On the right " + OVER_UNITS[0].lower() + OVER_UNITS[1:]
    return _join(shown, OVER_RUNS, _single(study, chosen, False), dead, EXACT, _single(study, chosen, True), runs)


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
    return _join(shown, OVER_UNITS, EXACT, _single(study, chosen, True), _counts(study, chosen, layer))


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
    return _join(shown, OVER_UNITS, _single(study, chosen, True), UNTRAINED, shares, _counts(study, chosen, layer))


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
    return _join(shown, OVER_UNITS, _single(study, chosen, True), UNTRAINED, trap, _counts(study, chosen, layer))


def learning(study: xr.Dataset, chosen: list[str]) -> str:
    """Return the caption of `learning_curves`."""
    shown = "Lines: mean over finished runs; bands: from the least to the greatest run, not an interval of the mean."
    lost = int((study["state"].values.astype(str) != "done").sum())
    also = f"Dotted to a cross: {_runs(lost)} that diverged, left out of every mean." if lost else ""
    runs = "n: " + "; ".join(f"{c}: {_runs(len(seeds(study, c)))}" for c in chosen) + "."
    return _join("Accuracy and loss by epoch; epoch 0 is before training.", shown, also, runs)


def feedback(study: xr.Dataset, chosen: list[str]) -> str:
    """Return the caption of `feedback_alignment`."""
    runs = "n: " + "; ".join(f"{c}: {_runs(len(seeds(study, c)))}" for c in chosen) + "."
    return (
        "Left: angle between the delivered teaching signal and backpropagation's at the same place (0°: the"
        " same direction; dotted, 90°: nothing in common). Right: norm of the feedback map, because a change"
        " of rank is also a change of gain. Lines: mean over finished runs; bands: least to greatest run."
        f" {runs}"
    )


def feedback_angles(study: xr.Dataset, chosen: list[str]) -> str:
    """Return the caption of `feedback_by_step` on the angles."""
    return _join(
        "Angles with backpropagation by step of training: of the feedback map with the weights that it stands for, of"
        " the weight gradient that the delivered error teaches first, and of the delivered error itself, both on"
        " the same validation images (0°: the same direction; dotted, 90°: nothing in common).",
        _by_step(study, chosen),
    )


def feedback_error(study: xr.Dataset, chosen: list[str]) -> str:
    """Return the caption of `feedback_by_step` on the arriving error."""
    return _join(
        "By step of training: the participation ratio of the error that arrives at the edge's source (how many"
        " directions share its energy, uncentred), the fraction of its energy in the space that P reads (1 for"
        " maps without P), and the norm of the delivered error over that of backpropagation's.",
        _by_step(study, chosen),
    )


def _by_step(study: xr.Dataset, chosen: list[str]) -> str:
    lost = int(((study["state"] != "done") & study["condition"].isin(chosen)).sum())
    return _join(
        "Lines: mean over finished runs; bands: least to greatest run.",
        f"Dotted to a cross: {_runs(lost)} that diverged, left out of every mean." if lost else "",
        "n: " + "; ".join(f"{c}: {_runs(len(seeds(study, c)))}" for c in chosen) + ".",
    )

"""Captions of the figures that set rules beside each other: error by epoch, angle by epoch, factored layers."""

from __future__ import annotations

import numpy as np
import xarray as xr

from rfmodel.figures.alignment import FAR, NEAR
from rfmodel.figures.captions import each, join

MEANS = "Lines: mean over finished runs; bands: from the least to the greatest run, not an interval of the mean."


def errors(study: xr.Dataset, chosen: list[str]) -> str:
    """Return the caption of `error_curves`."""
    return join(
        "Error on the test set by epoch, all conditions on one axis; epoch 0 is before training. Of two of one colour"
        " the later in the study is dashed.",
        MEANS,
        _lost(study, chosen),
        each(study, chosen),
    )


def alignment(study: xr.Dataset, chosen: list[str]) -> str:
    """Return the caption of `alignment_by_epoch`."""
    return join(
        "Angle between the delivered error and backpropagation's at the same place, the mean over the places that a"
        " rule delivers it to but for the output layer's own output, where the error is backpropagation's but for"
        " SSA's cosine term (0°: the same direction; 90°: nothing in common)."
        f" Dotted: {NEAR:g}°, below which SVD-space alignment is expected by"
        f" epoch 50, {FAR:g}°, above which direct feedback alignment is, and 90°. A mean hides which layer it comes"
        " from: the figures of alignment by edge show each.",
        MEANS,
        _lost(study, chosen),
        each(study, chosen),
    )


def factors(study: xr.Dataset, chosen: list[str]) -> str:
    """Return the caption of `factors_by_epoch`."""
    held = {
        "factor_rank": "rank of each factored layer as a share of its rank before training",
        "factor_drift": "distance of its factors U and V from orthonormal columns, before a retraction",
        "factor_hoyer": "Hoyer ratio of its singular values, 1 for one value alone and √r for r equal ones",
    }
    said = "; ".join(text for name, text in held.items() if name in study)
    return join(
        f"By epoch, {said}. One line a layer, from the first (dark) to the last (light).",
        MEANS,
        each(study, chosen),
    )


def _lost(study: xr.Dataset, chosen: list[str]) -> str:
    own = study["condition"].isin(chosen).values
    lost = int(np.sum(study["state"].values.astype(str)[own] == "diverged"))
    runs = "1 run" if lost == 1 else f"{lost} runs"
    return f"Dotted to a cross: {runs} that diverged, left out of every mean." if lost else ""

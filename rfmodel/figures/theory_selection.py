"""Which condition, seeds and modes a figure of the theory bench shows: a run is a condition, its seeds are within."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from rfmodel.errors import InputError, one_of
from rfmodel.figures.intervals import Estimate, median_over_runs
from rfmodel.figures.labels import distinct_labels
from rfmodel.figures.selection import conditions, per_run
from rfmodel.figures.theme import CONDITION_PALETTE, condition_colours

PLACES = ("rule", "rank", "width", "law")
# What is finite wherever a condition has a place along a dimension: joining conditions fills the rest with NaN.
HELD = {
    "manner": "error",
    "seed": "error",
    "point": "time",
    "mode": "singular_values",
    "angle": "principal_angle",
    "candidate": "search_ratio",
}


def tidied_theory(study: xr.Dataset) -> xr.Dataset:
    """Return the study with `run` as a dimension, every coordinate of its runs along it, and a label for each run.

    Runs of one label and different settings get what differs beside it, so that none hides another.

    Raises
    ------
    InputError
        If there is no run.
    """
    study = study if "run" in study.dims else study.expand_dims("run")
    count = study.sizes["run"]
    if not count:
        raise InputError("a figure needs at least one condition: found no runs at all; run the protocol to completion")
    shared = [n for n in ("condition", *PLACES) if n in study.variables and not study[n].dims]
    study = study.assign_coords({n: ("run", np.repeat(study[n].values, count)) for n in shared})
    told = {n: study[n].values.tolist() for n in PLACES if n in study.coords}
    asked = study["condition"].values.astype(str).tolist()
    labels = distinct_labels(asked, [0] * count, per_run(study, "settings"), told)
    numbered = [f"{x}, run {i + 1}" if labels.count(x) > 1 else x for i, x in enumerate(labels)]
    return study.assign_coords(condition=("run", np.array(numbered, dtype=str)))


def of_condition(study: xr.Dataset, condition: str) -> xr.Dataset:
    """Return what one condition holds, without the places that only others have.

    Raises
    ------
    InputError
        If no run has the label.
    """
    one_of("condition", condition, conditions(study))
    run = study.isel(run=conditions(study).index(condition)) if "run" in study.dims else study
    for dim, name in HELD.items():
        if name in run and dim in run[name].dims:
            held = np.isfinite(run[name]).any([other for other in run[name].dims if other != dim])
            run = run.isel({dim: np.flatnonzero(held.values)})
    return run


def manners(run: xr.Dataset) -> list[str]:
    """Return how a condition was followed: "flow", and the simulations beside it."""
    return run["manner"].values.astype(str).tolist()


def simulated(run: xr.Dataset) -> str | None:
    """Return the simulation that is drawn beside the flow: full batch before online, None where there is none."""
    known = manners(run)
    return next((m for m in ("full_batch", "online", *known) if m in known and m != "flow"), None)


def by_manner(run: xr.Dataset, name: str, manner: str = "flow") -> np.ndarray:
    """Return a variable of one manner, seeds first."""
    return run[name].isel(manner=manners(run).index(manner)).transpose("seed", ...).values


def at_end(run: xr.Dataset, name: str, manner: str = "flow") -> np.ndarray:
    """Return a variable at the last time, seeds first: of the manner where it has several."""
    of = run.isel(manner=manners(run).index(manner)) if "manner" in run[name].dims else run
    return of[name].isel(point=-1).transpose("seed", ...).values


def seed_place(run: xr.Dataset, condition: str, seed: int) -> int:
    """Return where a seed stands among a condition's.

    Raises
    ------
    InputError
        If the condition has no such seed.
    """
    known = seed_numbers(run)
    if seed not in known:
        raise InputError(f"seed {seed}: condition '{condition}' has seeds {', '.join(map(str, known))}")
    return known.index(seed)


def seed_numbers(run: xr.Dataset) -> list[int]:
    """Return the seeds of a condition."""
    return [int(seed) for seed in run["seed"].values]


def size(study: xr.Dataset, condition: str) -> float:
    """Return the rank of a condition's feedback, or the width of its factors; NaN where it has neither.

    The network's gradient descent has none, whatever its settings say: its feedback is the forward weights'.
    """
    at = conditions(study).index(condition)
    names = ("width",) if word_of(study, condition, "rule") == "gd" else ("rank", "width")
    found = [float(study[name].values[at]) for name in names if name in study.coords]
    return next((value for value in found if np.isfinite(value)), float("nan"))


def word_of(study: xr.Dataset, condition: str, name: str) -> str:
    """Return a coordinate of a condition as text, "" where it has none."""
    if name not in study.coords:
        return ""
    found = str(study[name].values[conditions(study).index(condition)])
    return "" if found == "nan" else found


def measured(study: xr.Dataset, *names: str) -> list[str]:
    """Return the conditions with a finite value of any of the variables, in the study's order."""
    held = np.zeros(study.sizes["run"], bool)
    for name in names:
        if name in study:
            values = np.isfinite(study[name].transpose("run", ...).values.astype(float))
            held |= values.reshape(held.size, -1).any(axis=1)
    having = set(study["condition"].values.astype(str)[held].tolist())
    return [condition for condition in conditions(study) if condition in having]


def line_colours(study: xr.Dataset, chosen: Sequence[str]) -> dict[str, str]:
    """Return a colour a condition: its own in the study, or those of their order where two of them share one."""
    own = {condition: condition_colours(study)[condition] for condition in chosen}
    if len(set(own.values())) == len(own):
        return own
    return {c: CONDITION_PALETTE[i % len(CONDITION_PALETTE)] for i, c in enumerate(chosen)}


def medians(values: np.ndarray) -> list[Estimate]:
    """Return the median over seeds and its interval in each column of (seed, column); NaN is left out."""
    return [median_over_runs(column[np.isfinite(column)]) for column in values.T]

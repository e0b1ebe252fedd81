"""Ours beside the published values, with every way in which the two are not like for like."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from rfmodel.figures.intervals import NOTHING, Estimate, over_runs
from rfmodel.figures.labels import dotted, parsed
from rfmodel.figures.selection import conditions, last_values, per_run, tidied
from rfmodel.published import Published, Value

SCORE = "last epoch"


@dataclass(frozen=True)
class Comparison:
    """One published value and what a study has of its condition.

    `ours` is the mean test accuracy at the last epoch with Student's 95 % interval over the `runs` that finished,
    a fraction, NaN where none did. `differs` says each way in which the two are not like for like; of a condition
    that has not been run it is empty, and so is `runs`.
    """

    condition: str
    theirs: Value
    ours: Estimate = NOTHING
    runs: int = 0
    diverged: int = 0
    differs: tuple[str, ...] = ()

    @property
    def difference(self) -> float:
        """Ours less theirs."""
        return self.ours[0] - self.theirs.accuracy

    @property
    def like_for_like(self) -> bool:
        """Whether there is something to compare and nothing that forbids it."""
        return self.runs > 0 and not self.differs


def compare(study: xr.Dataset, published: Published) -> list[Comparison]:
    """Return each published value beside the study's, in the order of the file.

    Parameters
    ----------
    study : Dataset
        As `rfmodel.open_study` returns it. Where runs of one label differ in their settings, each set of settings is
        compared on its own.
    published : Published
        As `rfmodel.published.published_of` reads it.

    Returns
    -------
    list of Comparison
        Conditions without a run in the study are listed with no runs.
    """
    study = tidied(study)
    asked, labels = study["asked"].values.astype(str), study["condition"].values.astype(str)
    rows = []
    for value in published.values:
        found = [c for c in conditions(study) if value.condition in set(asked[labels == c])]
        rows += [_compared(study, c, value) for c in found] or [Comparison(value.condition, value)]
    return rows


def _compared(study: xr.Dataset, condition: str, theirs: Value) -> Comparison:
    own = study.isel(run=np.flatnonzero(study["condition"].values.astype(str) == condition))
    ours = last_values(study, "accuracy_test", condition)
    diverged = int((own["state"].values.astype(str) == "diverged").sum())
    differs = [*_settings(per_run(own, "settings")[0], theirs), *_scores(theirs)]
    if ours.size < (theirs.runs or 0):
        differs.append(f"{_runs(ours.size)}, theirs {theirs.runs}")
    if diverged:
        differs.append(f"{diverged} of {_runs(own.sizes['run'])} diverged")
    return Comparison(condition, theirs, over_runs(ours), ours.size, diverged, tuple(differs))


def _settings(text: str, theirs: Value) -> Sequence[str]:
    if not theirs.settings:
        return ["their settings are not stated"]
    ours = {key: json.loads(value) for key, value in dotted(parsed(text)).items()} if text else {}
    return [
        f"{key} {_told(ours[key]) if key in ours else 'not set'}, theirs {_told(value)}"
        for key, value in theirs.settings.items()
        if key not in ours or ours[key] != value
    ]


def _scores(theirs: Value) -> Sequence[str]:
    if not theirs.score:
        return ["their score is not stated"]
    return [] if theirs.score == SCORE else [f"{SCORE}, theirs {theirs.score}"]


def _told(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"

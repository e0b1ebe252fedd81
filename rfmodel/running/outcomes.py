"""Outcomes: what became of each run, and which runs of a protocol are left. Light: knows neither torch nor xarray."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from rfmodel import store
from rfmodel.errors import InputError
from rfmodel.protocols import Protocol
from rfmodel.runs import Run
from rfmodel.store.failures import Failure, failures
from rfmodel.store.manifest import Entry

RETRIED = ("failed",)


@dataclass(frozen=True)
class Outcome:
    """What became of one run.

    Parameters
    ----------
    run : Run
    state : "done", "diverged", "failed", or "elsewhere" where another process has it under way
    accuracy : float
        On the test images after the last epoch.
    seconds : float
    kept : bool
        Whether it was there before.
    error : str
        Why it failed, one line.
    blamed : bool
        Whether what the user gave is to blame: the error is an `InputError`.
    """

    run: Run
    state: str
    accuracy: float = math.nan
    seconds: float = 0.0
    kept: bool = False
    error: str = ""
    blamed: bool = False


@dataclass(frozen=True)
class Standing:
    """Where a study stands before it is gone on with.

    Parameters
    ----------
    kept : dict of str to Outcome
        By name, the runs that need nothing more.
    left : tuple of Run
        Seeds outermost: a study that is stopped early has whole rounds of conditions.
    attempts : dict of str to int
        By name, how often a run that is tried again has failed.
    """

    kept: Mapping[str, Outcome]
    left: tuple[Run, ...]
    attempts: Mapping[str, int]


def standing(protocol: Protocol, folder: Path, retry: Collection[str] = ()) -> Standing:
    """Return what of a protocol is done and what is left in a folder.

    Parameters
    ----------
    protocol : Protocol
    folder : Path
    retry : collection of str
        "failed": runs that failed are tried again.

    Raises
    ------
    InputError
        If a run file or the file of a failure is damaged, or `retry` asks for something else.
    """
    for state in retry:
        if state not in RETRIED:
            raise InputError(f"--retry '{state}' is unknown: known is {', '.join(RETRIED)}; a run that diverged does "
                             "so again: other settings would do")  # fmt: skip
    finished = store.entries(folder)
    failed = {name: one for name, one in failures(folder).items() if name not in finished}
    kept = {run.name: of_entry(run, finished[run.name]) for run in protocol.runs if run.name in finished}
    if "failed" not in retry:
        kept |= {run.name: of_failure(run, failed[run.name]) for run in protocol.runs if run.name in failed}
    left = [run for run in protocol.runs if run.name not in kept]
    attempts = {run.name: failed[run.name].attempts for run in left if run.name in failed}
    return Standing(kept, tuple(sorted(left, key=lambda run: run.settings.seed)), attempts)


def of_entry(run: Run, entry: Entry) -> Outcome:
    """Return the outcome of a run that is finished."""
    return Outcome(run, entry.state, entry.accuracy, 0.0, kept=True)


def of_failure(run: Run, failure: Failure) -> Outcome:
    """Return the outcome of a run that failed before."""
    return Outcome(run, "failed", kept=True, error=failure.error)


def in_order(protocol: Protocol, outcomes: Mapping[str, Outcome]) -> list[Outcome]:
    """Return the outcomes in the order in which runs are run."""
    runs = sorted(protocol.runs, key=lambda run: run.settings.seed)
    return [outcomes[run.name] for run in runs if run.name in outcomes]

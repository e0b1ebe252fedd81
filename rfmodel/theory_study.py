"""Theory studies: from a protocol of a solvable model to labelled results, one file a condition.

A condition is integrated with all of its seeds at once, in a second or a few, and is the same wherever it is computed.
So it is kept whole or not at all, computed again where it was cut off, and two processes at once do no harm.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import numpy as np
import xarray as xr

from rfmodel import store, theory
from rfmodel.errors import InputError
from rfmodel.protocols import Protocol
from rfmodel.runs import Run
from rfmodel.store import open_theory
from rfmodel.theory.settings import TheorySettings

__all__ = ["Solved", "came_out", "open_theory", "run_theory", "solve", "validate"]


@dataclass(frozen=True)
class Solved:
    """A condition that is done.

    Parameters
    ----------
    run : Run
    result : Dataset
        Of all its seeds.
    kept : bool
        Whether it was there before.
    """

    run: Run
    result: xr.Dataset
    kept: bool = False

    @property
    def seconds(self) -> float:
        """What it took when it was computed."""
        return float(self.result.attrs["seconds"])


def run_theory(
    protocol: Protocol,
    folder: Path,
    *,
    threads: int = 1,
    started: Callable[[Run], None] | None = None,
    progress: Callable[[Run, float], None] | None = None,
    ended: Callable[[Solved], None] | None = None,
) -> list[Solved]:
    """Compute what is missing of a solvable model's protocol, and return every condition's results.

    Every condition is checked before the first is computed. One that fails all the same ends the study; those that are
    done are kept.

    Parameters
    ----------
    protocol : Protocol
    folder : Path
        Where the study is kept: `theory/NAME.nc` of each condition.
    threads : int
        Conditions that are computed at once; their results do not depend on it. The products of one are too small to be
        shared, so numpy and torch do best with a thread each: OMP_NUM_THREADS=1.
    started, progress, ended : callables, optional
        Told of each condition's begin and of the share of it that is done, by the thread that computes it; and, in the
        protocol's order, of its end.

    Returns
    -------
    list of Solved
        In the protocol's order.

    Raises
    ------
    InputError
        If there are no threads; if a condition cannot be, or does not stay finite; if a file of the study is damaged,
        or the folder holds another kind of study or cannot be written.
    """
    if threads < 1:
        raise InputError(f"--threads {threads} computes no condition; use 1 or more")
    validate(protocol)
    store.refuse_other(folder, protocol.theory)
    kept = {run.name: solved for run in protocol.runs if (solved := _finished(run, folder))}
    store.prepare(folder, protocol.text, theory=protocol.theory)
    store.write_plan(folder, [{"name": run.name, "condition": run.condition} for run in protocol.runs], store.THEORY)
    store.tidy(folder)
    getattr(theory, protocol.theory)  # imported once, not by two threads at a time
    found, stopping = [], Event()

    def one(run: Run) -> Solved:
        with _ending(stopping):
            done = _finished(run, folder)  # another process may have been there meanwhile
            if done is None and started is not None:
                started(run)
            return done or _solved(protocol, run, folder, _watched(run, progress, stopping))

    with ThreadPoolExecutor(threads) as pool, _ending(stopping):
        computed = {run.name: pool.submit(one, run) for run in protocol.runs if run.name not in kept}
        for run in protocol.runs:
            found.append(kept.get(run.name) or _result(computed, run))
            if ended is not None:
                ended(found[-1])
    return found


def _result(computed: dict[str, Future[Solved]], run: Run) -> Solved:
    """Return what a condition came to; of one that was given up, raise what made it."""
    try:
        return computed[run.name].result()
    except Stopped:
        failed = (error for one in computed.values() if (error := one.exception()) is not None)
        raise next(error for error in failed if not isinstance(error, Stopped)) from None


class Stopped(Exception):
    """A condition is given up, because another failed or the user interrupted."""


@contextmanager
def _ending(stopping: Event) -> Iterator[None]:
    """Begin nothing once all is to end, and end all where something fails or the user interrupts."""
    if stopping.is_set():
        raise Stopped
    try:
        yield
    except BaseException:
        stopping.set()
        raise


def _watched(run: Run, progress: Callable[[Run, float], None] | None, stopping: Event) -> Callable[[float], None]:
    def watched(share: float) -> None:
        if stopping.is_set():
            raise Stopped
        if progress is not None:
            progress(run, share)

    return watched


def _finished(run: Run, folder: Path) -> Solved | None:
    path = store.theory_path(folder, run.name)
    return Solved(run, store.load_theory(path), kept=True) if path.is_file() else None


def _solved(protocol: Protocol, run: Run, folder: Path, progress: Callable[[float], None]) -> Solved:
    begun = time.perf_counter()
    try:
        result = solve(run.settings, progress)
    except InputError as error:
        raise _in_condition(protocol, run, error) from None
    except (ArithmeticError, np.linalg.LinAlgError, MemoryError) as error:  # numpy's, of numbers without bound
        told = f"it cannot be computed ({type(error).__name__}: {store.one_line(error, 100)}); use smaller numbers"
        raise _in_condition(protocol, run, InputError(told)) from None
    result = result.assign_attrs(provenance(run, time.perf_counter() - begun))
    store.save(result, store.theory_path(folder, run.name))
    return Solved(run, result)


def solve(settings: TheorySettings, progress: Callable[[float], None] | None = None) -> xr.Dataset:
    """Return what a condition's model says of its settings.

    Parameters
    ----------
    settings : LinearDynamicsSettings or FactorisationSettings
    progress : callable, optional
        Told of the share that is done.
    """
    return getattr(theory, settings.theory)(settings, progress)


def provenance(run: Run, seconds: float) -> dict[str, str | int | float]:
    """Return the attributes of a condition: its place, settings, versions, hardware, commit and time."""
    import torch

    from rfmodel.provenance import commit, hardware, versions

    return {
        **run.coordinates,
        "preset": run.preset,
        "position": run.position,
        "name": run.name,
        "identity": run.identity,
        "model": run.settings.theory,
        "seconds": seconds,
        "settings": run.settings.model_dump_json(),
        "versions": json.dumps(versions()),
        "hardware": json.dumps(hardware(torch.device("cpu"))),
        "commit": commit(),
    }


def validate(protocol: Protocol) -> None:
    """Refuse a protocol one of whose conditions cannot be: sizes, ranks, spectra, steps. Draws and integrates nothing.

    Raises
    ------
    InputError
        The message names the file, the condition, the key and the value.
    """
    from rfmodel.theory.checking import check

    if not protocol.theory:
        raise InputError(f"{protocol.name}.toml trains networks, and is of no solvable model; rfmodel.study would do")
    for run in protocol.runs:
        try:
            check(run.settings)
        except InputError as error:
            raise _in_condition(protocol, run, error) from None


def _in_condition(protocol: Protocol, run: Run, error: InputError) -> InputError:
    return InputError(f"{protocol.name}.toml: condition '{run.condition}': {error}")


def came_out(result: xr.Dataset) -> str:
    """Return what a condition came to, over its seeds, in a few words.

    Parameters
    ----------
    result : Dataset
        Of one condition.
    """
    told = _recovered(result) if "recovered" in result else _error(result)
    apart = result["difference"].values[[manner != "flow" for manner in result["manner"].values]]
    return f"{told}, difference {np.max(apart):.2g}" if apart.size else told


def _recovered(result: xr.Dataset) -> str:
    counts = result["recovered"].values
    low, high = int(np.min(counts)), int(np.max(counts))
    return f"{low if low == high else f'{low} to {high}'} of {result.sizes['mode']} modes recovered"


def _error(result: xr.Dataset) -> str:
    error, ratio = (float(np.median(values)) for values in (result["error"].values[0, :, -1], result["ratio"].values))
    return f"error {error:.2g}" + (f", {ratio:.3g} of the optimum" if np.isfinite(ratio) else "")

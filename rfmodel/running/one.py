"""One run, from its claim to its file: claimed, taken up from its checkpoint, trained, measured, kept.

Whatever the run itself raises is recorded as its failure, and the study goes on; what stops the study is a folder that
cannot be written and the user's interrupt. Every file appears by one rename and results depend on the settings alone,
so that a run which two processes did is a run done once: claims save work, and nothing else hangs on them.
"""

from __future__ import annotations

import io
import os
import platform
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import torch
import xarray as xr

from rfmodel import analyses, datasets, parallel, store, training
from rfmodel.checkpoints import Checkpoints, Interval
from rfmodel.errors import InputError
from rfmodel.labelling import labelled
from rfmodel.opening import open_data
from rfmodel.provenance import provenance
from rfmodel.running.outcomes import Outcome, of_failure
from rfmodel.runs import Run
from rfmodel.seen import Seen
from rfmodel.store.claims import Claims
from rfmodel.store.failures import failures
from rfmodel.store.writing import Unwritable
from rfmodel.user_rules import blaming

HEADS = tuple(f"network.{name}." for name in ("head", "fc", "logits", "classifier"))
Started = Callable[[Run, int, int], None]  # run, epochs, steps an epoch
Progress = Callable[[Run, int, int, float], None]  # run, epoch, step, loss


@dataclass(frozen=True)
class Context:
    """What runs of one study in one process share.

    Parameters
    ----------
    folder : Path
        Where the study is kept.
    data_folder : Path, optional
        Where published data sets lie.
    device : str
    every : Interval
        Between checkpoints.
    opened : dict
        Data sets by what names them; each is opened once.
    """

    folder: Path
    data_folder: Path | None
    device: str
    every: Interval
    opened: dict[str, datasets.Dataset] = field(default_factory=dict)

    def data(self, run: Run) -> datasets.Dataset:
        """Return the run's data set, on the device."""
        key = run.settings.data.model_dump_json()
        if key not in self.opened:
            self.opened[key] = open_data(run.settings, self.data_folder, self.device)
        return self.opened[key]


def complete(
    run: Run,
    context: Context,
    claims: Claims,
    *,
    attempt: int = 1,
    started: Started | None = None,
    progress: Progress | None = None,
    told: Callable[[str], None] | None = None,
) -> Outcome:
    """Do one run, or return what another process has made of it.

    Processes that train together (`rfmodel.parallel`) all call it; the first claims, extracts fields and writes.

    Parameters
    ----------
    run : Run
    context : Context
    claims : Claims
        Of the study's folder.
    attempt : int
        The first is 1; kept with a failure.
    started, progress : callables, optional
    told : callable of (line), optional
        Told what a user should know besides, as that a damaged checkpoint gave way to the one before it.

    Returns
    -------
    Outcome
        "elsewhere" where a living process has claimed the run.

    Raises
    ------
    Unwritable
        If the study's folder cannot be written.
    """
    first = parallel.place() == 0
    claim = claims.take(run.name) if first else None
    if not parallel.first_decides(claim is not None):
        return Outcome(run, "elsewhere")
    try:
        # Looked at after the claim: another process may have ended the run just before it.
        before = parallel.first_decides(_before(run, context.folder) if first else None)
        return before or _attempt(run, context, attempt, started, progress, told)
    finally:
        if claim is not None:
            claim.release()


def _before(run: Run, folder: Path) -> Outcome | None:
    """Return what is kept of a run that another process has ended meanwhile."""
    if store.finished(folder, run.name):
        dataset = store.load(store.run_path(folder, run.name))
        return Outcome(run, dataset.attrs["state"], float(dataset["accuracy_test"][-1]), kept=True)
    failure = failures(folder).get(run.name)
    return None if failure is None else of_failure(run, failure)


def _attempt(
    run: Run, context: Context, attempt: int, started: Started | None, progress: Progress | None, told
) -> Outcome:
    try:
        return _done(run, context, started, progress, told)
    except Unwritable:
        raise
    except Exception as error:
        failure = failure_of(run, error, attempt)
        if parallel.place() == 0:
            store.record_failure(context.folder, failure)
        if parallel.count() > 1:  # the others wait for this one, or have ended
            raise
        return Outcome(run, "failed", error=failure.error, blamed=isinstance(error, InputError))


def failure_of(run: Run, error: Exception, attempt: int) -> store.Failure:
    """Return the record of what a run raised."""
    told = " ".join(str(error).split())
    return store.Failure(
        name=run.name,
        condition=run.condition,
        seed=run.settings.seed,
        error=told if isinstance(error, InputError) else f"{type(error).__name__}: {told}".rstrip(": "),
        attempts=attempt,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        where=f"{platform.node()}, process {os.getpid()}",
        traceback="" if isinstance(error, InputError) else "".join(traceback.format_exception(error)),
    )


def _done(run: Run, context: Context, started: Started | None, progress: Progress | None, told) -> Outcome:
    data, options = context.data(run), run.settings.train
    if started is not None:
        started(run, options.epochs, -(-len(data.train) // options.batch))
    stepped = None if progress is None else lambda epoch, step, loss: progress(run, epoch, step, loss)
    path = store.checkpoint_path(context.folder, run.name)
    checkpoints = Checkpoints(path, run.identity, data.fingerprint, context.every, told)
    with parallel.apart():
        result, dataset = execute(run, data, context.device, stepped, checkpoints)
    if parallel.place() == 0:
        weights = kept_weights(result, options.keep)
        if weights is not None:
            store.write_aside(store.weights_path(context.folder, run.name), lambda aside: aside.write_bytes(weights))
            dataset = dataset.assign_attrs(weights_sha256=store.digest(weights))
        store.save(dataset, store.run_path(context.folder, run.name))
        with suppress(InputError):  # the run is finished; `tidy` removes what is left
            checkpoints.forget()
    parallel.wait_for_all()
    return Outcome(run, result.state, float(dataset["accuracy_test"][-1]), result.seconds)


def kept_weights(result: training.Trained, keep: str) -> bytes | None:
    """Return the file of the weights that `train.keep` asks for; None where it asks for none."""
    if keep == "nothing":
        return None
    state = result.routed.state_dict()
    if keep == "features":  # all but the dense head, which may hold nine tenths of the weights and shapes no field
        state = {name: value for name, value in state.items() if not name.startswith(HEADS)}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def execute(
    run: Run,
    data: datasets.Dataset,
    device: torch.device | str = "cpu",
    progress: training.Progress | None = None,
    checkpoints: Checkpoints | None = None,
) -> tuple[training.Trained, xr.Dataset]:
    """Train one run and return its network with its labelled results.

    Parameters
    ----------
    run : Run
    data : Dataset
        On `device`.
    device : torch.device
    progress : callable of (epoch, step, loss), optional
    checkpoints : Checkpoints, optional
        What the run is taken up from, and kept in on its way.
    """
    settings = run.settings
    seen = Seen(settings, data, device) if settings.fields.layers and parallel.place() == 0 else None
    visits, beside = ({}, {}) if seen is None else (seen.visits(), {"fields": seen})
    with blaming(settings.rules):
        result = training.train(settings, data, device, progress, visits, checkpoints, beside)
    parts = [labelled(result)]
    if seen is not None:
        parts.append(seen.measured(result))
    if settings.analyses and result.state == "done" and parallel.place() == 0:
        with training.drawing_from(settings.seed, torch.device(device)), result.routed.exact() as network:
            parts.insert(1, analyses.analyse(network, settings, data.test, data.image_shape, data.classes))
    dataset = xr.merge(parts, compat="equals", join="outer", combine_attrs="override")
    return result, dataset.assign_attrs({**provenance(run, data, result, torch.device(device)), **parts[-1].attrs})

"""Studies: from a protocol to labelled results, each finished run kept, whatever happens to the rest.

One run is: draw the network, extract its fields, train it by its rule, extract its fields again, measure and
classify both, and keep everything in one Dataset. The untrained twin is the null against which fields are judged.
Runs are done here one after another, by workers of this machine, or by a cluster (`rfmodel.running`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from rfmodel import analyses, building, datasets, fields, parallel, store
from rfmodel.checkpoints import interval
from rfmodel.errors import InputError, one_of
from rfmodel.fits import FAMILIES
from rfmodel.kept_analyses import analyse_again
from rfmodel.kept_fields import extract_again
from rfmodel.opening import open_data
from rfmodel.protocols import Protocol, Run
from rfmodel.provenance import commit
from rfmodel.running.one import Context, Progress, Started, complete, execute
from rfmodel.running.outcomes import Outcome, Standing, in_order, standing
from rfmodel.running.turns import Turns
from rfmodel.settings import DataSettings
from rfmodel.store.claims import Claims

__all__ = ["Manner", "Outcome", "analyse_again", "execute", "extract_again", "open_data", "run_study", "validate"]


@dataclass(frozen=True)
class Manner:
    """How the runs of a study are done; nothing of it but `threads` changes what they find.

    Parameters
    ----------
    checkpoint : str
        What lies between two checkpoints of a run: "5m", "300s", "2 epochs", "500 steps", "never".
    lease : float
        Seconds after which the claim of a process on another machine that gives no sign of life is taken over.
    retry : collection of str
        "failed": runs that failed before are tried again.
    wait : bool
        Stay until runs that other processes have under way are finished, and take over those of the dead.
    workers : int
        Processes on this machine.
    dask : str
        Address of a dask.distributed scheduler that runs are handed to; "" is none.
    threads : int, optional
        Processor threads of all workers together; of each task on a cluster.

    Raises
    ------
    InputError
        If there are no workers, or the lease is no time.
    """

    checkpoint: str = "5m"
    lease: float = 60.0
    retry: Collection[str] = ()
    wait: bool = True
    workers: int = 1
    dask: str = ""
    threads: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.retry, str):
            object.__setattr__(self, "retry", (self.retry,))
        if self.workers < 1:
            raise InputError(f"--workers {self.workers} is no number of processes; use 1 or more")
        if not 0 < self.lease < float("inf"):
            raise InputError(f"--lease {self.lease} is no time; use a positive number of seconds, as 60")


PLAIN = Manner()
LAYERS = 20_000  # of the networks of a protocol, each of which is built to be checked: minutes, where others are hours


def run_study(
    protocol: Protocol,
    folder: Path,
    *,
    data_folder: Path | None = None,
    device: torch.device | str = "cpu",
    manner: Manner = PLAIN,
    started: Started | None = None,
    progress: Progress | None = None,
    ended: Callable[[Outcome], None] | None = None,
    told: Callable[[str], None] | None = None,
) -> list[Outcome]:
    """Run what is missing of a protocol, and return what became of each run.

    Everything is checked before the first run is trained. A run that diverges is kept as such, one that fails is
    recorded with its error, and the others go on. Several processes may work on one folder: each run is done by one.
    Processes that train together (`rfmodel.parallel`) all call it; the first extracts fields and writes.

    Parameters
    ----------
    protocol : Protocol
    folder : Path
        Where the study is kept.
    data_folder : Path, optional
        Where published data sets lie.
    device : torch.device
    manner : Manner
    started, progress, ended : callables, optional
        Told of each run's begin (run, epochs, steps), of its steps (run, epoch, step, loss) and of its end.
    told : callable of (line), optional
        Told of what else happens: a worker killed, a damaged checkpoint.

    Raises
    ------
    InputError
        If a run cannot be, the data are missing, or the folder cannot be written; or if all runs that were tried failed
        by one and the same fault of what was given.
    """
    protocol.require_networks()
    every = interval(manner.checkpoint)
    first = parallel.place() == 0
    stands = parallel.first_decides(standing(protocol, folder, manner.retry) if first else None)
    opened = _checked(replace(protocol, runs=stands.left), data_folder, device, manner)
    if first:
        _prepare(protocol, folder, stands)
    commit()  # of the code that runs, not of what the checkout holds when a run ends
    for outcome in in_order(protocol, stands.kept) if ended is not None else ():
        ended(outcome)
    show = {"told": told or _nothing, "started": started, "progress": progress, "ended": ended or _nothing}
    if manner.dask or manner.workers > 1:
        found = _handed_out(stands, folder, data_folder, str(device), manner, show)
    else:
        found = _one_by_one(stands, Context(folder, data_folder, str(device), every, opened), manner, **show)
    if first:
        store.tidy(folder)
        if store.entries(folder):  # brings the manifest up to date
            store.consolidate(folder)
    if not stands.kept:
        _refuse_hopeless(found)
    return in_order(protocol, {**stands.kept, **{outcome.run.name: outcome for outcome in found}})


def _nothing(_: object) -> None:
    pass


def _checked(
    left: Protocol, data_folder: Path | None, device: torch.device | str, manner: Manner
) -> dict[str, datasets.Dataset]:
    """Check what is left to run, and return its data sets where they are needed here."""
    if not left.runs:
        return {}
    validate(left, data_folder)
    if manner.dask:  # the data lie with the workers
        return {}
    opened = _open_all(left.runs, left.name, data_folder, "cpu" if manner.workers > 1 else device)
    return {} if manner.workers > 1 else opened


def _prepare(protocol: Protocol, folder: Path, stands: Standing) -> None:
    """Make the folder, and see that it can be written, before any training."""
    store.prepare(folder, protocol.text, protocol.rule_files)
    store.write_plan(folder, [_planned(run) for run in protocol.runs])
    store.tidy(folder)
    for name in stands.attempts:
        store.forget_failure(folder, name)


def _planned(run: Run) -> dict[str, str | int]:
    return {"name": run.name, "condition": run.condition, "seed": run.settings.seed}


def _one_by_one(
    stands: Standing,
    context: Context,
    manner: Manner,
    told: Callable[[str], None],
    started: Started | None,
    progress: Progress | None,
    ended: Callable[[Outcome], None],
) -> list[Outcome]:
    """Do the runs that are left; those that other processes have under way are waited for last."""
    found: list[Outcome] = []
    turns = Turns(stands.left, stands.attempts)
    away: set[str] = set()
    with Claims(context.folder, manner.lease) as claims:
        for turn in turns.each():
            outcome = complete(
                turn.run, context, claims, attempt=turn.attempt, started=started, progress=progress, told=told
            )
            if outcome.state == "elsewhere" and manner.wait:
                turns.put_off(turn)
                if turn.run.name not in away:
                    told(f"{turn.label}: another process has it under way")
                away.add(turn.run.name)
            else:
                found.append(outcome)
                ended(outcome)
    return found


def _handed_out(
    stands: Standing, folder: Path, data_folder: Path | None, device: str, manner: Manner, show: dict[str, Any]
) -> list[Outcome]:
    """Hand the runs that are left to other processes."""
    if not stands.left:
        return []
    common = {
        "data_folder": data_folder, "device": device, "threads": manner.threads, "every": manner.checkpoint,
        "lease": manner.lease, "attempts": stands.attempts, "wait": manner.wait, **show,
    }  # fmt: skip
    if manner.dask:
        from rfmodel.running.cluster import run_on_cluster  # brings dask, which nothing else needs

        return run_on_cluster(stands.left, folder, address=manner.dask, **common)
    from rfmodel.running.workers import run_in_workers

    return run_in_workers(stands.left, folder, workers=manner.workers, **common)


def _refuse_hopeless(found: Sequence[Outcome]) -> None:
    """Refuse a study all of whose runs failed by one fault of what was given."""
    if found and all(outcome.blamed for outcome in found) and len({outcome.error for outcome in found}) == 1:
        raise InputError(found[0].error)


def _open_all(
    runs: Sequence[Run], name: str, folder: Path | None, device: torch.device | str
) -> dict[str, datasets.Dataset]:
    opened: dict[str, datasets.Dataset] = {}
    for run in runs:
        try:
            datasets.Augmentation(**run.settings.train.augment.model_dump())  # one may need what is not installed
            if _data_key(run) not in opened:
                opened[_data_key(run)] = open_data(run.settings, folder, device)
            parallel.check_images(len(opened[_data_key(run)].train))
            analyses.check(run.settings, opened[_data_key(run)].test)
        except InputError as error:
            raise InputError(f"{name}.toml: data: {error}") from None
        _check_last_batch(run, opened[_data_key(run)], name)
    return opened


def _check_last_batch(run: Run, data: datasets.Dataset, name: str) -> None:
    try:
        building.check_last_batch(run.settings, data.image_shape, len(data.classes), len(data.train))
    except InputError as error:
        raise InputError(f"{name}.toml: condition '{run.condition}': {error}") from None


def validate(protocol: Protocol, data_folder: Path | None = None) -> None:
    """Refuse a protocol one of whose runs cannot be: network, rules, sites, ranks, layers. Opens no data.

    Parameters
    ----------
    protocol : Protocol
    data_folder : Path, optional
        Where published data sets lie; of an image folder the classes are counted there.

    Raises
    ------
    InputError
        The message names the file, the condition, the key and the value.
    """
    protocol.require_networks()
    # Nothing that is checked depends on the seed, and what a user's file makes is built in earnest.
    distinct = {run.settings.model_copy(update={"seed": 0}).model_dump_json(): run for run in protocol.runs}
    if (layers := sum(getattr(run.settings.network, "depth", 1) for run in distinct.values())) > LAYERS:
        raise InputError(
            f"{protocol.name}.toml: its {len(distinct)} different networks have {layers} layers in all; use fewer or "
            f"shallower ones, at most {LAYERS}"
        )
    for run in distinct.values():
        try:
            chosen = run.settings.fields
            shape, classes = datasets.shape_of(run.settings.data.model_dump(), data_folder)
            _check_options(run.settings.data)
            parallel.check_batch(run.settings.train.batch)
            building.check(run.settings, shape, classes)
            if chosen.layers:
                seeing = bool(chosen.images)
                fields.check_method(chosen.method, chosen.preset, chosen.options, blank=chosen.blank, images=seeing)
            for model in chosen.fits:
                one_of("fields.fits:", model, FAMILIES)
        except InputError as error:
            raise InputError(f"{protocol.name}.toml: condition '{run.condition}': {error}") from None


def _check_options(data: DataSettings) -> None:
    try:
        datasets.check_options(data.name, data.options)
    except InputError as error:
        raise InputError(f"data: {error}") from None


def _data_key(run: Run) -> str:
    return run.settings.data.model_dump_json()

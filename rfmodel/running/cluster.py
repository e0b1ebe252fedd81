"""A cluster: runs handed to a dask.distributed scheduler that is there already, and their results brought to one store.

A run is one task. Where a worker sees the study's folder it claims, keeps checkpoints and writes as a process of this
machine does, so that a run whose worker dies is taken up from its checkpoint. Elsewhere it works in a folder of its own
and sends the files; this process holds the claim meanwhile. A worker gets one run at a time, whatever number of threads
it has, for torch's threads and random state are its process's; the run computes with all of them. The cluster is left
as it was found.
"""

from __future__ import annotations

import gc
import logging
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rfmodel import store
from rfmodel.errors import InputError
from rfmodel.running.cluster_crew import PREFIX, Crew
from rfmodel.running.cluster_handing import Handing
from rfmodel.running.outcomes import Outcome
from rfmodel.runs import Run
from rfmodel.store.alive import this_process
from rfmodel.store.claims import Claims

if TYPE_CHECKING:
    from distributed import Client

PATIENCE = 20.0  # seconds for the scheduler to answer


def run_on_cluster(
    runs: Sequence[Run],
    folder: Path,
    *,
    address: str,
    data_folder: Path | None,
    device: str,
    threads: int | None,
    every: str,
    lease: float,
    told: Callable[[str], None],
    started: Callable[[Run, int, int], None] | None,
    progress: Callable[[Run, int, int, float], None] | None,
    ended: Callable[[Outcome], None],
    attempts: Mapping[str, int] | None = None,
    wait: bool = True,
) -> list[Outcome]:
    """Hand runs to a cluster, and return what became of each.

    Parameters
    ----------
    runs : sequence of Run
        The first are handed out first.
    folder : Path
        Where the study is kept.
    address : str
        Of the scheduler, as "tcp://host:8786".
    data_folder : Path, optional
        Where published data sets lie on the workers; each worker's own RFMODEL_DATA where None.
    device : str
        On the workers; "auto" is each one's own choice.
    threads : int, optional
        Processor threads of a run; the worker's own number where None.
    every : str
        Between checkpoints, where the workers see the study's folder.
    lease : float
        Seconds after which a claim without a sign of life is taken over.
    told : callable of (line)
    started, progress, ended : callables
        As in `rfmodel.study.run_study`; called in this thread.
    attempts : dict of str to int, optional
        By name, how often a run has failed before.
    wait : bool
        Stay until runs that other processes have under way are finished.

    Raises
    ------
    InputError
        If there is no such scheduler, or it is gone; a worker has another version of rfmodel or torch, or cannot have
        the data or the device; or the folder cannot be written.
    """
    show = {"told": told, "started": started, "progress": progress, "ended": ended}
    with _joined(address) as client, _token(folder) as token, Claims(folder, lease) as claims:
        order = {
            "folder": str(folder.resolve()), "token": token, "data": None if data_folder is None else str(data_folder),
            "device": device, "threads": threads, "every": every, "lease": lease,
            "topic": f"{PREFIX}{uuid.uuid4().hex}",
        }  # fmt: skip
        handing = Handing(client, Crew(client, address, told, threads), claims, folder, order, show, wait)
        try:
            return handing.all(runs, attempts or {})
        finally:
            handing.leave()


@contextmanager
def _joined(address: str) -> Iterator[Client]:
    try:
        from distributed import Client
    except ImportError:
        raise InputError(
            f"--dask '{address}' needs distributed, which is not installed; pip install 'rfmodel[cluster]' brings it"
        ) from None
    with _quiet():
        yield from _connected(Client, address)


def _connected(kind: type[Client], address: str) -> Iterator[Client]:
    client, reason = _client(kind, address)
    if client is None:
        # A client that failed closes when it is collected, and then takes the lock under which loops start: in the
        # thread of the next loop to start it would wait for its own end.
        gc.collect()
        raise InputError(
            f"--dask '{address}': no scheduler answers ({reason}); start one with `dask scheduler`, and give the "
            "address that it tells, such as tcp://host:8786"
        )
    try:
        yield client
    finally:
        with suppress(OSError, TimeoutError):
            client.close(timeout=PATIENCE if client.status == "running" else 1)


def _client(kind: type[Client], address: str) -> tuple[Client | None, str]:
    """Return a client of the scheduler, or why there is none; nothing holds one that failed after that."""
    try:
        return kind(address, timeout=PATIENCE, set_as_default=False), ""
    except (OSError, TimeoutError, ValueError, TypeError) as error:
        return None, str(error).splitlines()[0] if str(error) else type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Within it distributed logs nothing here: what a user should know of it is told, in a line."""
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _token(folder: Path) -> Iterator[str]:
    """Keep a file in the study's folder that workers look for; its name is its content."""
    me = this_process()
    name = f".seen.{me.machine}-{me.pid}-{me.start}-{uuid.uuid4().hex[:8]}.part"  # swept up once this process is gone
    path = folder / name
    store.write_aside(path, lambda aside: aside.write_text(name, encoding="utf-8"))
    try:
        yield name
    finally:
        path.unlink(missing_ok=True)

"""Workers: the runs of a study handed out to processes of this machine, one at a time to each."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rfmodel.errors import InputError
from rfmodel.parallel import asked
from rfmodel.running.allotment import allotted, alone, divided, gpus_here
from rfmodel.running.crew import Crew, Study
from rfmodel.running.outcomes import Outcome
from rfmodel.running.turns import Turns
from rfmodel.runs import Run


def run_in_workers(
    runs: Sequence[Run],
    folder: Path,
    *,
    workers: int,
    data_folder: Path | None = None,
    device: str = "cpu",
    threads: int | None = None,
    every: str = "5m",
    lease: float = 60.0,
    attempts: Mapping[str, int] | None = None,
    wait: bool = True,
    told: Callable[[str], None] | None = None,
    started: Callable[[Run, int, int], None] | None = None,
    progress: Callable[[Run, int, int, float], None] | None = None,
    ended: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Do runs in several processes of this machine, and return what became of each, in their order.

    Each process takes one run after another as `rfmodel.running.one.complete` does. A run whose worker dies is tried
    once more, from its last checkpoint: alone, when the others are done, if the system killed it, which it does for
    want of memory; a second death is its failure. A run that finds its shared GPU full is tried once more alone. No
    process is left behind, however this one ends.

    Parameters
    ----------
    runs : sequence of Run
    folder : Path
        The study's, prepared.
    workers : int
        Processes; of fewer runs, fewer.
    data_folder : Path, optional
        Where published data sets lie.
    device : str
        "cuda" is every GPU here, each worker one, shared where there is room.
    threads : int, optional
        Of all workers together; by default as many as one process would use.
    every : str
        Between checkpoints.
    lease : float
        Seconds after which a silent claim is dead.
    attempts : mapping of str to int, optional
        By name, how often a run has failed before.
    wait : bool
        Stay until runs that other processes have under way are done, and take over those of the dead.
    told : callable of (line), optional
    started, progress, ended : callables, optional
        Called in this thread: (run, epochs, steps), (run, epoch, step, loss) a few times a second, (outcome).

    Raises
    ------
    Unwritable
        If the study's folder cannot be written; all workers are ended.
    InputError
        If the device has no room for so many, no worker can start, or a run's file is damaged.
    """
    if workers < 1:
        raise InputError(f"--workers {workers} is no number of processes; use 1 or more")
    if asked() > 1:
        raise InputError(f"--workers {workers} within {asked()} processes of torchrun; use one or the other")
    if not runs:
        return []
    count = min(workers, len(runs))
    devices = allotted(device, count, gpus_here() if device.startswith("cuda") else [])
    study = Study(folder, data_folder, every, lease, divided(threads or _threads(), count))
    crew = Crew(study, wait, told, started, progress, ended)
    with _ended_as_by_ctrl_c():
        crew.work(devices, Turns(runs, attempts))
        while apart := crew.taken_apart():
            crew.work(alone(devices, any(turn.deaths for turn in apart)), Turns(apart))
    return [crew.outcomes[run.name] for run in runs]


def _threads() -> int:
    import torch

    return torch.get_num_threads()


@contextmanager
def _ended_as_by_ctrl_c() -> Iterator[None]:
    """Let SIGTERM, by which batch systems end a process, end it as Ctrl-C does: with its workers and their claims."""
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

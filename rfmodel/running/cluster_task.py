"""On a worker of a cluster: one run, with files where the worker sees the study's folder, over the wire elsewhere.

Workers import this module by its name, and `greet` runs in their event loop: what is heavy is imported in the task.
"""

from __future__ import annotations

import platform
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rfmodel.errors import InputError

if TYPE_CHECKING:
    from distributed import Worker

    from rfmodel.running.one import Context
    from rfmodel.running.outcomes import Outcome
    from rfmodel.runs import Run

COMPARED = ("rfmodel", "torch")
SILENT = 1.0  # seconds between messages of a run to the client
LOOK = 0.2  # seconds between looks whether a run that waits for its turn is still wanted
ONE = threading.Lock()  # torch's threads and random state are the process's: two runs in it would draw from one another
_opened: dict[str, dict] = {}  # data sets by study: opened once a process, and once more for the next study


class Stopped(KeyboardInterrupt):
    """The client has given the run up, or is gone, or the worker closes."""


def versions() -> dict[str, str]:
    """Return the versions that decide whether two processes compute the same, without importing them."""
    found = {"python": platform.python_version()}
    for name in COMPARED:
        try:
            found[name] = version(name).partition("+")[0]  # "+cpu" is a build, not a version
        except PackageNotFoundError:
            found[name] = "none"
    return found


def sees(folder: str, token: str) -> bool:
    """Whether the file that the client wrote into the study's folder is seen from here."""
    try:
        return (Path(folder) / token).read_text(encoding="utf-8") == token
    except (OSError, ValueError):
        return False


def greet(dask_worker: Worker) -> dict[str, Any]:
    """Return what the client asks of a worker before it hands runs to it."""
    return {"versions": versions(), "threads": dask_worker.state.nthreads, "host": platform.node()}


def do_run(order: Mapping[str, Any]) -> dict[str, Any]:
    """Do one run on this worker.

    Parameters
    ----------
    order : dict
        The run as `wire.packed` packs it, and what `run_on_cluster` was asked for.

    Returns
    -------
    dict
        `kind` says what it is: "outcome" (with the files, where they go over the wire), "blind" (the study's folder is
        not seen from here), "refused" (`why`: the data or the device cannot be had), "unwritable" (`why`), "stopped".
    """
    from dask import config
    from distributed import get_worker

    from rfmodel.running.wire import unpacked
    from rfmodel.store.writing import Unwritable

    worker = get_worker()
    line = Line(worker, order["topic"], order["name"])
    if not order["wire"] and not sees(order["folder"], order["token"]):
        return {"kind": "blind", "worker": worker.address}
    try:
        # Within a task xarray would ask the scheduler for a lock on each file that it opens: nobody else has these.
        with (
            _alone(line),
            config.set(scheduler="synchronous"),
            _threads(order["threads"] or worker.state.nthreads),
        ):
            reply = _done(unpacked(order["run"]), order, line, worker.local_directory)
    except Stopped:
        reply = {"kind": "stopped"}
    except Unwritable as error:
        reply = {"kind": "unwritable", "why": str(error)}
    except InputError as error:
        reply = {"kind": "refused", "why": str(error)}
    return reply | {"worker": worker.address}


class Line:
    """From a run on a worker to the client: what happens, no more than once a second; and whether it goes on.

    Parameters
    ----------
    worker : Worker
    topic : str
        Which the client listens to.
    name : str
        The run's.
    """

    def __init__(self, worker: Worker, topic: str, name: str) -> None:
        self.worker, self.topic, self.name = worker, topic, name
        self.key = worker.get_current_task()
        self.spoken = 0.0

    def check(self) -> None:
        """Raise `Stopped` where the task is cancelled, as when the client is gone, or the worker closes.

        A worker that its cluster closes thus gives its claim up, and the run need not wait for the lease.
        """
        task = self.worker.state.tasks.get(self.key)
        if task is None or task.state == "cancelled" or self.worker.status.name not in ("running", "paused"):
            raise Stopped

    def begun(self) -> None:
        """Tell that the worker is ready, and that what becomes of it now may be the run's doing."""
        self._send("begun")

    def started(self, run: Run, epochs: int, steps: int) -> None:
        """Tell that the run begins."""
        self._send("started", epochs, steps)

    def progress(self, run: Run, epoch: int, step: int, loss: float) -> None:
        """Tell of a step, where it is time to; and end the run where nobody wants it."""
        self.check()
        if time.monotonic() - self.spoken >= SILENT:
            self.spoken = time.monotonic()
            self._send("progress", epoch, step, float(loss))

    def told(self, line: str) -> None:
        """Tell what else a user should know."""
        self._send("told", line)

    def _send(self, what: str, *rest: object) -> None:
        self.worker.log_event(self.topic, [what, self.name, *rest])


@contextmanager
def _alone(line: Line) -> Iterator[None]:
    """Wait until no other run is in this process, while the run is wanted."""
    while not ONE.acquire(timeout=LOOK):
        line.check()
    try:
        line.check()  # the run before it may have ended because both were given up
        yield
    finally:
        ONE.release()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Within it torch computes with so many threads; the worker is not ours, and gets its own number back."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _done(run: Run, order: Mapping[str, Any], line: Line, scratch: str) -> dict[str, Any]:
    context = _context(order, Path(order["folder"]))
    line.begun()
    context.data(run)  # data that are not here are no failure of the run
    if not order["wire"]:
        return _told(_completed(run, context, order, line))
    with tempfile.TemporaryDirectory(prefix="rfmodel-", dir=scratch) as own:
        return _carried(run, _context(order | {"every": "never"}, Path(own)), order, line)


def _carried(run: Run, context: Context, order: Mapping[str, Any], line: Line) -> dict[str, Any]:
    """Do a run in a folder of its own, and return its files with what became of it."""
    from rfmodel import store
    from rfmodel.store.failures import failures

    (context.folder / "runs").mkdir()
    reply = _told(_completed(run, context, order, line))
    places = {"weights": store.weights_path, "results": store.run_path}
    paths = {what: place(context.folder, run.name) for what, place in places.items()}
    failure = failures(context.folder).get(run.name)
    files = {what: path.read_bytes() for what, path in paths.items() if path.is_file()}
    return reply | files | ({} if failure is None else {"failure": asdict(failure)})


def _context(order: Mapping[str, Any], folder: Path) -> Context:
    from rfmodel.checkpoints import interval
    from rfmodel.running.one import Context

    if order["topic"] not in _opened:
        _opened.clear()
    opened = _opened.setdefault(order["topic"], {})
    data = order["data"] and Path(order["data"])
    return Context(folder, data, _device(order["device"]), interval(order["every"]), opened)


def _device(name: str) -> str:
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device '{name}' cannot be used ({str(error).splitlines()[0]}); auto would do") from None
    return name


def _completed(run: Run, context: Context, order: Mapping[str, Any], line: Line) -> Outcome:
    from rfmodel.running.one import complete
    from rfmodel.store.claims import Claims

    show = {"started": line.started, "progress": line.progress, "told": line.told}
    with Claims(context.folder, order["lease"]) as claims:
        return complete(run, context, claims, attempt=order["attempt"], **show)


def _told(outcome: Outcome) -> dict[str, Any]:
    kept = ("state", "accuracy", "seconds", "kept", "error", "blamed")
    return {"kind": "outcome"} | {name: getattr(outcome, name) for name in kept}

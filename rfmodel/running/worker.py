"""A worker: `python -m rfmodel.running.worker ORDERS EVENTS` does runs as its parent asks, until it says "end".

ORDERS and EVENTS are the numbers of two pipes with JSON lines. The first order says what to know of the study
({"do": "begin", folder, data_folder, device, threads, every, lease}); each other one hands over a run ({"do": "run",
run, attempt}) or says {"do": "end"}. The events are "ready", "started" (epochs, steps), "progress" (epoch, step, loss),
"told" (line), "ended" (outcome), and "stopped" (kind, message) where the study cannot go on.

A worker whose parent is gone exits at once, in the middle of a run too: nobody would be told of the run, and its
checkpoint is kept.
"""

from __future__ import annotations

import ctypes
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rfmodel import stopping

OFTEN = 0.25  # seconds between two events of progress
DEATH_OF_PARENT = 1  # PR_SET_PDEATHSIG, prctl.h
ORPHANED, INTERRUPTED = 3, 130  # exit codes

Say = Callable[..., None]


def main(orders: int, events: int) -> int:
    """Work until told to end; return the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent says what follows
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
    _die_with_parent()
    for descriptor in (orders, events):
        os.set_inheritable(descriptor, False)
    given: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(orders, given), daemon=True).start()
    try:
        with stopping.at_signals(signals=(signal.SIGTERM,)):
            work(iter(given.get, None), lambda event, **what: _write(events, {"event": event, **what}))
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _die_with_parent() -> None:
    """Ask Linux to kill this process with its parent; elsewhere the end of the pipe alone says so."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DEATH_OF_PARENT, signal.SIGKILL)


def _listen(orders: int, given: queue.SimpleQueue) -> None:
    ended = False
    try:
        with os.fdopen(orders, "rb") as lines:
            while not ended and (line := lines.readline()):
                order = json.loads(line)
                given.put(order)
                ended = order["do"] == "end"
    finally:
        if not ended:
            os._exit(ORPHANED)


def _write(events: int, what: dict[str, Any]) -> None:
    data = memoryview(json.dumps(what).encode() + b"\n")
    try:
        while data:
            data = data[os.write(events, data) :]
    except BrokenPipeError:
        os._exit(ORPHANED)


def work(orders: Iterator[dict[str, Any]], say: Say) -> None:
    """Do the runs that orders hand over, and say what becomes of them.

    Parameters
    ----------
    orders : iterator of dict
    say : callable of (event, **what)
    """
    from rfmodel.errors import InputError
    from rfmodel.running.one import complete
    from rfmodel.running.wire import unpacked
    from rfmodel.store.claims import Claims

    begin = next(orders)
    try:
        context = _context(begin)
        with Claims(context.folder, begin["lease"]) as claims:
            say("ready")
            for order in orders:
                if order["do"] == "end":
                    return
                run = unpacked(order["run"])
                outcome = complete(run, context, claims, attempt=order["attempt"], **_telling(say))
                say("ended", outcome={name: value for name, value in vars(outcome).items() if name != "run"})
    except InputError as error:
        say("stopped", kind=type(error).__name__, message=str(error))


def _context(begin: dict[str, Any]) -> Any:
    import torch

    from rfmodel.checkpoints import interval
    from rfmodel.memory import keep_freed_memory
    from rfmodel.running.one import Context

    keep_freed_memory()
    torch.set_num_threads(begin["threads"])
    folder, data = Path(begin["folder"]), begin["data_folder"]
    return Context(folder, None if data is None else Path(data), _usable(begin["device"]), interval(begin["every"]))


def _usable(device: str) -> str:
    import torch

    from rfmodel.errors import InputError

    try:
        if device.startswith("cuda"):
            torch.cuda.set_device(device)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"--device '{device}' cannot be used by a worker ({reason}); use cpu, or a GPU that is there"
        ) from None
    return device


def _telling(say: Say) -> dict[str, Callable[..., None]]:
    """Return the callbacks of a run; steps are told a few times a second."""
    spoken = 0.0

    def progress(_: object, epoch: int, step: int, loss: float) -> None:
        nonlocal spoken
        if time.monotonic() - spoken >= OFTEN:
            spoken = time.monotonic()
            say("progress", epoch=epoch, step=step, loss=loss)

    return {
        "started": lambda _, epochs, steps: say("started", epochs=epochs, steps=steps),
        "progress": progress,
        "told": lambda line: say("told", line=line),
    }


if __name__ == "__main__":
    code = main(int(sys.argv[1]), int(sys.argv[2]))
    os._exit(code)  # at once: all that counts is on the disk, and to take torch down takes a second

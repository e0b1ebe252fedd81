"""A worker process as its parent sees it: its pipes, the run that it has, and what it said last. Knows no torch."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rfmodel.errors import InputError
from rfmodel.running.turns import Turn

COMMAND = ("-P", "-m", "rfmodel.running.worker")
SAID = 20  # lines
CHUNK = 2**16  # bytes
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Child:
    """One worker process, started.

    Orders go to it and events come from it as lines of JSON over two pipes of their own, so that whatever a user's rule
    or a library prints disturbs nothing. What it writes to its error stream is kept, and the last of it told when it
    dies.

    Parameters
    ----------
    device : str
        Where it computes.
    threads : int
    begin : mapping
        What it needs to know of the study: `rfmodel.running.worker` says what.

    Raises
    ------
    InputError
        If the system starts no further process.
    """

    def __init__(self, device: str, threads: int, begin: Mapping[str, Any]) -> None:
        self.device = device
        self.ready = False
        self.turn: Turn | None = None
        self._rest, self._error_rest = b"", b""
        self._said: deque[bytes] = deque(maxlen=SAID)
        self.closed = False
        pipes: list[int] = []
        try:
            pipes += os.pipe()
            pipes += os.pipe()
            orders, self._orders, self.events, events = pipes
            self.process = subprocess.Popen(
                [sys.executable, *COMMAND, str(orders), str(events)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(orders, events),
                env=_environment(threads),
            )
        except OSError as error:
            for descriptor in pipes:
                os.close(descriptor)
            raise InputError(f"a worker cannot be started: {error.strerror}; use fewer --workers") from None
        os.close(orders)
        os.close(events)
        self.errors = self.process.stderr.fileno()
        os.set_blocking(self.events, False)
        os.set_blocking(self.errors, False)
        self.order(do="begin", device=device, threads=threads, **begin)

    def order(self, **what: object) -> None:
        """Say what is to be done; a dead worker is not told, and its death is seen by its pipe."""
        data = memoryview(json.dumps(what).encode() + b"\n")
        with contextlib.suppress(BrokenPipeError):
            while data:
                data = data[os.write(self._orders, data) :]

    def heard(self) -> tuple[list[dict[str, Any]], bool]:
        """Return the events that have come, and whether the worker is gone."""
        gone = self.process.poll() is not None  # looked at first: what it said before it died is read below
        found, ended = _drained(self.events)
        *lines, self._rest = (self._rest + found).split(b"\n")
        self._overhear()
        return [json.loads(line) for line in lines], ended or gone

    @property
    def last(self) -> str:
        """The last line of its error stream; "" where there is none."""
        told = [line for line in (*self._said, self._error_rest) if line.strip()]
        return told[-1].decode(errors="replace").strip() if told else ""

    def _overhear(self) -> None:
        found, _ = _drained(self.errors)
        *lines, self._error_rest = (self._error_rest + found).split(b"\n")
        self._said.extend(line for line in lines if line.strip())

    def close(self) -> None:
        """End the process if it has not ended, and let go of it."""
        if self.closed:
            return
        self.process.kill()
        self.process.wait()
        self._overhear()
        self.closed = True
        os.close(self._orders)
        os.close(self.events)
        self.process.stderr.close()


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Hold Ctrl-C back while a worker is started: it comes when the worker is known, or already ignores it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _environment(threads: int) -> dict[str, str]:
    """Return the environment of a worker: it imports what this process does, and has its share of threads."""
    path = os.pathsep.join(os.fspath(place) or os.getcwd() for place in sys.path)
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}


def _drained(descriptor: int) -> tuple[bytes, bool]:
    """Return what a pipe holds, and whether its other end is closed."""
    found = b""
    while True:
        try:
            chunk = os.read(descriptor, CHUNK)
        except BlockingIOError:
            return found, False
        if not chunk:
            return found, True
        found += chunk


def end(children: Sequence[Child], grace: float, *, at_once: bool = False) -> None:
    """End workers and wait for them: they are asked, interrupted if `at_once`, and killed after the grace.

    Parameters
    ----------
    children : sequence of Child
    grace : float
        Seconds, for each.
    at_once : bool
        Interrupt a run that is under way.
    """
    living = [child for child in children if not child.closed]
    try:
        for child in living:
            child.order(do="end")
            if at_once:
                child.process.terminate()
        for child in living:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(grace)
    finally:  # none is left, also where the user interrupts the waiting
        for child in living:
            child.close()

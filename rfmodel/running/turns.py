"""Turns: which run is next, how often it was tried, and when to ask again for one that another process has.

Knows no torch; the runs of one process, of several and of a cluster are handed out by it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from rfmodel.runs import Run

PAUSE = 1.0  # seconds until a run is asked for again that another process has


@dataclass(frozen=True)
class Turn:
    """A run that is to be tried.

    Parameters
    ----------
    run : Run
    attempt : int
        Which one this is; the first is 1.
    deaths : int
        How many workers died over it.
    """

    run: Run
    attempt: int = 1
    deaths: int = 0

    @property
    def label(self) -> str:
        """What a user calls the run."""
        return f"{self.run.condition}, seed {self.run.settings.seed}"


class Turns:
    """What is to be run, in order; what another process has is asked for again after a pause, and after the others.

    Parameters
    ----------
    runs : iterable of Run or Turn
    attempts : mapping of str to int, optional
        By name, how often a run has failed before.
    pause : float
        Seconds.
    clock : callable
        Returns seconds.
    """

    def __init__(
        self,
        runs: Iterable[Run | Turn] = (),
        attempts: Mapping[str, int] | None = None,
        pause: float = PAUSE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        before = attempts or {}
        self._now = deque(run if isinstance(run, Turn) else Turn(run, 1 + before.get(run.name, 0)) for run in runs)
        self._later: deque[tuple[float, Turn]] = deque()
        self._pause, self._clock = pause, clock

    def __len__(self) -> int:
        return len(self._now) + len(self._later)

    def next(self) -> Turn | None:
        """Return whose turn it is; None where nothing is left, or what is left is not due yet."""
        if self._now:
            return self._now.popleft()
        return self._later.popleft()[1] if self._later and self.wait() == 0 else None

    def wait(self) -> float:
        """Return in how many seconds the next is due; infinite where nothing is left."""
        if self._now:
            return 0.0
        return max(0.0, self._later[0][0] - self._clock()) if self._later else float("inf")

    def put_off(self, turn: Turn) -> None:
        """Ask again after a pause: another process has the run under way."""
        self._later.append((self._clock() + self._pause, turn))

    def again(self, turn: Turn) -> None:
        """Let a run have the next turn."""
        self._now.appendleft(turn)

    def each(self, sleep: Callable[[float], object] = time.sleep) -> Iterator[Turn]:
        """Yield turns until none is left, waiting for those that were put off."""
        while self:
            turn = self.next()
            if turn is None:
                sleep(self.wait())
            else:
                yield turn

"""A crew: the workers of one study, what each of them has, and what becomes of a run whose worker dies."""

from __future__ import annotations

import selectors
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rfmodel import store
from rfmodel.errors import InputError
from rfmodel.running.allotment import fits_alone
from rfmodel.running.child import Child, end, held_back
from rfmodel.running.deaths import cause, killings
from rfmodel.running.outcomes import Outcome
from rfmodel.running.turns import Turn, Turns
from rfmodel.running.wire import packed
from rfmodel.runs import Run
from rfmodel.store.claims import Claims
from rfmodel.store.writing import Unwritable

GRACE = 25.0  # seconds that a worker has to end: more than a training's own grace
LOOK = 0.5  # seconds between looks at whether workers live whose pipes are silent
ATTEMPTS = 2  # deaths after which a run has failed
STARTS = 3  # workers killed in a row before they could work, after which no other is started


@dataclass(frozen=True)
class Study:
    """What every worker is told of the study.

    Parameters
    ----------
    folder : Path
    data_folder : Path, optional
    every : str
        Between checkpoints.
    lease : float
        Seconds after which a silent claim is dead.
    threads : int
        Of each worker.
    """

    folder: Path
    data_folder: Path | None
    every: str
    lease: float
    threads: int

    @property
    def wire(self) -> dict[str, Any]:
        """The study as plain JSON."""
        data = None if self.data_folder is None else str(self.data_folder)
        return {"folder": str(self.folder), "data_folder": data, "every": self.every, "lease": self.lease}


def _silent(*_: object) -> None:
    pass


class Crew:
    """The workers of one study, and what has become of the runs that they were given.

    Parameters
    ----------
    study : Study
    wait : bool
        Ask again for runs that another process has under way, until they are done.
    told : callable of (line), optional
    started, progress, ended : callables, optional
        Of (run, epochs, steps), (run, epoch, step, loss) and (outcome).
    """

    def __init__(
        self,
        study: Study,
        wait: bool = True,
        told: Callable[[str], None] | None = None,
        started: Callable[[Run, int, int], None] | None = None,
        progress: Callable[[Run, int, int, float], None] | None = None,
        ended: Callable[[Outcome], None] | None = None,
    ) -> None:
        self.study, self.wait, self.outcomes = study, wait, {}
        self._tell, self._show_start = told or _silent, started or _silent
        self._show_step, self._show_end = progress or _silent, ended or _silent
        self._devices: Sequence[str] = ()
        self._turns, self._apart = Turns(), []
        self._children: list[Child] = []
        self._killings, self._stillborn = killings(), 0
        self._away: set[str] = set()

    def work(self, devices: Sequence[str], turns: Turns) -> None:
        """Do all of the turns, by a worker on each of the devices, but those that are to be tried alone.

        Raises
        ------
        Unwritable
            If a worker cannot write to the study's folder.
        InputError
            If no worker can start, or the study cannot go on.
        """
        self._devices, self._turns = devices, turns
        try:
            for device in devices:
                self._start(device)
            while turns or any(child.turn for child in self._children):
                self._hand_out()
                self._listen()
            end(self._children, GRACE)
        except BaseException:
            end(self._children, GRACE, at_once=True)
            raise
        finally:
            self._children = []

    def taken_apart(self) -> list[Turn]:
        """Return the turns that are to be tried alone, and forget them."""
        apart, self._apart = self._apart, []
        return apart

    def _start(self, device: str) -> None:
        with held_back():
            self._children.append(Child(device, self.study.threads, self.study.wire))

    def _hand_out(self) -> None:
        for child in self._children:
            if child.ready and child.turn is None and (turn := self._turns.next()):
                child.turn = turn
                child.order(do="run", run=packed(turn.run), attempt=turn.attempt)

    def _listen(self) -> None:
        idle = any(child.ready and child.turn is None for child in self._children)
        with selectors.DefaultSelector() as pipes:
            for child in self._children:
                pipes.register(child.events, selectors.EVENT_READ)
            pipes.select(min(LOOK, self._turns.wait()) if idle else LOOK)
        for child in list(self._children):
            events, gone = child.heard()
            for event in events:
                self._hear(child, **event)
            if gone:
                self._bury(child)

    def _hear(self, child: Child, event: str, **what: Any) -> None:
        if event == "ready":
            child.ready, self._stillborn = True, 0
        elif event == "started":
            self._show_start(child.turn.run, what["epochs"], what["steps"])
        elif event == "progress":
            self._show_step(child.turn.run, what["epoch"], what["step"], what["loss"])
        elif event == "told":
            self._tell(what["line"])
        elif event == "ended":
            self._end(child, Outcome(child.turn.run, **what["outcome"]))
        else:  # "stopped"
            raise (Unwritable if what["kind"] == Unwritable.__name__ else InputError)(what["message"])

    def _end(self, child: Child, outcome: Outcome) -> None:
        turn, child.turn = child.turn, None
        if outcome.state == "elsewhere" and self.wait:
            self._put_off(turn)
        elif outcome.state == "failed" and not outcome.kept and fits_alone(outcome.error, child.device, self._devices):
            store.forget_failure(self.study.folder, turn.run.name)
            self._apart.append(replace(turn, attempt=turn.attempt + 1))
            self._tell(f"{turn.label}: the GPU that it shared was full ({outcome.error}); once more, alone, at the end")
        else:
            self._keep(outcome)
        if "CUDA error" in outcome.error:  # after one, a process computes nothing more on that GPU
            self._children.remove(child)
            end([child], GRACE)
            self._replace(child)

    def _put_off(self, turn: Turn) -> None:
        self._turns.put_off(turn)
        if turn.run.name not in self._away:
            self._tell(f"{turn.label}: another process has it under way")
        self._away.add(turn.run.name)

    def _keep(self, outcome: Outcome) -> None:
        self.outcomes[outcome.run.name] = outcome
        self._show_end(outcome)

    def _bury(self, child: Child) -> None:
        self._children.remove(child)
        end([child], GRACE)
        code, starved = child.process.returncode, self._starved()
        why = cause(code, starved, child.last)
        if not child.ready:
            self._start_again(child, code, why)
            return
        if child.turn is not None:
            self._mourn(child.turn, code, why)
        self._replace(child)

    def _start_again(self, child: Child, code: int, why: str) -> None:
        """Start another for a worker that the system killed as it started; one that ended by itself would do so again.

        Where too many died so, the study goes on with those that live.
        """
        self._stillborn += 1
        last = self._stillborn >= STARTS
        if code >= 0 or (last and not self._children):
            raise InputError(f"a worker cannot start: it {why}; mend that, or leave --workers out")
        left = f"the study goes on with {len(self._children)}" if last else "another is started"
        self._tell(f"a worker could not start: it {why}; {left}")
        if not last:
            self._replace(child)

    def _starved(self) -> bool:
        """Whether the system has killed one more for want of memory; each such death is counted once."""
        found, before = killings(), self._killings
        starved = None not in (found, before) and found > before
        self._killings = before + 1 if starved else found
        return starved

    def _replace(self, child: Child) -> None:
        if self._turns:
            self._start(child.device)

    def _mourn(self, turn: Turn, code: int, why: str) -> None:
        """Give a run whose worker died its second attempt, or record its failure."""
        second = replace(turn, attempt=turn.attempt + 1, deaths=turn.deaths + 1)
        if second.deaths >= ATTEMPTS:
            self._give_up(turn, f"its worker {why}, the second to die over this run")
        elif code == -signal.SIGKILL and len(self._devices) > 1:
            self._apart.append(second)
            self._tell(f"{turn.label}: its worker {why}; once more from its last checkpoint, alone, at the end")
        else:
            self._turns.again(second)
            self._tell(f"{turn.label}: its worker {why}; once more from its last checkpoint")

    def _give_up(self, turn: Turn, error: str) -> None:
        from rfmodel.running.one import failure_of

        folder, name = self.study.folder, turn.run.name
        with Claims(folder, self.study.lease) as claims:
            if claims.take(name) is None or store.finished(folder, name):
                # Another process has it, or the worker died when all was done: the next who asks is told.
                self._turns.put_off(turn)
                return
            store.record_failure(folder, failure_of(turn.run, InputError(error), turn.attempt))
        self._keep(Outcome(turn.run, "failed", error=error))

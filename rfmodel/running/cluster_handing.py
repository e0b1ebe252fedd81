"""Handing out: one run a worker, what comes back, and what is done about the runs of the dead."""

from __future__ import annotations

import queue
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rfmodel import store
from rfmodel.errors import InputError
from rfmodel.running.cluster_crew import PREFIX, Crew
from rfmodel.running.cluster_handed import TOLD, Task, come_to, fits, is_death, reason_of
from rfmodel.running.cluster_results import keep_results, record
from rfmodel.running.cluster_task import do_run
from rfmodel.running.headway import Headway
from rfmodel.running.outcomes import Outcome
from rfmodel.running.wire import packed
from rfmodel.runs import Run
from rfmodel.store.claims import Claims
from rfmodel.store.writing import Unwritable

if TYPE_CHECKING:
    from distributed import Client

LOOK = 1.0  # seconds between looks at who is there
TRIES = 2  # how often a run is handed out whose results are lost


class Handing:
    """Hands runs out one a worker, and takes in what becomes of them; all callbacks are called in the caller's thread.

    Parameters
    ----------
    client : Client
    crew : Crew
    claims : Claims
        For runs that go over the wire.
    folder : Path
    order : dict
        What every task is told.
    show : dict of str to callable
        told, started, progress, ended.
    wait : bool
    """

    def __init__(
        self, client: Client, crew: Crew, claims: Claims, folder: Path, order: dict, show: dict, wait: bool
    ) -> None:
        self.client, self.crew, self.claims, self.folder = client, crew, claims, folder
        self.order, self.show, self.wait = order, show, wait
        self.news: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self.left: list[Task] = []
        self.away: list[Task] = []
        self.out: dict[str, Task] = {}
        self.found: list[Outcome] = []
        self.tasks: dict[str, Task] = {}

    def all(self, runs: Sequence[Run], attempts: Mapping[str, int]) -> list[Outcome]:
        """Return the outcomes of all runs, in the order in which they ended."""
        for run in runs:
            headway = Headway(store.checkpoint_path(self.folder, run.name))
            self.tasks[run.name] = Task(run, attempts.get(run.name, 0) + 1, headway)
        self.left = list(self.tasks.values())
        self.client.subscribe_topic(self.order["topic"], lambda event: self.news.put(tuple(event[1])))
        looked = -LOOK
        while self.left or self.away or self.out:
            if time.monotonic() - looked >= LOOK:
                self.crew.look()
                self._miss()
                self._come_back()
                looked = time.monotonic()
            self._hand_out()
            with suppress(queue.Empty):
                what, name, *rest = self.news.get(timeout=LOOK)
                if what == "ended":
                    self._take_in(name, *rest)
                    looked = -LOOK
                else:
                    self._hear(self.tasks[name], what, *rest)
        return self.found

    def leave(self) -> None:
        """Cancel what is still out, and let go of the claims; the cluster goes on without us."""
        futures = [task.future for task in self.out.values()]
        with suppress(OSError, TimeoutError, ValueError):
            if self.client.status == "running":
                self.client.cancel(futures, force=True, reason="rfmodel has ended")
                self.client.unsubscribe_topic(self.order["topic"])
        for task in self.out.values():
            self._let_go(task)

    def _hear(self, task: Task, what: str, *rest: Any) -> None:
        if what == "begun":
            self._begin(task)
        elif what == "told":
            self.show["told"](f"{task.label}: {rest[0]}")
        else:
            if what == "progress":
                task.headway.step(*rest[:2])
            if self.show[what] is not None:
                self.show[what](task.run, *rest)

    def _begin(self, task: Task) -> None:
        # Begun once more: its worker died and another came at the same address, to which dask gave what that one had.
        again = task.headway.begun and task.headway.died()
        task.headway.begun = True
        if again and task.key in self.out:
            self._give_up(self._taken_back(task.key))

    def _miss(self) -> None:
        """Hand out again what was with workers that are gone: dask would keep it for them, or give it to the busy."""
        for key, task in list(self.out.items()):
            if task.worker not in self.crew.processing and not task.future.done():
                self._mourn(self._taken_back(key))

    def _hand_out(self) -> None:
        for worker in self.crew.idle({key: task.worker for key, task in self.out.items()}):
            while self.left:
                task = self.left.pop(0)
                if not task.wire or self._claimed(task):
                    self._submit(task, worker)
                    break

    def _claimed(self, task: Task) -> bool:
        """Claim a run here, and see that it is not finished meanwhile; one that another process has is put off."""
        task.claim = task.claim or self.claims.take(task.run.name)
        if task.claim is None:
            self._put_off(task)
        elif store.finished(self.folder, task.run.name):
            self._let_go(task)
            dataset = store.load(store.run_path(self.folder, task.run.name))
            self._end(Outcome(task.run, dataset.attrs["state"], float(dataset["accuracy_test"][-1]), kept=True))
        else:
            return True
        return False

    def _put_off(self, task: Task) -> None:
        if task.away is None:
            task.away = time.monotonic()
            self.show["told"](f"{task.label}: under way in another process; waiting until it is finished or free")
        self._let_go(task)
        self.away.append(task)

    def _come_back(self) -> None:
        """Go on with runs that were under way elsewhere, where they are free; of the dead a lease tells."""
        away, self.away = self.away, []
        for task in away:
            if not self.wait and time.monotonic() - task.away > 1.5 * self.order["lease"]:
                self._end(Outcome(task.run, "elsewhere"))
            elif self._claimed(task) and task.fault:
                self._record(task)
            elif task.claim is not None:
                task.away = None
                self._again(task)

    def _submit(self, task: Task, worker: str) -> None:
        """Hand a run to a worker, under a key of which dask has counted no deaths yet."""
        self.crew.began = True
        run, key = task.run, f"{PREFIX}{task.run.name}-{uuid.uuid4().hex[:8]}"
        order = self.order | {"run": packed(run), "name": run.name, "wire": task.wire, "attempt": task.attempt}
        task.worker, task.key = worker, key
        task.headway.handed_out()
        task.future = self.client.submit(do_run, order, key=key, pure=False, retries=0, workers=[worker])
        self.out[key] = task
        task.future.add_done_callback(lambda future: self.news.put(("ended", key, *come_to(future))))

    def _take_in(self, key: str, reply: dict[str, Any], error: BaseException | None) -> None:
        """Do what follows from what a task came to."""
        if key not in self.out:  # taken back meanwhile
            return
        task = self._back(key)
        if error is not None:
            self.crew.check()
            return self._mourn(task) if is_death(error) else self._lost(task, reason_of(error))
        if not fits(reply):
            return self._lost(task, f"worker {task.worker} gave an answer that cannot be read")
        match reply["kind"]:
            case "blind":
                task.wire = True
                self.left.insert(0, task)
            case "stopped":  # its worker closes, which is no fault of the run
                self.left.insert(0, task)
            case "unwritable":
                raise Unwritable(f"worker {self.crew.named(reply['worker'])}: {reply['why']}")
            case "refused":
                raise InputError(f"worker {self.crew.named(reply['worker'])}: {reply['why']}")
            case _:
                self._outcome(task, reply)

    def _taken_back(self, key: str) -> Task:
        """Cancel a task, whatever has become of its worker, and return it."""
        try:
            self.client.cancel([self.out[key].future], force=True, reason="its worker is gone")
        except (OSError, TimeoutError):
            raise self.crew.lost() from None
        return self._back(key)

    def _back(self, key: str) -> Task:
        task = self.out.pop(key)
        task.future.release()
        return task

    def _outcome(self, task: Task, reply: dict[str, Any]) -> None:
        if reply["state"] == "elsewhere":
            return self._put_off(task)
        if task.wire:
            try:
                keep_results(task.run, self.folder, reply)
            except Unwritable:
                raise
            except InputError as error:
                return self._lost(task, str(error))
        self._let_go(task)
        self._end(Outcome(task.run, reply["state"], **{name: reply[name] for name in TOLD}))

    def _mourn(self, task: Task) -> None:
        """Hand a run out again whose worker died, or give it up."""
        if task.headway.died():
            return self._give_up(task)
        self.show["told"](f"{task.label}: its worker {task.worker} died; it is handed out again")
        self._again(task)

    def _give_up(self, task: Task) -> None:
        died = f"{task.headway.deaths} workers in a row died over it, and it came no further"
        self._fail(task, f"{died}; the last was {task.worker} (out of memory?)")

    def _lost(self, task: Task, reason: str) -> None:
        """Hand a run out again whose results were lost, or record that it failed."""
        task.losses += 1
        if task.losses >= TRIES:
            return self._fail(task, reason)
        self.show["told"](f"{task.label}: {reason}; it is handed out once more")
        self._again(task)

    def _again(self, task: Task) -> None:
        self._let_go(task)
        self.left.insert(0, task)

    def _fail(self, task: Task, reason: str) -> None:
        """Record that a run failed, as soon as nobody else has it; the claim of its dead may stand for a lease."""
        task.fault = reason
        if self._claimed(task):
            self._record(task)

    def _record(self, task: Task) -> None:
        record(task.run, self.folder, task.fault, task.attempt)
        self._let_go(task)
        self._end(Outcome(task.run, "failed", error=task.fault))

    def _let_go(self, task: Task) -> None:
        if task.claim is not None:
            task.claim.release()
            task.claim = None

    def _end(self, outcome: Outcome) -> None:
        self.found.append(outcome)
        self.show["ended"](outcome)

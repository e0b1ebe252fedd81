"""What is handed out to a cluster: a run on its way, and what dask makes of its task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rfmodel.running.headway import Headway
from rfmodel.runs import Run
from rfmodel.store.claims import Claim

if TYPE_CHECKING:
    from distributed import Future

STATES = ("done", "diverged", "failed", "elsewhere")
TOLD = {"accuracy": float, "seconds": float, "kept": bool, "error": str, "blamed": bool}  # of an outcome


@dataclass(eq=False)
class Task:
    """A run on its way: with files or over the wire, to whom, how far it came, since when another process has it.

    `fault` says why it is to be recorded as failed, as soon as nobody has claimed it.
    """

    run: Run
    attempt: int
    headway: Headway
    wire: bool = False
    losses: int = 0
    fault: str = ""
    away: float | None = None
    future: Future | None = None
    key: str = ""
    worker: str = ""
    claim: Claim | None = None

    @property
    def label(self) -> str:
        return f"{self.run.condition}, seed {self.run.settings.seed}"


def come_to(future: Future) -> tuple[dict[str, Any], BaseException | None]:
    """Return what a task returned, and what it raised; called by dask beside our thread, which goes on meanwhile."""
    try:
        return future.result(), None
    except BaseException as error:  # cancelled is no Exception
        return {}, error


def fits(reply: Any) -> bool:
    """Whether a worker's answer is one that `cluster_task.do_run` gives."""
    if not isinstance(reply, dict) or not isinstance(reply.get("worker"), str):
        return False
    if reply.get("kind") == "outcome":
        return reply.get("state") in STATES and all(isinstance(reply.get(name), of) for name, of in TOLD.items())
    said = isinstance(reply.get("why"), str)
    return reply.get("kind") in ("blind", "stopped", *(("unwritable", "refused") if said else ()))


def is_death(error: BaseException) -> bool:
    """Whether a task ended with its workers, or with all of them where somebody restarts the cluster."""
    from distributed import CancelledError, KilledWorker

    return isinstance(error, KilledWorker | CancelledError)


def reason_of(error: BaseException) -> str:
    """Return why a task was lost, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}".rstrip(": ")

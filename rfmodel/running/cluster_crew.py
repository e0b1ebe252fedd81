"""The workers of a cluster: who is there, who computes as this machine does, and who has nothing to do."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from rfmodel.errors import InputError
from rfmodel.running.cluster_task import COMPARED, greet, versions

if TYPE_CHECKING:
    from distributed import Client

PREFIX = "rfmodel-"  # of the keys of our tasks, also of those of another client


class Crew:
    """The workers of a cluster, as the client sees them.

    Parameters
    ----------
    client : Client
    address : str
        Of the scheduler, for messages.
    told : callable of (line)
    threads : int, optional
        Processor threads of a run; each worker's own number where None.
    """

    def __init__(self, client: Client, address: str, told: Callable[[str], None], threads: int | None) -> None:
        self.client, self.address, self.told, self.threads = client, address, told, threads
        self.fit: dict[str, dict[str, Any]] = {}
        self.unfit: set[str] = set()
        self.processing: dict[str, Collection[str]] = {}
        self.own = versions()
        self.began = self.alone = False
        self.said: set[str] = set()

    def look(self) -> None:
        """See who is there, and greet who is new.

        Raises
        ------
        InputError
            If the scheduler is gone; or, before any run was handed out, if a worker has other versions.
        """
        self.processing = self._asked()
        for address in self.fit.keys() - self.processing.keys():
            self.told(f"worker {self.named(address)} is gone")
            del self.fit[address]
        self.unfit &= self.processing.keys()
        if new := self.processing.keys() - self.fit.keys() - self.unfit:
            self._greet(sorted(new))
        if not self.fit and not self.alone:
            self.told(f"no worker at {self.address} can take a run yet; waiting for one to join")
        self.alone = not self.fit

    def idle(self, waiting: dict[str, str]) -> list[str]:
        """Return who has no run, given the workers by the keys of the tasks that are out."""
        seen = {key for keys in self.processing.values() for key in keys}
        # The scheduler may not have heard yet of what was handed out a moment ago.
        busy = {worker for key, worker in waiting.items() if key not in seen}
        free = [w for w in self.fit if w not in busy and not any(_ours(key) for key in self.processing[w])]
        return sorted(free, key=lambda worker: len(self.processing[worker]))  # who waits for nobody else's tasks first

    def named(self, address: str) -> str:
        """Return a worker's address, with its host where that is known."""
        return f"{address} ({self.fit[address]['host']})" if address in self.fit else address

    def check(self) -> None:
        """Raise `InputError` where the scheduler is gone."""
        if self.client.status != "running":
            raise self.lost()

    def lost(self) -> InputError:
        """Return what is said where the scheduler is gone."""
        return InputError(
            f"--dask '{self.address}': the scheduler is gone; what is finished is kept, and the same command goes on "
            "with the rest once there is one"
        )

    def _asked(self) -> dict[str, Collection[str]]:
        self.check()
        try:
            return self.client.processing()
        except (OSError, TimeoutError):  # a lost connection is an OSError
            raise self.lost() from None

    def _greet(self, new: list[str]) -> None:
        try:
            answers = self.client.run(greet, workers=new, on_error="return")
        except (OSError, TimeoutError):
            raise self.lost() from None
        for address, answer in answers.items():
            if isinstance(answer, OSError):  # gone again already, or greeted at the next look
                continue
            if not (reason := self._amiss(answer)):
                self.fit[address] = answer
                self._compare(address, answer)
            elif self.began:
                self.unfit.add(address)
                self._say_once(f"worker {address} is left out: {reason}")
            else:
                raise InputError(f"--dask '{self.address}': worker {address} {reason}; install the same version there")

    def _amiss(self, answer: object) -> str:
        """Return what keeps a worker from computing as this machine does; "" where nothing does."""
        if isinstance(answer, ImportError):
            return f"cannot import rfmodel {self.own['rfmodel']} ({answer})"
        if isinstance(answer, BaseException):
            return f"does not answer ({type(answer).__name__}: {answer})"
        for name in COMPARED:
            if answer["versions"][name] != self.own[name]:
                return f"has {name} {answer['versions'][name]}, and {self.own[name]} is here"
        return ""

    def _compare(self, address: str, answer: dict[str, Any]) -> None:
        """Tell of what may change results in their last bits, and refuse nothing."""
        python = answer["versions"]["python"]
        if python != self.own["python"]:
            self._say_once(f"worker {self.named(address)} has Python {python}, and {self.own['python']} is here")
        if self.threads is None and len(counts := {one["threads"] for one in self.fit.values()}) > 1:
            self._say_once(
                f"workers have {' and '.join(map(str, sorted(counts)))} threads, and results are equal bitwise at one "
                "number only: --threads would give all the same"
            )

    def _say_once(self, line: str) -> None:
        if line not in self.said:
            self.said.add(line)
            self.told(line)


def _ours(key: object) -> bool:
    return isinstance(key, str) and key.startswith(PREFIX)

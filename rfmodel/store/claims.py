"""Claims: which process trains which run of a study, where several share its folder.

A claim is a small file, `runs/NAME.claim1`, which exactly one process can make (O_CREAT | O_EXCL, which NFS keeps too).
Its holder beats: it writes a count over the last. Who finds a claim whose holder is gone makes the next generation,
`runs/NAME.claim2`, and removes the former; so of several that find it exactly one wins, and a holder that was suspended
and wakes sees that it has lost. A holder is gone

- at once, where it was a process of this machine that has ended, or whose number another has now;
- otherwise, where its file has not changed for a lease, by the clock of the one who looks: clocks of different machines
  are never compared, so the first look tells nothing, and all who share a folder should have one lease.

A file that is torn or empty, by a kill or a full disk, is a beat that does not change.

A run may end between a look at its results and its claim. After `take` the caller therefore looks again whether the run
is finished; since its holder writes results before it gives up the claim, what is not there then is the caller's to do.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from rfmodel.errors import InputError
from rfmodel.store.holders import LENGTH, MARK, Holder, Mark, contents_of, generations, holder_of, holders
from rfmodel.store.paths import checked, claim_path
from rfmodel.store.writing import unwritable

__all__ = ["Claim", "Claims", "Holder", "holders"]

TRIES = 20  # to take a claim while others come and go; a try ends without one only where another came between


class Claim:
    """A run that this process has claimed; made by `Claims.take`."""

    def __init__(self, folder: Path, name: str, generation: int) -> None:
        self.name, self.generation = name, generation
        self._folder, self._mark = folder, Mark()
        self._path = claim_path(folder, name, generation)
        self._owner, self._beats = os.getpid(), 0
        self.ended = False  # given up by this process
        self._lock = threading.Lock()
        self._create()

    def held(self) -> bool:
        """Whether the run is still this process's: nobody took it over, as after a suspension longer than the lease."""
        content = contents_of(self._path)
        if content is None or (content and not self._mark.made(content)):
            return False
        return not any(number > self.generation for number in generations(self._folder, self.name))

    def release(self) -> None:
        """Give the run up: its claim files are removed, unless another has it by now."""
        with self._lock:
            if self.ended or os.getpid() != self._owner:  # a fork's copy holds nothing
                return
            self.ended = True
            if self.held():
                self.clear_former()
            self._remove()

    def withdraw(self) -> None:
        """Take back a claim that does not stand; what it was made upon stays."""
        with self._lock:
            self.ended = True
            self._remove()

    def beat(self) -> None:
        """Tell those who look that the holder lives."""
        with self._lock:
            if self.ended or os.getpid() != self._owner:
                return
            # Not created where it was removed, and read through the handle that is written: never another's file.
            with open(self._path, "r+b", buffering=0) as file:
                if self._mark.made(file.read(MARK)):
                    self._beats += 1
                    file.seek(0)
                    file.write(self._mark.content(self._beats))
                    os.fsync(file.fileno())

    def stands(self, former: dict[int, bytes]) -> bool:
        """Whether a claim just made counts: it is there, no higher one is, and those below are the dead that were seen.

        Parameters
        ----------
        former : dict of int to bytes
            The claim files on which it was judged that the run is free.
        """
        now = generations(self._folder, self.name)
        last = max(former, default=0)
        for number, content in now.items():
            # Of the one that was judged every byte, for it may have beaten since; of those below who made it.
            seen = former.get(number, b"none")
            same = content == seen if number == last else content[:MARK] == seen[:MARK]
            if number > self.generation or (number < self.generation and not same):
                return False
        # The last holder, clearing what lay below its own, may have removed this one with it.
        return self._mark.made(now.get(self.generation, b""))

    def clear_former(self) -> None:
        """Remove the generations below."""
        for number in generations(self._folder, self.name):
            if number < self.generation:
                with suppress(OSError):  # another user's: a lower generation counts for nothing
                    claim_path(self._folder, self.name, number).unlink(missing_ok=True)

    def _create(self) -> None:
        """Make the file, whole or not at all; FileExistsError where another was quicker."""
        try:
            file = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except OSError as error:
            if isinstance(error, FileExistsError):
                raise
            raise unwritable(self._path, error) from None
        try:
            with open(file, "wb", buffering=0) as opened:
                if opened.write(self._mark.content(0)) != LENGTH:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file)
        except BaseException as error:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise unwritable(self._path, error) from None
            raise

    def _remove(self) -> None:
        """Remove the file where it is still this claim's."""
        content = contents_of(self._path)
        if content is not None and self._mark.made(content):
            with suppress(OSError):  # a disk that turned read-only keeps it, until the process has ended
                self._path.unlink(missing_ok=True)


class Claims:
    """The claims of this process on the runs of one study; as a context manager it gives up all at its end.

    Parameters
    ----------
    folder : Path
        The study's.
    lease : float
        Seconds without a beat after which a holder counts as gone; beats come four times as often.
    clock : callable, optional
        Seconds of a clock that never goes back.

    Raises
    ------
    InputError
        If the lease is not positive.
    """

    def __init__(self, folder: Path, lease: float = 60.0, *, clock: Callable[[], float] = time.monotonic) -> None:
        if not 0 < lease < float("inf"):
            raise InputError(f"a lease of {lease} seconds is none; a positive number, as 60, would do")
        self.folder, self.lease, self._clock = Path(folder), lease, clock
        self._seen: dict[str, tuple[int, bytes, float]] = {}
        self._begin()

    def __enter__(self) -> Claims:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def take(self, name: str) -> Claim | None:
        """Claim a run. Afterwards look again whether it is finished: see the module's last paragraph.

        Parameters
        ----------
        name : str

        Returns
        -------
        Claim or None
            None where somebody has it who lives, this process included, or may live: a later call may find him gone.

        Raises
        ------
        Unwritable
            If the claim's file cannot be made.
        """
        checked(name)
        if os.getpid() != self._owner:  # a fork: the claims are its parent's
            self._begin()
        for _ in range(TRIES):
            former = generations(self.folder, name)
            if former and not self._gone(name, max(former), former[max(former)]):
                return None
            try:
                claim = Claim(self.folder, name, max(former, default=0) + 1)
            except FileExistsError:
                return None
            if claim.stands(former):
                if former:
                    claim.clear_former()
                self._keep(claim)
                return claim
            claim.withdraw()
        return None

    def holder(self, name: str) -> Holder | None:
        """Return who has a run; None where nobody has."""
        former = generations(self.folder, name)
        return holder_of(former[max(former)]) if former else None

    def close(self) -> None:
        """Give up all claims and end the beats."""
        if os.getpid() != self._owner:
            return
        self._stop.set()
        if self._thread is not None:
            self._thread.join(self.lease)
        for claim in list(self._held):
            claim.release()
        self._begin()

    def _begin(self) -> None:
        self._owner, self._held = os.getpid(), []
        self._stop, self._thread = threading.Event(), None

    def _gone(self, name: str, generation: int, content: bytes) -> bool:
        if holder_of(content).alive is False:
            return True
        now = self._clock()
        seen = self._seen.get(name)
        if seen is None or seen[:2] != (generation, content):
            self._seen[name] = (generation, content, now)
            return False
        return now - seen[2] >= self.lease

    def _keep(self, claim: Claim) -> None:
        self._held = [*(held for held in self._held if not held.ended), claim]
        self._seen.pop(claim.name, None)
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._beat, args=(self._stop,), name="claims", daemon=True)
            self._thread.start()

    def _beat(self, stop: threading.Event) -> None:
        while not stop.wait(self.lease / 4):
            for claim in list(self._held):
                with suppress(Exception):  # the next beat may succeed, and a lease forgives three
                    claim.beat()

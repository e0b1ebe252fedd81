"""Checkpoints: when a run under way is kept, where, and what it is taken up from."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from rfmodel import checkpoint_files, parallel
from rfmodel.checkpoint_files import SCHEMA, Damaged
from rfmodel.errors import InputError
from rfmodel.store.writing import write_aside

SHARE = 100  # a checkpoint by time is kept no sooner than so many times what the last one took
AT_END = 60.0  # seconds of training that are worth a checkpoint after the last epoch
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
FORM = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?(s|m|h|steps?|epochs?)")


@runtime_checkable
class Stateful(Protocol):
    """What a run's checkpoint keeps beside the training: what is gathered on the way and cannot be made again."""

    def state_dict(self) -> dict:
        """Return the state: dicts, lists, words, numbers and tensors."""

    def load_state_dict(self, state: dict) -> None:
        """Take over a state; one that does not fit is refused with InputError."""


@dataclass(frozen=True)
class Interval:
    """How far checkpoints lie apart.

    Parameters
    ----------
    amount : float
    unit : {"seconds", "steps", "epochs", "never"}
    """

    amount: float = 300.0
    unit: str = "seconds"

    def __str__(self) -> str:
        return "never" if self.unit == "never" else f"{self.amount:.10g}{' ' * (self.unit != 'seconds')}{self._short}"

    @property
    def _short(self) -> str:
        return "s" if self.unit == "seconds" else self.unit


NEVER = Interval(0.0, "never")


def interval(text: str) -> Interval:
    """Return the interval that a text says: "5m", "300s", "1h", "2 epochs", "500 steps" or "never".

    Raises
    ------
    InputError
        If it says none.
    """
    said = text.strip().lower()
    if said == "never":
        return NEVER
    if found := FORM.fullmatch(said):
        amount, unit = float(found[1]), found[2]
        if unit in UNITS and amount > 0:
            return Interval(amount * UNITS[unit])
        if unit not in UNITS and amount >= 1 and amount.is_integer():
            return Interval(amount, unit.rstrip("s") + "s")
    raise InputError(
        f"--checkpoint '{text[:100]}' is no interval; use a time as 5m or 300s, '2 epochs', '500 steps', or never"
    )


class Checkpoints:
    """The checkpoints of one run: the newest and the one before it.

    Parameters
    ----------
    path : Path
        Of the newest; the other lies beside it, as NAME.previous.
    identity : str
        The run's; see `rfmodel.runs.Run`.
    fingerprint : str
        The data's.
    every : Interval
        One by time is also no less than 100 times what keeping one took.
    told : callable of (line), optional
        Told where a damaged file gave way to the one before it.
    clock : callable
        Of seconds.

    Notes
    -----
    Processes that train together call the same methods; the first reads, decides and writes.
    """

    def __init__(
        self,
        path: Path,
        identity: str,
        fingerprint: str,
        every: Interval = Interval(),  # noqa: B008 (frozen)
        told: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path, self.previous = Path(path), Path(path).with_name(f"{Path(path).name}.previous")
        self.identity, self.fingerprint, self.every = identity, fingerprint, every
        self.told, self.clock = told, clock
        self.source = self.path  # what `latest` read
        self._last, self._took, self._epochs = clock(), 0.0, 0
        self._left_out = False

    @property
    def by_steps(self) -> bool:
        """Whether one may be due after any step, and not only where the training looks about."""
        return self.every.unit == "steps"

    def latest(self) -> dict | None:
        """Return the state of the newest checkpoint that is whole; None where there is none.

        Raises
        ------
        InputError
            If none that is there can be read, or it is another run's, of other data or of another version.
        """
        found, error = None, None
        if parallel.place() == 0:
            try:
                found = self._newest()
            except InputError as refused:
                error = refused
        found, error = parallel.first_decides((found, error))
        if error is not None:
            raise error
        self._last = self.clock()
        return found

    def _newest(self) -> dict | None:
        damaged: list[tuple[Path, str]] = []
        for path in (self.path, self.previous):
            if not os.path.lexists(path):
                continue
            try:
                found = checkpoint_files.read(path)
            except Damaged as error:
                damaged.append((path, str(error)))
                continue
            self.source = path
            self._check(found)
            if damaged and self.told is not None:
                self.told(f"checkpoint '{damaged[0][0]}' is damaged ({damaged[0][1]}); the run goes on from '{path}'")
            return found["state"]
        if damaged:
            names = " and ".join(f"'{path}'" for path, _ in damaged)
            raise InputError(
                f"checkpoint {names} cannot be read ({damaged[0][1]}); delete it, and with --retry failed the run "
                "starts anew"
            )
        return None

    def _check(self, found: dict) -> None:
        if found["schema"] != SCHEMA:
            raise self.refusal(f"has schema {found['schema']!r:.20}, and this version reads {SCHEMA}")
        if found["identity"] != self.identity:
            raise self.refusal(f"is of run {found['identity']!r:.40}, and this is run '{self.identity}'")
        if found["fingerprint"] != self.fingerprint:
            asked = self.fingerprint
            raise self.refusal(f"was made with data {found['fingerprint']!r:.40}, and these are data '{asked}'")
        made = found["versions"].get("torch") if type(found["versions"]) is dict else None
        if _major(made) != _major(torch.__version__):
            raise self.refusal(f"was made with torch {made!r:.20}, and this is torch {torch.__version__}")

    def refusal(self, why: str) -> InputError:
        """Return the error that names the file that was read, says why it will not do, and what would."""
        line = " ".join(f"checkpoint '{self.source}' {why}".split())
        return InputError(f"{line}; delete it and what lies beside it, and with --retry failed the run starts anew")

    def due(self, steps: int, epoch_ended: bool) -> bool:
        """Whether to keep one now; every process is told what the first finds.

        Parameters
        ----------
        steps : int
            Updates of the weights so far.
        epoch_ended : bool
        """
        self._epochs += epoch_ended
        if self.every.unit == "steps":
            return steps % self.every.amount == 0
        if self.every.unit == "epochs":
            return epoch_ended and self._epochs >= self.every.amount
        return self._has_passed(max(self.every.amount, SHARE * self._took))

    def due_at_end(self) -> bool:
        """Whether to keep one after the last epoch: what follows may fail, and the training has cost enough."""
        if self.every.unit in ("steps", "epochs"):
            return True
        return self._has_passed(min(self.every.amount, AT_END))

    def _has_passed(self, seconds: float) -> bool:
        if self.every.unit == "never":
            return False
        return bool(parallel.first_decides(self.clock() - self._last >= seconds))

    def leave_out(self, why: str) -> None:
        """Tell, once, why nothing is kept from now on."""
        if self.told is not None and not self._left_out:
            self.told(f"no checkpoint: {why}")
        self._left_out = True
        self._last = self.clock()

    def keep(self, state: dict) -> None:
        """Keep a state; the newest becomes the previous one only when the new one is written.

        Parameters
        ----------
        state : dict
            Of dicts, lists, words, numbers and tensors.

        Raises
        ------
        InputError
            If it cannot be written, or holds anything else; what was kept before stays.
        """
        begun = self.clock()
        if parallel.place() == 0:
            made = checkpoint_files.content(self.identity, self.fingerprint, state)
            write_aside(self.path, lambda aside: self._lay(made, aside))
        self._last, self._epochs = self.clock(), 0
        self._took = self._last - begun

    def _lay(self, made: dict, aside: Path) -> None:
        checkpoint_files.write(made, aside)
        if self.path.exists():
            os.replace(self.path, self.previous)

    def forget(self) -> None:
        """Delete what is kept: the run has ended.

        Raises
        ------
        InputError
            If it cannot be deleted.
        """
        if parallel.place():
            return
        for path in (self.path, self.previous):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise InputError(
                    f"checkpoint '{path}' cannot be deleted ({error.strerror}); delete it by hand"
                ) from None


def _major(version: object) -> str | None:
    return version.partition(".")[0] if isinstance(version, str) else None

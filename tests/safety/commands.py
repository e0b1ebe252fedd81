"""The command line within this process, and what it may end with on a file that nobody vouches for."""

from __future__ import annotations

import contextlib
import io
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from unittest import mock

import typer.main

from rfmodel import cli

HUNG = 300  # seconds after which an example counts as one that never ends


SOLVING = "rfmodel.theory_study.solve"  # where a condition of a solvable model would be computed


class Trained(BaseException):
    """Raised where a training would begin, or a condition be solved; no `except Exception` stops it."""


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code (None: it came to a training), and what it wrote."""

    code: int | None
    out: str
    err: str

    @property
    def refused(self) -> bool:
        """Whether it ended as bad input must: exit code 2 and exactly one line."""
        lines = self.err.splitlines()
        return self.code == 2 and len(lines) == 1 and lines[0].startswith("rfmodel: ")


_made = cache(typer.main.get_command)  # of the one app: a third of a command's time


def call(*words: object, beginning: str = "rfmodel.training.train") -> Ended:
    """Run `rfmodel WORDS`; what is raised but SystemExit comes through, as a traceback would.

    `beginning` names the function at which a training counts as begun.
    """
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(typer.main, "get_command", _made),
        mock.patch.object(sys, "argv", ["rfmodel", *map(str, words)]),
        mock.patch(beginning, side_effect=Trained),
        mock.patch(SOLVING, side_effect=Trained),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        _bounded(),
    ):
        try:
            cli.main()
            code: int | None = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except Trained:
            code = None
    return Ended(code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def _bounded() -> Iterator[None]:
    def over(*_: object) -> None:
        raise AssertionError(f"no end after {HUNG} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(HUNG)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)

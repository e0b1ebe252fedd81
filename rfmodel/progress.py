"""What a terminal shows while runs are trained: by study, by run, by epoch, with the time left."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from json import dumps, loads
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from rfmodel.terminal import plain

if TYPE_CHECKING:
    from rfmodel.protocols import Protocol, Run
    from rfmodel.running.outcomes import Outcome
    from rfmodel.theory_study import Solved

SILENT = 15.0  # seconds between lines where the output is no terminal
WIDE = 400  # characters: more than a file name or a history's columns take


class _Plain(Console):
    """A console that spells out what would steer the terminal, in all the text that it is given."""

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(plain(one) if isinstance(one, str) else one for one in objects), **options)

    def print_json(self, json: str | None = None, **options: Any) -> None:
        told = dumps(loads(json or "null"), ensure_ascii=False)
        options.setdefault("ensure_ascii", plain(told) != told)
        super().print_json(json, **options)


class _Words(TextColumn):
    """A column of plain text."""

    def __init__(self, text_format: str) -> None:
        super().__init__(text_format, markup=False)

    def render(self, task: Task) -> Text:
        return Text(plain(self.text_format.format(task=task)))


def plain_console() -> Console:
    """Return a console that prints text as it is: no markup, no emoji codes, no colouring of numbers.

    Characters that would steer the terminal are spelt out, as `rfmodel.terminal.plain` does.

    Where the output is no terminal it is wide, so that nothing read by another program is cut; COLUMNS overrides.
    """
    console = _Plain(markup=False, emoji=False, highlight=False)
    if not console.is_terminal and not os.environ.get("COLUMNS", "").isdigit():
        console.width = WIDE
    return console


class StudyProgress:
    """A bar for the study and one for each run under way; plain lines where the output is not a terminal.

    Parameters
    ----------
    protocol : Protocol
    folder : Path
    silent : bool
        Show nothing: another process of the same study does.
    """

    def __init__(self, protocol: Protocol, folder: Path, silent: bool = False) -> None:
        self.console = plain_console()
        self.console.quiet = silent
        self.bars = Progress(
            _Words("{task.description}"),
            BarColumn(),
            _Words("{task.fields[state]}"),
            TimeElapsedColumn(),
            _Words("left"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.total, self.done = len(protocol.runs), 0
        self.under_way: dict[str, _UnderWay] = {}
        conditions = len({run.condition for run in protocol.runs})
        self.told(f"{protocol.title}\n{self.total} runs in {conditions} conditions -> {folder}")
        self.study = self.bars.add_task("study", total=self.total, state="opening data")
        self.spoken = time.monotonic()

    def __enter__(self) -> StudyProgress:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def told(self, line: str) -> None:
        """Show a line."""
        self.console.print(plain(line))

    def started(self, run: Run, epochs: int, steps: int) -> None:
        """Show that a run begins, or begins again in another process."""
        self._drop(run)
        task = self.bars.add_task(plain(run.label), total=max(epochs, 1) * steps, state="")
        self.under_way[run.name] = _UnderWay(task, max(epochs, 1), steps)
        self._count()

    def progress(self, run: Run, epoch: int, step: int, loss: float) -> None:
        """Show a step of a run."""
        shown = self.under_way.get(run.name)
        if shown is None:  # told late, by another process
            return
        done = (epoch - 1) * shown.steps + step
        shown.share = done / (shown.epochs * shown.steps)
        state = f"epoch {epoch}/{shown.epochs}  loss {loss:.3f}"
        self.bars.update(shown.task, completed=done, state=state)
        self._count()
        if not self.console.is_terminal and time.monotonic() - self.spoken > SILENT:
            self.spoken = time.monotonic()
            self.told(f"run {self.done + 1}/{self.total}  {run.label}: {state}")

    def ended(self, outcome: Outcome) -> None:
        """Show what became of a run."""
        self._drop(outcome.run)
        self.done += 1
        self._count()
        took = f"  {outcome.seconds:.0f} s" if outcome.seconds else ""
        self.told(f"[{self.done}/{self.total}] {outcome.run.label}: {_became(outcome)}{took}")

    def _drop(self, run: Run) -> None:
        shown = self.under_way.pop(run.name, None)
        if shown is not None:
            self.bars.remove_task(shown.task)

    def _count(self) -> None:
        shares = sum(shown.share for shown in self.under_way.values())
        state = f"{self.done} of {self.total} runs"
        self.bars.update(self.study, completed=self.done + shares, state=state)


@dataclass
class _UnderWay:
    """The bar of a run, its epochs, the steps of each, and the share of them that is done."""

    task: TaskID
    epochs: int
    steps: int
    share: float = 0.0


def _became(outcome: Outcome) -> str:
    """Return a run's end in words; a run that diverged has no accuracy, whatever its last finite epoch had."""
    if outcome.state == "elsewhere":
        return "another process has it under way"
    if outcome.state == "failed":
        return f"failed before ({outcome.error})" if outcome.kept else f"failed: {outcome.error}"
    if outcome.state == "diverged":
        return "kept from before, diverged" if outcome.kept else "diverged"
    state = "kept from before" if outcome.kept else outcome.state
    return f"{state}, test accuracy {100 * outcome.accuracy:.1f} %"


class TheoryProgress:
    """A bar for the conditions of a solvable model, and a line for each that is done.

    Parameters
    ----------
    protocol : Protocol
    folder : Path
    """

    def __init__(self, protocol: Protocol, folder: Path) -> None:
        self.console = plain_console()
        self.bars = Progress(
            _Words("{task.description}"),
            BarColumn(),
            _Words("{task.fields[state]}"),
            TimeElapsedColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.total, self.done = len(protocol.runs), 0
        self.shares: dict[str, float] = {}  # of the conditions under way
        self.console.print(f"{protocol.title}\n{self.total} conditions -> {folder}")
        self.task = self.bars.add_task("conditions", total=self.total, state="")

    def __enter__(self) -> TheoryProgress:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def started(self, run: Run) -> None:
        """Show that a condition is begun."""
        self.bars.update(self.task, state=run.label)

    def progress(self, run: Run, share: float) -> None:
        """Show what share of a condition is done."""
        self.shares[run.name] = share
        self.bars.update(self.task, completed=self.done + sum(list(self.shares.values())))

    def ended(self, solved: Solved) -> None:
        """Show what a condition came to."""
        from rfmodel.theory_study import came_out

        self.done += 1
        self.shares.pop(solved.run.name, None)
        self.bars.update(self.task, completed=self.done + sum(list(self.shares.values())))
        took = "kept from before" if solved.kept else f"{solved.seconds:.1f} s"
        self.console.print(f"[{self.done}/{self.total}] {solved.run.label}: {came_out(solved.result)}, {took}")


@contextmanager
def transfer(name: str) -> Iterator[Callable[[str, int, int | None], None]]:
    """Show a download; yields the callback of (what, bytes so far, bytes in all)."""
    columns = (_Words("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=plain_console()) as bars:
        task = bars.add_task(name, total=None)
        yield lambda what, done, total: bars.update(task, description=what, completed=done, total=total)


@contextmanager
def counting(name: str) -> Iterator[Callable[[str, int, int], None]]:
    """Show how many units or images are done; yields the callback of (what, done, in all)."""
    columns = (_Words("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = plain_console()
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bars:
        task = bars.add_task(name, total=None)
        yield lambda what, done, total: bars.update(task, description=what, completed=done, total=total)


@contextmanager
def drawing(what: str = "drawing") -> Iterator[Callable[[str], None]]:
    """Show which figure of a report is being drawn, or `what` else is being done; yields the callback of (title)."""
    columns = (_Words("{task.description}"), BarColumn(), TimeElapsedColumn())
    console = plain_console()
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bars:
        task = bars.add_task("reading the study", total=None)
        yield lambda title: bars.update(task, description=f"{what}: {title}")

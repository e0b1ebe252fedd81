"""What a terminal shows while runs are trained: by study, by run, by epoch, with the time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from rfmodel.protocols import Protocol, Run
    from rfmodel.study import Outcome

SILENT = 15.0  # seconds between lines where the output is no terminal


class StudyProgress:
    """Two bars, the study's and the run's; plain lines where the output is not a terminal.

    Parameters
    ----------
    protocol : Protocol
    folder : Path
    """

    def __init__(self, protocol: Protocol, folder: Path) -> None:
        self.console = Console()
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.left = len(protocol.runs)
        self.total, self.begun, self.steps = len(protocol.runs), 0, 0
        conditions = len({run.condition for run in protocol.runs})
        self.console.print(
            f"{protocol.title}\n{self.total} runs in {conditions} conditions -> {folder}", highlight=False
        )
        self.study = self.bars.add_task("study", total=self.total, state="opening data")
        self.task = self.bars.add_task("run", total=1, state="", visible=False)
        self.spoken = time.monotonic()

    def __enter__(self) -> StudyProgress:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def started(self, run: Run, epochs: int, steps: int) -> None:
        """Show that a run begins."""
        self.epochs, self.steps = max(epochs, 1), steps
        label = f"{run.condition}, seed {run.settings.seed}"
        self.bars.reset(self.task, description=label, total=self.epochs * steps, visible=True, state="")

    def progress(self, run: Run, epoch: int, step: int, loss: float) -> None:
        """Show a step of a run."""
        done = (epoch - 1) * self.steps + step
        state = f"epoch {epoch}/{self.epochs}  loss {loss:.3f}"
        self.bars.update(self.task, completed=done, state=state)
        share = done / (self.epochs * self.steps)
        self.bars.update(
            self.study,
            completed=self.total - self.left + share,
            state=f"run {self.total - self.left + 1}/{self.total}",
        )
        if not self.console.is_terminal and time.monotonic() - self.spoken > SILENT:
            self.spoken = time.monotonic()
            where = f"{run.condition}, seed {run.settings.seed}"
            self.console.print(f"run {self.total - self.left + 1}/{self.total}  {where}: {state}", highlight=False)

    def ended(self, outcome: Outcome) -> None:
        """Show what became of a run."""
        self.left -= 1
        done = self.total - self.left
        self.bars.update(self.study, completed=done, state=f"run {min(done + 1, self.total)}/{self.total}")
        label = f"{outcome.run.condition}, seed {outcome.run.settings.seed}"
        took = f"  {outcome.seconds:.0f} s" if outcome.seconds else ""
        self.console.print(
            f"[{done}/{self.total}] {label}: {outcome.state}, test accuracy {100 * outcome.accuracy:.1f} %{took}",
            highlight=False,
            markup=False,
        )


@contextmanager
def transfer(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show a download; yields the callback of (bytes so far, bytes in all)."""
    with Progress(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()) as bars:
        task = bars.add_task(name, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)

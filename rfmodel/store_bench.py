"""Benchmark of the store: what keeping a run costs of it, and how long a study of many finished runs takes to open."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

from rfmodel import protocols, store
from rfmodel.checkpoints import Checkpoints, interval
from rfmodel.progress import StudyProgress
from rfmodel.running import one
from rfmodel.store.claims import Claim, Claims

SEEDS = 25  # of each of a large study's conditions
LARGE = """
title = "{runs} runs"
[network]
width = {width}
kernel = 3
depth = 1
hidden = 8
bottleneck = {width}
[data]
size = 8
[axes]
"train.optimiser.learning_rate" = {rates}
seed = {seeds}
"""


class Clock:
    """Seconds spent inside of functions, those called by others counted once."""

    def __init__(self) -> None:
        self.seconds, self._inside = 0.0, False

    def around(self, function: Callable) -> Callable:
        """Return a function that does the same and counts its time."""

        def timed(*args, **options):
            if self._inside:
                return function(*args, **options)
            self._inside, begun = True, time.perf_counter()
            try:
                return function(*args, **options)
            finally:
                self.seconds += time.perf_counter() - begun
                self._inside = False

        return timed


@contextmanager
def counted(clock: Clock) -> Iterator[None]:
    """Within it, all that keeps a run is timed: its claim, checkpoints, weights and results."""
    places = [
        (Claims, "take"), (Claim, "release"), (store, "save"), (store, "write_aside"), (one, "kept_weights"),
        (Checkpoints, "latest"), (Checkpoints, "due"), (Checkpoints, "keep"), (Checkpoints, "forget"),
    ]  # fmt: skip
    with ExitStack() as stack:
        for owner, name in places:
            stack.enter_context(mock.patch.object(owner, name, clock.around(getattr(owner, name)), create=True))
        yield


def bench_keeping(names: list[str], repeats: int, checkpoint: str, epochs: int | None = None) -> list[dict[str, str]]:
    """Return, by protocol, what the first run spends on being kept and shown, as a share of its time.

    Parameters
    ----------
    names : list of str
        Protocols.
    repeats : int
        Runs of each; the first is left out where there are several.
    checkpoint : str
        What lies between two checkpoints.
    epochs : int, optional
        In place of the protocol's.
    """
    rows = []
    for name in names:
        asked = [] if epochs is None else [f"train.epochs={epochs}"]
        read = protocols.load(name, asked)
        found = [_kept(read, checkpoint) for _ in range(repeats)]
        found = found[1:] or found
        shares = [100 * spent / whole for spent, whole, _ in found]
        rows.append(
            {
                "protocol": name, "run s": f"{statistics.median(whole for _, whole, _ in found):.2f}",
                "checkpoints": str(found[0][2]), "keeping, % of the run": _spread(shares), "runs": str(len(found)),
            }
        )  # fmt: skip
    return rows


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}, {max(values):.2f})"


def _kept(read: protocols.Protocol, checkpoint: str) -> tuple[float, float, int]:
    """Return the seconds spent on keeping a protocol's first run, those of the whole run, and its checkpoints."""
    run, clock, kept = read.runs[0], Clock(), []
    keep = Checkpoints.keep

    def counting(self, state):
        kept.append(1)
        return keep(self, state)

    with tempfile.TemporaryDirectory() as folder, mock.patch.object(Checkpoints, "keep", counting):
        store.prepare(Path(folder), read.text)
        context = one.Context(Path(folder), None, "cpu", interval(checkpoint))
        context.data(run)
        shown = StudyProgress(read, Path(folder), silent=True)
        with counted(clock), Claims(Path(folder)) as claims:
            begun = time.perf_counter()
            outcome = one.complete(
                run, context, claims, started=clock.around(shown.started), progress=clock.around(shown.progress)
            )
            whole = time.perf_counter() - begun
    if outcome.error:
        raise RuntimeError(outcome.error)
    return clock.seconds, whole, len(kept)


def bench_opening(runs: int, repeats: int, width: int = 4) -> list[dict[str, str]]:
    """Return how long a study of so many finished runs takes: `rfmodel run` again, `ls`, and `open_study`.

    The runs are one real run under other names, seeds and settings. Each is timed in a process of its own, imports
    included; "first" is before there are manifest and consolidated file.

    Parameters
    ----------
    runs : int
        Rounded up to full conditions of 25 seeds.
    repeats : int
    width : int
        Channels of the retina's output: two fields each of 8 x 8 pixels.
    """
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        protocol, study = folder / "large.toml", folder / "study"
        rates = [1e-3 * (i + 1) for i in range(-(-runs // SEEDS))]
        seeds = list(range(SEEDS))
        protocol.write_text(LARGE.format(runs=len(rates) * SEEDS, width=width, rates=rates, seeds=seeds))
        count = _filled(protocol, study)
        again = ["-m", "rfmodel", "run", str(protocol), "--out", str(study)]
        opened = ["-c", f"import rfmodel; rfmodel.open_study({str(study)!r})"]
        commands = {"rfmodel run": again, "rfmodel ls": ["-m", "rfmodel", "ls", str(study)], "open_study": opened}
        rows = []
        for name, command in commands.items():
            times = [_seconds(command) for _ in range(repeats + 1)]
            rows.append(
                {"runs": str(count), "what": name, "first, s": f"{times[0]:.2f}", "then, s": _spread(times[1:])}
            )
    return rows


def _filled(protocol: Path, study: Path) -> int:
    """Fill a study's folder with runs that are copies of one; return how many."""
    read = protocols.load(protocol)
    first = protocols.load(protocol, ["train.epochs=2"], ["seed=0"]).runs[0]
    context = one.Context(study, None, "cpu", interval("never"))
    _, dataset = one.execute(first, context.data(first))
    store.prepare(study, read.text)
    store.write_plan(study, [{"name": r.name, "condition": r.condition, "seed": r.settings.seed} for r in read.runs])
    for run in read.runs:
        own = {**run.coordinates, "classes": dataset.attrs["classes"], "name": run.name, "identity": run.identity}
        own |= {"position": run.position, "settings": json.dumps(run.settings.model_dump(mode="json"))}
        store.save(dataset.assign_attrs(own), store.run_path(study, run.name))
    return len(read.runs)


def _seconds(command: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun

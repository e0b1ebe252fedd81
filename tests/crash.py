"""The crash test: a study is killed over and over, gone on with, and compared with one that nobody disturbed.

    python tests/crash.py --kills 50                 # one process
    python tests/crash.py --kills 50 --runners 2     # two at once on one folder
    python tests/crash.py --kills 50 --workers 2     # one that hands runs to two, all killed together
    python tests/crash.py --kills 50 --dask          # a LocalCluster whose workers are killed

When a study ends before the kills are spent, another one is begun. Prints one line of counts, and exits with 1 if a
result differs, a run is missing, or a file is left that an undisturbed study has not.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import xarray as xr

if TYPE_CHECKING:
    from distributed import LocalCluster

STUDY = """
title = "crash"
description = "Twelve short runs."
source = "none"
[data]
name = "natural_patches"
size = 8
options = { train_per_class = 40, test_per_class = 5 }
[network]
width = 4
kernel = 3
depth = 1
hidden = 8
bottleneck = 4
[train]
epochs = 6
batch = 32
augment = { flip = true, shift = 0.1 }
[train.optimiser]
learning_rate = 1e-3
[fields]
at = [0.5, 2]
[axes]
seed = [0, 1, 2]
[[conditions]]
name = "BP"
[[conditions]]
name = "BP, narrow"
network.bottleneck = 2
[[conditions]]
name = "LDFA, r = {rank}"
rules.retina = { name = "ldfa", q = "hebbian" }
axes.rank = [2]
[[conditions]]
name = "averaged, bf16"
train.precision = "bf16"
train.average = 0.9
train.optimiser.name = "adam"
"""
RUNS = 12
OWN = {"images_per_second", "peak_memory"}  # of the machine and the hour, not of the settings
OWN_ATTRS = {"seconds", "cpu_seconds", "resumed", "commit", "hardware", "checksum", "weights_sha256"}
# Processor seconds of a cluster's worker before it may be killed: about five pass before it has loaded torch, and by a
# clock on the wall a busy machine would see all killed before that.
LIFE = 4.0, 12.0
PATIENCE = 600  # seconds after which an undisturbed end of a study is given up


@dataclass
class Tally:
    """What a crash test saw."""

    kills: int = 0
    studies: int = 0
    resumed: int = 0
    checkpoints: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        found = f"{len(self.faults)} faults" + "".join(f"\n  {fault}" for fault in self.faults)
        return (
            f"{self.kills} kills over {self.studies} studies of {RUNS} runs; runs taken up from a checkpoint "
            f"{self.resumed} times; checkpoints seen after a kill {self.checkpoints} times; {found}"
        )


def command(protocol: Path, out: Path, *more: str) -> list[str]:
    """Return the command that runs the study, with a checkpoint every 5 steps."""
    told = ["--out", str(out), "--threads", "1", "--checkpoint", "5 steps", "--device", "cpu", "--lease", "2"]
    return [sys.executable, "-m", "rfmodel", "run", str(protocol), *told, *more]


def started(asked: list[str]) -> subprocess.Popen:
    """Start a command in a process group of its own, so that it can be killed with all that it started."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(asked, start_new_session=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, **quiet)


def killed(process: subprocess.Popen) -> None:
    """Kill -9 a process and all that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()


def differences(ours: Path, undisturbed: Path) -> list[str]:
    """Return how a study differs from another: runs, results bit by bit, weights bit by bit, files."""
    theirs = {p.name for p in undisturbed.rglob("*") if p.is_file()}
    found = [f"left behind: {p.name}" for p in ours.rglob("*") if p.is_file() and p.name not in theirs]
    found += [f"failed: {p.read_text()[:300]}" for p in sorted(ours.rglob("*.failed.json"))]
    found += [f"missing: {name}" for name in sorted(theirs - {p.name for p in ours.rglob("*")})]
    for path in sorted((ours / "runs").glob("*.nc")):
        twin = undisturbed / "runs" / path.name
        if twin.is_file():
            found += [f"{path.stem}: {what}" for what in _differing(path, twin)]
    return found


def _differing(path: Path, twin: Path) -> Iterator[str]:
    with xr.open_dataset(path, engine="h5netcdf") as a, xr.open_dataset(twin, engine="h5netcdf") as b:
        if set(a.variables) != set(b.variables):
            yield f"variables {set(a.variables) ^ set(b.variables)}"
        for name in sorted((set(a.variables) & set(b.variables)) - OWN):
            x, y = a[name].values, b[name].values
            # Equal bytes for numbers: NaN is itself, and 0 is not -0.
            same = x.shape == y.shape and (x.tobytes() == y.tobytes() if x.dtype != object else (x == y).all())
            if not same or x.dtype != y.dtype:
                yield name
        for key in sorted((set(a.attrs) | set(b.attrs)) - OWN_ATTRS):
            if not np.array_equal(a.attrs.get(key), b.attrs.get(key)) and a.attrs.get(key) == a.attrs.get(key):
                yield f"attribute {key}"
    x, y = (torch.load(p.with_suffix(".pt"), weights_only=True) for p in (path, twin))
    if set(x) != set(y) or any(x[k].numpy(force=True).tobytes() != y[k].numpy(force=True).tobytes() for k in x):
        yield "weights"


def taken_up(folder: Path) -> int:
    """Return how often runs of a finished study went on from a checkpoint."""
    total = 0
    for path in (folder / "runs").glob("*.nc"):
        with xr.open_dataset(path, engine="h5netcdf") as run:
            total += int(run.attrs["resumed"])
    return total


def disturbed(
    protocol: Path, out: Path, tally: Tally, kills: int, chance: random.Random, runners: int, more: tuple[str, ...]
) -> None:
    """Run one study to its end with `runners` processes at once, of which one is killed at a time."""
    processes = [started(command(protocol, out, *more)) for _ in range(runners)]
    begun = time.monotonic()
    while any(process.poll() is None for process in processes):
        if tally.kills >= kills:
            if time.monotonic() - begun > PATIENCE:
                tally.faults.append("the study did not end")
                break
            time.sleep(0.2)
            continue
        time.sleep(chance.uniform(1.5, 7.0))
        begun = time.monotonic()
        place = chance.randrange(runners)
        if processes[place].poll() is None:
            killed(processes[place])
            tally.kills += 1
            tally.checkpoints += bool(list((out / "runs").glob("*.checkpoint")))
            processes[place] = started(command(protocol, out, *more))
    for process in processes:
        if process.poll() != 0:
            tally.faults.append(f"exit code {process.poll()}: {process.stderr.read()[-300:]}")
        killed(process)


@contextmanager
def cluster(workers: int = 2) -> Iterator[LocalCluster]:
    """Start a cluster of processes here, which starts another for each that dies, however long that takes."""
    import dask
    from distributed import LocalCluster

    asked = {"n_workers": workers, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "1h"}), LocalCluster(**asked) as made:
        yield made


def disturbed_cluster(protocol: Path, out: Path, tally: Tally, kills: int, chance: random.Random) -> None:
    """Run one study on a cluster, one of whose workers is killed at a time."""
    with cluster() as made:
        process = started(command(protocol, out, "--dask", made.scheduler_address))
        begun, life = time.monotonic(), chance.uniform(*LIFE)
        while process.poll() is None and time.monotonic() - begun < PATIENCE:
            time.sleep(0.2)
            old = [pid for pid in living(made) if processor_seconds(pid) >= life]
            if old and tally.kills < kills:
                os.kill(chance.choice(old), signal.SIGKILL)
                tally.kills += 1
                tally.checkpoints += bool(list((out / "runs").glob("*.checkpoint")))
                begun, life = time.monotonic(), chance.uniform(*LIFE)
        if process.poll() != 0:
            said = "it did not end" if process.poll() is None else process.stderr.read()[-300:]
            tally.faults.append(f"exit code {process.poll()}: {said}")
        killed(process)


def living(made: LocalCluster) -> list[int]:
    """Return the processes of the workers that have joined; one that dies before is given up by a LocalCluster."""
    nannies = [nanny for nanny in made.workers.values() if nanny.worker_address in made.scheduler.workers]
    return [nanny.pid for nanny in nannies if nanny.pid]


def processor_seconds(pid: int) -> float:
    """Return how much a process has computed; none where it is gone."""
    import psutil

    try:
        spent = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return spent.user + spent.system


def crash_test(kills: int, *, runners: int = 1, workers: int = 1, dask: bool = False, seed: int = 0) -> Tally:
    """Return what was seen while studies were killed so often."""
    tally, chance = Tally(), random.Random(seed)
    folder = Path(tempfile.mkdtemp(prefix="rfmodel-crash-"))
    try:
        protocol = folder / "crash.toml"
        protocol.write_text(STUDY, encoding="utf-8")
        plain = started(command(protocol, folder / "undisturbed"))
        if plain.wait() != 0:
            raise RuntimeError(plain.stderr.read())
        plain.stderr.close()
        while tally.kills < kills and not tally.faults:
            out = folder / f"study{tally.studies}"
            if dask:
                disturbed_cluster(protocol, out, tally, kills, chance)
            else:
                more = ("--workers", str(workers)) if workers > 1 else ()
                # As many threads as workers, so that each has one, as the undisturbed study had.
                more += ("--threads", str(workers)) if workers > 1 else ()
                disturbed(protocol, out, tally, kills, chance, runners, more)
            tally.studies += 1
            tally.faults += differences(out, folder / "undisturbed")
            tally.resumed += taken_up(out)
    finally:
        shutil.rmtree(folder)
    return tally


def main() -> None:
    """Run the test as the command line asks."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--kills", type=int, default=50)
    asked.add_argument("--runners", type=int, default=1)
    asked.add_argument("--workers", type=int, default=1)
    asked.add_argument("--dask", action="store_true")
    asked.add_argument("--seed", type=int, default=0)
    given = asked.parse_args()
    tally = crash_test(given.kills, runners=given.runners, workers=given.workers, dask=given.dask, seed=given.seed)
    print(json.dumps(vars(given)), tally, sep="\n")
    sys.exit(bool(tally.faults))


if __name__ == "__main__":
    main()

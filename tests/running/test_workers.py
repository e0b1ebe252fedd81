"""Workers: real processes that train; what they keep is what one process keeps, and none outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
import xarray as xr

from rfmodel import protocols, store
from rfmodel.checkpoints import interval
from rfmodel.running.one import Context, complete
from rfmodel.running.workers import run_in_workers
from rfmodel.store.claims import Claims
from rfmodel.store.failures import failures

LIMIT = 120  # seconds after which what should have happened has not
MEASURED = ("images_per_second", "peak_memory")  # what is of the machine, and of the hour
OF_THE_HOUR = {"seconds", "cpu_seconds", "wall_seconds", "checksum"}

PROTOCOL = """
[data]
name = "natural_patches"
size = 8
options = { train_per_class = 20, test_per_class = 5 }
[network]
width = 4
kernel = 3
depth = 1
hidden = 8
bottleneck = 4
[train]
epochs = 1
batch = 32
augment = { flip = true, shift = 0.1 }
[fields]
layers = []
"""
STUDY = """
[[conditions]]
name = "killed"
train.epochs = 30
train.optimiser = { learning_rate = 1e-3 }
[[conditions]]
name = "loud"
rules."retina.conv2" = "my_rules.py:loud"
fields = { layers = ["retina.conv1"] }
[[conditions]]
name = "deadly"
rules."retina.conv2" = "my_rules.py:deadly"
[[conditions]]
name = "wrong"
rules."retina.conv2" = "my_rules.py:wrong"
"""
RULES = """
import os
import sys

from rfmodel.routing import Fixed, Rule, layerwise

def loud():
    print('{"event": "ended"}', flush=True)
    os.write(1, b"no line")
    print("and a warning", file=sys.stderr, flush=True)
    return Rule("loud", layerwise, lambda plan: Fixed(plan.geometry, plan.std, plan.generator))

def deadly():
    os.kill(os.getpid(), 9)

def wrong():
    raise RuntimeError("no such luck")
"""
LONG = """
[[conditions]]
name = "short"
[[conditions]]
name = "long"
train.epochs = 1000000
[[conditions]]
name = "longer"
train.epochs = 2000000
"""
PARENT = """
import sys
from pathlib import Path
from rfmodel import protocols
from rfmodel.running import crew
from rfmodel.running.workers import run_in_workers
crew.GRACE = 100.0  # a busy machine is no worker that does not listen
runs = protocols.load(sys.argv[1]).runs
try:
    run_in_workers(runs, Path(sys.argv[2]), workers=int(sys.argv[3]), threads=2, every="20 steps")
except KeyboardInterrupt:
    sys.exit(130)
"""


def study_in(folder, text, rules=""):
    (folder / "p.toml").write_text(PROTOCOL + text)
    (folder / "my_rules.py").write_text(rules)
    read = protocols.load(folder / "p.toml", allow_code=True)
    for out in ("workers", "alone"):
        store.prepare(folder / out, read.text, read.rule_files)
    return {run.condition: run for run in read.runs}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study run by two workers, one of which is killed in the middle of a run."""
    folder = tmp_path_factory.mktemp("study")
    runs = study_in(folder, STUDY, RULES)
    told, started, killed = [], [], []

    def kill_once(run, *_):
        if run.condition == "killed" and not killed:
            killed.append(Claims(folder / "workers").holder(run.name).pid)
            os.kill(killed[0], signal.SIGKILL)

    found = run_in_workers(
        list(runs.values()),
        folder / "workers",
        workers=2,
        threads=2 * torch.get_num_threads(),
        every="20 steps",
        told=told.append,
        started=lambda run, epochs, steps: started.append((run.condition, epochs, steps)),
        progress=kill_once,
    )
    return folder, runs, {outcome.run.condition: outcome for outcome in found}, told, started


def test_a_run_whose_worker_is_killed_under_way_is_done_in_the_end(study):
    _, _, outcomes, told, started = study
    assert outcomes["killed"].state == "done"
    assert started.count(("killed", 30, 7)) == 2
    assert sum(line.startswith("killed, seed 0: its worker was killed by") for line in told) == 1


def test_what_workers_keep_is_bitwise_what_one_process_keeps(study):
    folder, runs, outcomes, _, _ = study
    context = Context(folder / "alone", None, "cpu", interval("never"))
    with Claims(folder / "alone") as claims:
        for name in ("killed", "loud"):
            outcome = complete(runs[name], context, claims)
            assert (outcome.state, outcome.accuracy) == (outcomes[name].state, outcomes[name].accuracy)
            one, other = (xr.load_dataset(store.run_path(folder / f, runs[name].name)) for f in ("alone", "workers"))
            assert {key for key in one.attrs if repr(one.attrs[key]) != repr(other.attrs[key])} <= OF_THE_HOUR
            one, other = (made.drop_vars(MEASURED).drop_attrs() for made in (one, other))
            assert one.identical(other)
            weights = [torch.load(store.weights_path(folder / f, runs[name].name)) for f in ("alone", "workers")]
            assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0] | weights[1])


def test_a_run_over_which_two_workers_die_has_failed(study):
    folder, runs, outcomes, told, _ = study
    assert outcomes["deadly"].state == "failed"
    kept = failures(folder / "workers")[runs["deadly"].name]
    assert "its worker was killed by" in kept.error
    assert "the second to die over this run" in kept.error
    assert kept.attempts == 2
    assert sum(line.startswith("deadly") for line in told) == 1


def test_what_a_users_rule_raises_is_a_failure_and_no_death(study):
    _, _, outcomes, told, _ = study
    assert outcomes["wrong"].state == "failed"
    assert "no such luck" in outcomes["wrong"].error
    assert not [line for line in told if line.startswith("wrong")]


def test_what_a_rule_prints_disturbs_nothing(study):
    assert study[2]["loud"].state == "done"


def test_no_claim_checkpoint_or_worker_is_left(study):
    folder = study[0] / "workers" / "runs"
    assert not [path.name for path in folder.iterdir() if "claim" in path.name or "checkpoint" in path.name]
    assert not [path for path in folder.iterdir() if path.suffix == ".part"]


def until(true):
    end = time.monotonic() + LIMIT
    while not (found := true()):
        assert time.monotonic() < end, "it has not happened"
        time.sleep(0.05)
    return found


def runs_on(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def parent(tmp_path, request):
    """A parent whose workers are in the middle of a run each; yields it, their pids, the study and its runs."""
    runs = study_in(tmp_path, LONG)
    folder, long = tmp_path / "workers", ["long", "longer"][: request.param]
    command = [sys.executable, "-c", PARENT, str(tmp_path / "p.toml"), str(folder), str(request.param)]
    started = subprocess.Popen(command, start_new_session=True)
    claims = Claims(folder)
    try:
        until(lambda: all(store.checkpoint_path(folder, runs[name].name).exists() for name in long))
        yield started, [claims.holder(runs[name].name).pid for name in long], folder, runs
    finally:
        started.kill()
        started.wait()


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="processes are looked for in /proc")
@pytest.mark.parametrize(("parent", "how"), [(2, "Ctrl-C"), (1, "SIGKILL")], indirect=["parent"])
def test_no_worker_outlives_its_parent(parent, how):
    process, pids, folder, runs = parent
    assert all(runs_on(pid) for pid in pids)
    if how == "Ctrl-C":  # which a terminal sends to the whole group
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.kill()
    assert process.wait(LIMIT) == (130 if how == "Ctrl-C" else -signal.SIGKILL)
    until(lambda: not any(runs_on(pid) for pid in pids))
    assert store.finished(folder, runs["short"].name)
    if how == "Ctrl-C":
        assert not list((folder / "runs").glob("*.claim*"))
    with Claims(folder) as claims:  # whatever they left is free at once
        assert claims.take(runs["long"].name) is not None

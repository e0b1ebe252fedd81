"""A disk that fails at any operation of a study: one line that names the path, and nothing finished is lost."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil

import pytest
from crash import differences
from faults import CODES, faulty_run
from studies import TINY

from rfmodel import protocols, store

PRELOADED = [  # what a study imports, and what torch does when it is first used
    "rfmodel.study", "rfmodel.store.consolidated", "torch._dynamo", "torch._refs", "torch._meta_registrations",
    "torch.utils.flop_counter", "skimage.io", "faults",
]  # fmt: skip
pytestmark = pytest.mark.skipif(os.name != "posix", reason="processes are forked")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A server of processes that have rfmodel imported, a protocol of two runs, and its study on a sound disk."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(PRELOADED)
    folder = tmp_path_factory.mktemp("faults")
    text = TINY.replace("seed = [0, 1]", "seed = [0]").replace("epochs = 2", "epochs = 1")
    text = text[: text.index('[[conditions]]\nname = "LDFA')].replace("[axes]", "[fields]\nlayers = []\n[axes]")
    (folder / "tiny.toml").write_text(text)
    found = ended(processes, folder, "sound", -1, 0, False)
    assert [state for state, _ in found["states"]] == ["done", "done"]
    return processes, folder, found["count"]


def ended(processes, folder, name, first, code, stays):
    told = folder / f"{name}.json"
    process = processes.Process(
        target=faulty_run, args=(str(folder / "tiny.toml"), str(folder / name), str(told), first, code, stays)
    )
    process.start()
    process.join(120)
    assert process.exitcode == 0
    found = json.loads(told.read_text())
    told.unlink()
    return found


def tried(place, first, kind, stays):
    """A study whose disk fails says so in a line with the path, and loses nothing; on a sound disk it then ends."""
    processes, folder, _ = place
    name = f"{first}-{kind}-{stays}"
    found = ended(processes, folder, name, first, CODES[kind], stays)
    finished = {path.stem for path in (folder / name / "runs").glob("*.nc")}
    for path in (folder / name / "runs").glob("*.nc"):
        store.load_run(path)
    if found["error"]:
        assert str(folder / name) in found["error"] and "\n" not in found["error"]
    else:  # what could not be removed or kept besides is made up for later
        assert [state for state, _ in found["states"]] == ["done", "done"]
        assert len(finished) == 2
    before = {run: (folder / name / "runs" / f"{run}.nc").stat().st_mtime_ns for run in finished}
    again = ended(processes, folder, name, -1, 0, False)
    assert [state for state, _ in again["states"]] == ["done", "done"]
    assert before == {run: (folder / name / "runs" / f"{run}.nc").stat().st_mtime_ns for run in finished}
    assert differences(folder / name, folder / "sound") == []
    shutil.rmtree(folder / name)
    return found


@pytest.mark.parametrize(("kind", "stays"), [("full", True), ("read-only", True), ("broken", False)])
def test_a_disk_that_fails_costs_nothing_that_was_finished(place, kind, stays):
    begin = list(CODES).index(kind)
    errors = [tried(place, first, kind, stays)["error"] for first in range(begin, place[2], max(1, place[2] // 4))]
    assert any("cannot be written" in error for error in errors)


@pytest.mark.slow
@pytest.mark.parametrize("kind", CODES)
@pytest.mark.parametrize("stays", [True, False])
def test_a_disk_may_fail_at_any_operation(place, kind, stays):
    for first in range(place[2]):
        tried(place, first, kind, stays)


def test_the_counted_operations_are_those_of_every_file(place):
    runs = protocols.load(place[1] / "tiny.toml").runs
    # Of each run: claim, checkpoint, weights, results, each made, flushed and renamed; beside them the study's own.
    assert place[2] > 10 * len(runs)

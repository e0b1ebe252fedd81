"""A crew: what becomes of runs whose workers die, stop, or find their GPU full. The workers only pretend."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
from pathlib import Path

import pytest

from rfmodel import store
from rfmodel.errors import InputError
from rfmodel.running import child, crew, workers
from rfmodel.running.allotment import GIB
from rfmodel.running.workers import run_in_workers
from rfmodel.runs import Run
from rfmodel.settings import Settings
from rfmodel.store.failures import failures
from rfmodel.store.writing import Unwritable

GPUS = [(70 * GIB, 80 * GIB)] * 2


@pytest.fixture
def play(tmp_path, monkeypatch):
    """Run conditions by workers that do what a script says of each; return the outcomes and what was told."""
    monkeypatch.setattr(child, "COMMAND", ("-S", str(Path(__file__).parent / "pretender.py")))
    monkeypatch.setattr(workers, "gpus_here", lambda: GPUS)
    (tmp_path / "runs").mkdir()

    def make(script, count=2, device="cpu", **options):
        script = {"beginnings": [], **script}
        (tmp_path / "script.json").write_text(json.dumps(script))
        names = [name for name in script if name != "beginnings"]
        runs = [Run(name, Settings(seed=i), {}, i) for i, name in enumerate(names)]
        told = []
        given = {"workers": count, "device": device, "threads": 2, "told": told.append}
        outcomes = run_in_workers(runs, tmp_path, **given, **options)
        assert [o.run for o in outcomes] == runs
        return {o.run.condition: o for o in outcomes}, told

    yield make
    assert not [pid for pid, *_ in log(tmp_path) if alive(pid)]


def log(folder):
    path = folder / "log"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def alive(pid):
    return os.path.exists(f"/proc/{pid}")


def test_every_run_is_done_once_and_shown_as_it_goes(play, tmp_path):
    shown = []
    outcomes, told = play(
        {"a": ["done"], "b": ["done"], "c": ["diverged"]},
        started=lambda run, epochs, steps: shown.append(("started", run.condition, epochs, steps)),
        progress=lambda run, epoch, step, loss: shown.append(("step", run.condition, epoch, step, math.isnan(loss))),
        ended=lambda outcome: shown.append(("ended", outcome.run.condition, outcome.state)),
    )
    assert {name: o.state for name, o in outcomes.items()} == {"a": "done", "b": "done", "c": "diverged"}
    assert (outcomes["a"].accuracy, outcomes["a"].seconds) == (0.5, 1.0)
    assert [line for line in shown if line[1] == "a"] == [
        ("started", "a", 2, 3), ("step", "a", 1, 2, True), ("ended", "a", "done"),
    ]  # fmt: skip
    assert told == ["a damaged checkpoint gave way"] * 2
    assert len(log(tmp_path)) == 3


def test_no_more_workers_are_started_than_there_are_runs(play, tmp_path):
    play({"a": ["done"], "b": ["done"]}, count=7)
    assert len(list(tmp_path.glob("born-*"))) == 2


def test_no_runs_start_no_worker(play, tmp_path):
    assert play({}) == ({}, [])
    assert not list(tmp_path.glob("born-*"))


def test_a_killed_workers_run_is_tried_once_more_alone_when_the_others_are_done(play, tmp_path):
    outcomes, told = play({"a": ["kill", "done"], "b": ["done"], "c": ["done"], "d": ["done"]})
    assert {o.state for o in outcomes.values()} == {"done"}
    rows = [(name, attempt) for _, _, name, attempt in log(tmp_path)]
    assert rows[-1] == ("a", 2)
    assert sorted(rows) == [("a", 1), ("a", 2), ("b", 1), ("c", 1), ("d", 1)]
    assert [line for line in told if line.startswith("a, seed 0: its worker was killed by signal 9 (out of memory?)")]


def test_a_killing_that_the_system_counted_is_told_as_one_of_want_of_memory(play, monkeypatch):
    counts = iter([3, 4, 4])  # at the beginning, and after each death
    monkeypatch.setattr(crew, "killings", lambda: next(counts))
    _, told = play({"a": ["kill", "kill"], "b": ["done"]})
    assert any("a, seed 0: its worker was killed by the system, out of memory; once more" in line for line in told)


def test_a_second_death_is_a_failure_and_the_others_go_on(play, tmp_path):
    outcomes, _ = play({"a": ["kill", "kill"], "b": ["done"], "c": ["abort", "abort"], "d": ["done"], "e": ["done"]})
    assert {name: o.state for name, o in outcomes.items()} == {
        "a": "failed", "b": "done", "c": "failed", "d": "done", "e": "done",
    }  # fmt: skip
    kept = {one.condition: one for one in failures(tmp_path).values()}
    assert set(kept) == {"a", "c"}
    assert kept["a"].error == "its worker was killed by signal 9 (out of memory?), the second to die over this run"
    assert "killed by signal 15 (SIGTERM): last words of a worker" in outcomes["c"].error
    assert {one.attempts for one in kept.values()} == {2}
    assert not list((tmp_path / "runs").glob("*.claim*"))


def test_a_worker_that_ends_by_itself_is_a_death_told_with_its_last_line(play, tmp_path):
    outcomes, told = play({"a": ["exit", "done"], "b": ["done"]})
    assert outcomes["a"].state == "done"
    assert [line for line in told if line.startswith("a, seed 0: its worker ended with code 1: ValueError: nobody")]


def test_a_run_that_had_failed_before_goes_on_counting(play, tmp_path):
    name = Run("a", Settings(seed=0), {}, 0).name
    play({"a": ["done"]}, attempts={name: 3})
    assert [attempt for *_, attempt in log(tmp_path)] == [4]


def test_a_run_whose_shared_gpu_was_full_is_tried_once_more_alone(play, tmp_path):
    outcomes, told = play({"a": ["full", "done"], "b": ["full", "full"], "c": ["done"]}, count=3, device="cuda:0")
    assert {name: o.state for name, o in outcomes.items()} == {"a": "done", "b": "failed", "c": "done"}
    assert sum("the GPU that it shared was full (OutOfMemoryError" in line for line in told) == 2
    pids = {pid for pid, *_, attempt in log(tmp_path) if attempt == 2}
    assert len(pids) == 1


def test_each_gpu_tries_alone_what_did_not_fit(play, tmp_path):
    names = "abcd"
    outcomes, _ = play({name: ["full", "done"] for name in names}, 4, "cuda")
    assert {o.state for o in outcomes.values()} == {"done"}
    alone = [(device, pid) for pid, device, _, attempt in log(tmp_path) if attempt == 2]
    assert len(alone) == len(names)
    assert len(set(alone)) == len({device for device, _ in alone}) <= 2


def test_a_run_that_had_its_gpu_alone_is_not_tried_again(play, tmp_path):
    outcomes, _ = play({"a": ["full"], "b": ["done"]}, count=2, device="cuda")
    assert outcomes["a"].state == "failed"
    assert len(log(tmp_path)) == 2


def test_after_a_cuda_error_a_new_process_goes_on(play, tmp_path):
    outcomes, _ = play({"a": ["poisoned"], "b": ["done"]}, count=1, device="cuda:0")
    assert [o.state for o in outcomes.values()] == ["failed", "done"]
    assert len({pid for pid, *_ in log(tmp_path)}) == 2


def test_a_run_that_another_process_has_is_asked_for_until_it_is_done(play, tmp_path):
    outcomes, told = play({"a": ["elsewhere", "elsewhere", "done"], "b": ["done"]})
    assert outcomes["a"].state == "done"
    assert [(name, attempt) for _, _, name, attempt in log(tmp_path)][-2:] == [("a", 1)] * 2
    assert told.count("a, seed 0: another process has it under way") == 1


def test_a_run_that_another_process_has_is_left_to_it_where_nobody_waits(play, tmp_path):
    outcomes, _ = play({"a": ["elsewhere"], "b": ["done"]}, wait=False)
    assert {name: o.state for name, o in outcomes.items()} == {"a": "elsewhere", "b": "done"}
    assert len(log(tmp_path)) == 2


@pytest.mark.parametrize(("action", "kind"), [("unwritable", Unwritable), ("damaged", InputError)])
def test_what_stops_a_study_ends_all_workers_and_is_raised_as_it_was(play, tmp_path, action, kind):
    told = {"unwritable": "'runs/x' cannot be written: the disk is full", "damaged": "run file 'runs/x.nc' is damaged"}
    with pytest.raises(InputError, match=told[action]) as found:
        play({"a": [action], "b": ["done"], "c": ["done"], "d": ["done"]})
    assert type(found.value) is kind


def test_workers_that_do_not_listen_are_killed_after_a_grace(play, tmp_path, monkeypatch):
    monkeypatch.setattr(crew, "GRACE", 0.2)
    with pytest.raises(Unwritable, match="the disk is full"):
        play({"a": ["stubborn"], "b": ["elsewhere", "elsewhere", "unwritable"]})
    assert "stubborn" in {name for _, _, name, _ in log(tmp_path)}


def test_ctrl_c_ends_all_workers_and_goes_on_up(play, tmp_path):
    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play({"a": ["done"], "b": ["done"]}, ended=interrupt)


def test_the_signal_of_a_batch_system_ends_a_study_as_ctrl_c_does(play):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        play({"a": ["done"], "b": ["done"]}, ended=lambda _: os.kill(os.getpid(), signal.SIGTERM))
    assert signal.getsignal(signal.SIGTERM) is before is signal.SIG_DFL


def test_workers_that_cannot_start_are_told_in_one_line_and_not_started_again(play, tmp_path):
    with pytest.raises(
        InputError, match="a worker cannot start: it ended with code 1: ImportError: No module"
    ) as found:
        play({"beginnings": ["exit", "exit"], "a": ["done"], "b": ["done"]})
    assert "\n" not in str(found.value)
    assert len(list(tmp_path.glob("born-*"))) <= 2


def test_for_a_worker_that_was_killed_as_it_started_another_is_started(play):
    outcomes, told = play({"beginnings": ["kill", "kill"], "a": ["done"]}, count=1)
    assert outcomes["a"].state == "done"
    assert told[:2] == [
        "a worker could not start: it was killed by signal 9 (out of memory?); another is started"
    ] * 2  # fmt: skip


def test_the_study_goes_on_with_the_workers_that_the_system_lets_start(play, monkeypatch):
    monkeypatch.setattr(crew, "STARTS", 1)
    outcomes, told = play({"beginnings": ["kill"], "a": ["elsewhere", "done"], "b": ["done"]})
    assert {o.state for o in outcomes.values()} == {"done"}
    assert "a worker could not start: it was killed by signal 9 (out of memory?); the study goes on with 1" in told


def test_where_the_system_lets_none_start_the_study_stops(play, tmp_path):
    with pytest.raises(InputError, match="a worker cannot start: it was killed by signal 9"):
        play({"beginnings": ["kill"] * 9, "a": ["done"]}, count=1)
    assert len(list(tmp_path.glob("born-*"))) == crew.STARTS


def test_a_python_that_is_not_there_is_told_in_one_line(play, monkeypatch):
    monkeypatch.setattr(child.sys, "executable", "/nowhere/python")
    with pytest.raises(InputError, match="a worker cannot be started: No such file or directory; use fewer --workers"):
        play({"a": ["done"]})


@pytest.mark.parametrize("first", [0, 1, 2, 3])
def test_a_system_that_gives_no_more_pipes_is_told_in_one_line_and_keeps_none_open(play, monkeypatch, first):
    pipe, made = os.pipe, []

    def scarce():
        if len(made) == first:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        made.append(pipe())
        return made[-1]

    monkeypatch.setattr(child.os, "pipe", scarce)
    with pytest.raises(InputError, match="a worker cannot be started: Too many open files; use fewer --workers"):
        play({"a": ["done"], "b": ["done"]})
    for descriptor in (end for both in made for end in both):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


def test_a_number_of_workers_that_is_none_is_refused(tmp_path):
    with pytest.raises(InputError, match="--workers 0 is no number of processes; use 1 or more"):
        run_in_workers([], tmp_path, workers=0)


def test_workers_within_processes_of_one_run_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="--workers 2 within 2 processes of torchrun; use one or the other"):
        run_in_workers([], tmp_path, workers=2)


def test_a_run_that_ended_as_its_worker_died_is_kept(play, tmp_path):
    name = Run("a", Settings(seed=0), {}, 0).name
    store.run_path(tmp_path, name).touch()
    outcomes, _ = play({"a": ["exit", "exit", "done"], "b": ["done"]})
    assert outcomes["a"].state == "done"
    assert not failures(tmp_path)


def test_the_environment_of_a_worker_has_its_threads_and_the_parents_imports(monkeypatch):
    monkeypatch.setattr(child.sys, "path", ["", "/one", "/two"])
    made = child._environment(3)
    assert (made["OMP_NUM_THREADS"], made["MKL_NUM_THREADS"]) == ("3", "3")
    assert made["PYTHONPATH"].split(os.pathsep) == [os.getcwd(), "/one", "/two"]


def test_killings_are_counted_once_each(monkeypatch):
    counts = iter([0, 2, 2, 2, None])
    monkeypatch.setattr(crew, "killings", lambda: next(counts))
    made = crew.Crew(crew.Study(Path("x"), None, "5m", 60.0, 1))
    assert [made._starved() for _ in range(4)] == [True, True, False, False]

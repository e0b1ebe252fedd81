"""Allotment, turns and deaths: who computes where, who is next, and why a process ended."""

from __future__ import annotations

import pytest
from studies import TINY

from rfmodel import protocols
from rfmodel.errors import InputError
from rfmodel.running import allotment
from rfmodel.running.allotment import GIB, allotted, alone, divided, fits_alone, gpus_here
from rfmodel.running.deaths import cause, killings
from rfmodel.running.turns import Turn, Turns

FULL = "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"


def gpus(*free):
    return [(int(f * GIB), 80 * GIB) for f in free]


@pytest.mark.parametrize(("threads", "workers", "each"), [(8, 2, 4), (8, 3, 2), (2, 2, 1), (2, 8, 1), (1, 1, 1)])
def test_threads_are_divided_and_nobody_has_none(threads, workers, each):
    assert divided(threads, workers) == each


@pytest.mark.parametrize(
    ("device", "workers", "free", "found"),
    [
        ("cpu", 3, (), ["cpu"] * 3),
        ("mps", 2, (), ["mps"] * 2),
        ("cuda", 2, (70, 70), ["cuda:0", "cuda:1"]),
        ("cuda", 3, (70, 70), ["cuda:0", "cuda:1", "cuda:0"]),
        ("cuda", 1, (70, 70), ["cuda:0"]),
        ("cuda:1", 2, (70, 70), ["cuda:1", "cuda:1"]),
        ("cuda", 3, (3, 70), ["cuda:0", "cuda:1", "cuda:1"]),  # a second one has no room on the first
        ("cuda", 2, (1, 70), ["cuda:1", "cuda:1"]),  # nor has any
        ("cuda", 1, (1,), ["cuda:0"]),  # one worker has what there is, as without workers
    ],
)
def test_each_worker_has_a_gpu_or_shares_one_where_there_is_room(device, workers, free, found):
    assert allotted(device, workers, gpus(*free)) == found


def test_more_workers_than_there_is_room_for_are_refused_with_how_many_would_do():
    told = r"--workers 9 on --device 'cuda' need 2 GiB .* free are cuda:0 5.0 GiB, cuda:1 3.5 GiB; use --workers 3"
    with pytest.raises(InputError, match=told):
        allotted("cuda", 9, gpus(5, 3.5))
    assert len(allotted("cuda", 3, gpus(5, 3.5))) == 3
    with pytest.raises(InputError, match=r"free are cuda:0 0.5 GiB; use --workers 1"):
        allotted("cuda:0", 2, gpus(0.5))


@pytest.mark.parametrize(("device", "free"), [("cuda", ()), ("cuda:2", (70, 70)), ("cuda:x", (70,))])
def test_a_gpu_that_is_not_there_is_refused(device, free):
    with pytest.raises(InputError, match=f"--device '{device}': {len(free)} GPUs are here; use a GPU that is there"):
        allotted(device, 1, gpus(*free))


def test_gpus_are_looked_at_by_a_process_of_its_own(tmp_path, monkeypatch):
    python = tmp_path / "python"
    monkeypatch.setattr(allotment.sys, "executable", str(python))
    for text in ("echo a library says so; echo '[[5, 10], [7, 10]]'", "echo no driver >&2; exit 1", "exit 3"):
        python.write_text(f"#!/bin/sh\n{text}\n")
        python.chmod(0o700)
        if text.startswith("echo a"):
            assert gpus_here() == [(5, 10), (7, 10)]
        else:
            said = "no driver" if "driver" in text else "nothing said"
            with pytest.raises(InputError, match=rf"the GPUs cannot be looked at \({said}\); use --device cpu"):
                gpus_here()


@pytest.mark.parametrize(
    ("error", "device", "devices", "fits"),
    [
        (FULL, "cuda:0", ["cuda:0", "cuda:0"], True),
        ("RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED", "cuda:1", ["cuda:1", "cuda:0", "cuda:1"], True),
        (FULL, "cuda:0", ["cuda:0", "cuda:1"], False),  # it had the GPU alone
        (FULL, "cpu", ["cpu", "cpu"], False),
        ("ValueError: out of memory of a goldfish", "cuda:0", ["cuda:0", "cuda:0"], False),
        ("MemoryError", "cuda:0", ["cuda:0", "cuda:0"], False),
    ],
)
def test_a_run_is_tried_alone_where_a_gpu_that_it_shared_was_full(error, device, devices, fits):
    assert fits_alone(error, device, devices) is fits


def test_who_tries_alone_has_a_gpu_alone_and_after_a_killing_the_machine():
    assert alone(["cuda:0", "cuda:1", "cuda:0"], killed=False) == ["cuda:0", "cuda:1"]
    assert alone(["cuda:0", "cuda:1", "cuda:0"], killed=True) == ["cuda:0"]
    assert alone(["cpu", "cpu"], killed=True) == ["cpu"]


@pytest.mark.parametrize(
    ("code", "starved", "last", "told"),
    [
        (-9, True, "", "was killed by the system, out of memory"),
        (-9, False, "", "was killed by signal 9 (out of memory?)"),
        (-11, False, "", "was killed by signal 11 (SIGSEGV)"),
        (-6, False, "bad_alloc", "was killed by signal 6 (SIGABRT): bad_alloc"),
        (-63, False, "", "was killed by signal 63 (unknown)"),
        (1, False, "ImportError: no torch", "ended with code 1: ImportError: no torch"),
    ],
)
def test_a_death_is_told_with_its_cause(code, starved, last, told):
    assert cause(code, starved, last) == told


@pytest.mark.parametrize(
    ("own", "place", "text", "count"),
    [
        ("0::/job/7\n", "job/7/memory.events", "low 0\noom 3\noom_kill 2\n", 2),
        ("0::/job/7\n", "memory.events", "oom_kill 4\noom_group_kill 0\n", 4),  # a container sees its group as the root
        ("5:cpu:/x\n4:memory:/job\n0::/\n", "memory/job/memory.oom_control", "under_oom 0\noom_kill 1\n", 1),
        ("0::/job/7\n", "memory.events", "oom 3\n", None),
        ("0::/job/7\n", "elsewhere", "oom_kill 2\n", None),
    ],
)
def test_killings_are_read_from_the_control_group(tmp_path, own, place, text, count):
    (tmp_path / "own").write_text(own)
    (tmp_path / "groups" / place).parent.mkdir(parents=True)
    (tmp_path / "groups" / place).write_text(text)
    assert killings(tmp_path / "groups", tmp_path / "own") == count


def test_without_control_groups_no_killings_are_known(tmp_path):
    assert killings(tmp_path, tmp_path / "none") is None


@pytest.fixture
def runs(tmp_path):
    (tmp_path / "tiny.toml").write_text(TINY)
    return protocols.load(tmp_path / "tiny.toml").runs[:3]


class Clock:
    now = 0.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def test_a_run_that_another_process_has_comes_again_after_the_others_and_a_pause(runs):
    clock = Clock()
    turns, seen = Turns(runs, pause=5.0, clock=clock), []
    for turn in turns.each(clock.sleep):
        seen.append((turn.run, clock.now))
        if turn.run is runs[0] and clock.now < 10:
            turns.put_off(turn)
    assert seen == [(runs[0], 0), (runs[1], 0), (runs[2], 0), (runs[0], 5), (runs[0], 10)]


def test_turns_say_how_long_to_wait_and_how_many_are_left(runs):
    clock = Clock()
    turns = Turns(runs[:2], {runs[1].name: 2}, pause=5.0, clock=clock)
    assert (len(turns), turns.wait()) == (2, 0.0)
    first, second = turns.next(), turns.next()
    assert (first.attempt, second.attempt) == (1, 3)
    assert (len(turns), turns.next(), turns.wait()) == (0, None, float("inf"))
    turns.put_off(first)
    assert (len(turns), turns.next(), turns.wait()) == (1, None, 5.0)
    turns.again(second)
    assert (turns.wait(), turns.next(), turns.next()) == (0.0, second, None)
    clock.now = 5.0
    assert turns.next() == first


def test_turns_are_runs_or_what_is_left_of_other_turns(runs):
    turn = Turn(runs[0], attempt=2, deaths=1)
    assert Turns([turn]).next() is turn
    assert turn.label == "BP, wide, seed 0"

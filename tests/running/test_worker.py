"""A worker, in this process: what it says of the runs that it is handed, and how often."""

from __future__ import annotations

import pytest
import torch
from studies import TINY

from rfmodel import memory, protocols
from rfmodel.errors import InputError
from rfmodel.running import one, worker
from rfmodel.running.outcomes import Outcome
from rfmodel.running.wire import packed
from rfmodel.store.writing import Unwritable


@pytest.fixture
def runs(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "tiny.toml").write_text(TINY)
    return protocols.load(tmp_path / "tiny.toml").runs


@pytest.fixture
def hand(runs, tmp_path, monkeypatch):
    """Hand runs to a worker that does with each what `complete` says; return its events."""
    monkeypatch.setattr(memory, "keep_freed_memory", lambda: None)

    def make(complete, count=2, **changed):
        monkeypatch.setattr(one, "complete", complete)
        begin = {"do": "begin", "folder": str(tmp_path), "data_folder": None, "device": "cpu", "lease": 60.0}
        begin |= {"threads": torch.get_num_threads(), "every": "never"} | changed
        handed = [{"do": "run", "run": packed(run), "attempt": 3} for run in runs[:count]]
        events = []
        worker.work(iter([begin, *handed, {"do": "end"}]), lambda event, **what: events.append((event, what)))
        return events

    return make


def test_it_does_the_run_that_was_sent_and_says_what_became_of_it(hand, runs, tmp_path):
    given = []

    def complete(run, context, claims, *, attempt, started, progress, told):
        given.append((run.name, context.folder, context.data_folder, context.device, claims.folder, attempt))
        started(run, 5, 7)
        told("a line")
        return Outcome(run, "failed", error="ValueError: x")

    events = hand(complete)
    assert given == [(run.name, tmp_path, None, "cpu", tmp_path, 3) for run in runs[:2]]
    outcome = {name: value for name, value in vars(Outcome(runs[0], "failed", error="ValueError: x")).items()}
    assert [event for event, _ in events] == ["ready", *["started", "told", "ended"] * 2]
    assert events[1][1] == {"epochs": 5, "steps": 7}
    assert events[2][1] == {"line": "a line"}
    said = events[3][1]["outcome"]
    assert repr(said) == repr({name: value for name, value in outcome.items() if name != "run"})


def test_data_are_opened_once_for_all_runs(hand):
    contexts = []

    def complete(run, context, claims, **_):
        contexts.append(context)
        return Outcome(run, "done")

    hand(complete)
    assert contexts[0] is contexts[1]


def test_steps_are_told_at_most_a_few_times_a_second(hand, monkeypatch):
    now = 1000.0

    def complete(run, context, claims, *, progress, **_):
        nonlocal now
        for step in range(1000):
            now += 0.01
            progress(run, 1, step, 0.5)
        return Outcome(run, "done")

    monkeypatch.setattr(worker.time, "monotonic", lambda: now)
    told = [what for event, what in hand(complete, count=1) if event == "progress"]
    assert 30 <= len(told) <= 41
    assert told[0] == {"epoch": 1, "step": 0, "loss": 0.5}


@pytest.mark.parametrize("kind", [Unwritable, InputError])
def test_what_stops_a_study_is_said_with_its_kind(hand, kind):
    def complete(*_, **__):
        raise kind("'x' cannot be written: the disk is full")

    assert hand(complete)[1:] == [
        ("stopped", {"kind": kind.__name__, "message": "'x' cannot be written: the disk is full"})
    ]


def test_a_folder_that_cannot_be_written_stops_the_study_by_its_name(hand, tmp_path):
    (tmp_path / "runs").rmdir()
    ((_, _), (event, what)) = hand(one.complete)
    assert (event, what["kind"]) == ("stopped", "Unwritable")
    assert f"'{tmp_path}/runs/" in what["message"]
    assert "cannot be written" in what["message"]


@pytest.mark.parametrize(
    ("changed", "told"),
    [({"device": "mps"}, "--device 'mps' cannot be used by a worker"), ({"every": "often"}, "--checkpoint")],
)
def test_a_beginning_that_cannot_be_is_said_before_any_run(hand, changed, told):
    ((event, what),) = hand(None, **changed)
    assert event == "stopped"
    assert told in what["message"]

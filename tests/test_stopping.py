"""Stopping: who asks a training to end gets a checkpoint of its step, and who asks twice gets the end."""

from __future__ import annotations

import os
import signal
import time

import pytest
from studies import TINY

from rfmodel import protocols, stopping, store, study


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return protocols.load(path, ["train.epochs=3"], ["seed=0", "condition=BP, wide"])


def interrupted(tiny, folder, number=signal.SIGINT, times=1, checkpoint="1h"):
    """Run a study that gets a signal in its second epoch; return how often a step was shown after it."""
    seen = []

    def progress(run, epoch, step, loss):
        if epoch == 2:
            seen.append(step)
            for _ in range(times):
                os.kill(os.getpid(), number)

    manner = study.Manner(checkpoint=checkpoint)
    with stopping.at_signals(), pytest.raises(KeyboardInterrupt):
        study.run_study(tiny, folder, progress=progress, manner=manner)
    return seen


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_training_that_is_asked_to_end_keeps_where_it_is_and_goes_on_from_there(tiny, tmp_path, number):
    assert len(interrupted(tiny, tmp_path / "a", number)) == 1
    assert store.checkpoint_path(tmp_path / "a", tiny.runs[0].name).is_file()
    assert not list((tmp_path / "a" / "runs").glob("*.claim*"))
    epochs = []
    study.run_study(tiny, tmp_path / "a", progress=lambda run, epoch, step, loss: epochs.append(epoch))
    study.run_study(tiny, tmp_path / "b")
    assert 1 not in epochs
    ours, theirs = (store.load(store.run_path(tmp_path / one, tiny.runs[0].name)) for one in "ab")
    assert ours.attrs["resumed"] == 1 and theirs.attrs["resumed"] == 0
    own = ["images_per_second", "peak_memory"]
    assert ours.drop_vars(own).equals(theirs.drop_vars(own))


def test_who_asks_twice_gets_the_end_at_once(tiny, tmp_path):
    interrupted(tiny, tmp_path, times=2)
    assert not list((tmp_path / "runs").glob("*.checkpoint"))


def test_nothing_is_kept_where_no_checkpoint_is_wanted(tiny, tmp_path):
    interrupted(tiny, tmp_path, checkpoint="never")
    assert not list((tmp_path / "runs").glob("*.checkpoint"))


def test_outside_of_a_training_a_signal_ends_the_program_as_ever():
    with stopping.at_signals(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
    assert not stopping.is_asked()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_step_that_outlasts_the_grace_is_ended(monkeypatch):
    monkeypatch.setattr(stopping, "GRACE", 0.05)
    told = []
    with stopping.at_signals(lambda: told.append("told")), pytest.raises(KeyboardInterrupt), stopping.minded():
        os.kill(os.getpid(), signal.SIGINT)
        assert stopping.is_asked() and told == ["told"]
        while True:
            time.sleep(0.01)
    assert not stopping.is_asked()


def test_a_system_without_an_alarm_stops_a_training_too(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(stopping, "ALARM", None)
    monkeypatch.delattr(signal, "setitimer")
    before = signal.getsignal(signal.SIGALRM)
    assert len(interrupted(tiny, tmp_path)) == 1
    assert list((tmp_path / "runs").glob("*.checkpoint"))
    assert signal.getsignal(signal.SIGALRM) is before


def test_a_signal_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stopping.at_signals():
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


STATEFUL = """
import torch
from rfmodel.routing import Fixed, Rule, layerwise

class Counting(Fixed):
    advances, count = True, 0

    @torch.no_grad()
    def advance(self, step, optimisers):
        self.count += 1
        self.B.mul_(1 + 0.01 * self.count)
MORE
def counting():
    return Rule("counting", layerwise, lambda plan: Counting(plan.geometry, plan.std, plan.generator))
"""
GIVEN = """
    def get_extra_state(self):
        return torch.tensor(self.count)

    def set_extra_state(self, state):
        self.count = int(state)

"""


@pytest.mark.parametrize("given", [False, True])
def test_a_rule_whose_state_no_checkpoint_holds_is_not_taken_up_in_the_middle(tmp_path, given):
    (tmp_path / "my_rules.py").write_text(STATEFUL.replace("MORE", GIVEN if given else ""))
    text = TINY.replace("[axes]", "[fields]\nlayers = []\n[axes]") + '[[conditions]]\nname = "own"\n'
    (tmp_path / "own.toml").write_text(text + 'rules."vvs.*" = "my_rules.py:counting"\n')
    read = protocols.load(tmp_path / "own.toml", ["train.epochs=3"], ["seed=0", "condition=own"], allow_code=True)
    told, epochs, manner = [], [], study.Manner(checkpoint="1 epochs")

    def progress(run, epoch, step, loss):
        epochs.append(epoch)
        if epoch == 3 and epochs.count(3) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study.run_study(read, tmp_path / "a", progress=progress, told=told.append, manner=manner)
    study.run_study(read, tmp_path / "a", progress=progress, manner=manner)
    study.run_study(read, tmp_path / "b")
    ours, theirs = (store.load(store.run_path(tmp_path / one, read.runs[0].name)) for one in "ab")
    assert ours["feedback_norm"].equals(theirs["feedback_norm"]) and ours["loss_train"].equals(theirs["loss_train"])
    assert ours.attrs["resumed"] == given
    assert [line.partition(")")[2] for line in told] == (
        [] if given else [".count' has changed, which no checkpoint holds: the run is kept without them; give it by "
                          "get_extra_state, or as a buffer"]
    )  # fmt: skip

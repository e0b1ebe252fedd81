"""Headway: which deaths of its workers are laid to a run."""

import os

import pytest

from rfmodel.running.headway import Headway


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.checkpoint"


def handed_out(headway, *steps, begun=True):
    headway.handed_out()
    headway.begun = begun
    for at in steps:
        headway.step(*at)


def until_given_up(headway, *steps, begun=True):
    """How many deaths it takes."""
    for count in range(1, 100):
        handed_out(headway, *steps, begun=begun)
        if headway.died():
            return count
    return None


def test_a_run_that_dies_ten_times_before_a_step_is_given_up(path):
    assert until_given_up(Headway(path)) == 10


def test_deaths_before_the_worker_was_ready_are_forgiven_longer(path):
    assert until_given_up(Headway(path), begun=False) == 30


def test_a_run_that_dies_at_the_same_step_is_given_up_in_the_end(path):
    assert until_given_up(Headway(path), (1, 1), (2, 7)) == 11  # the first was further than ever


def test_a_run_that_comes_further_each_time_is_never_given_up(path):
    headway = Headway(path)
    for epoch in range(1, 200):
        handed_out(headway, (epoch, 1))
        assert not headway.died()
        assert headway.deaths == 0


def test_headway_in_between_makes_up_for_deaths_before(path):
    headway = Headway(path)
    for step in (1, 2):
        handed_out(headway)
        headway.died()
        handed_out(headway)
        assert not headway.died()
        handed_out(headway, (1, step))
        assert not headway.died()


def kept(path, when):
    path.write_bytes(b"")
    os.utime(path, ns=(when, when))


@pytest.mark.parametrize("steps", [[], [(1, 1)]], ids=["before a step is told", "after"])
def test_a_newer_checkpoint_is_headway_though_no_step_was_told_further(path, steps):
    headway = Headway(path)
    handed_out(headway, (9, 9))
    headway.died()
    for when in range(1, 50):
        handed_out(headway, *steps)
        kept(path, when)
        assert not headway.died()


def test_a_checkpoint_that_is_gone_is_none(path):
    kept(path, 1)
    headway = Headway(path)
    handed_out(headway, (1, 1))
    headway.died()
    path.unlink()
    assert until_given_up(headway, (1, 1)) == 10

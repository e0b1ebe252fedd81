"""The integrator follows flows that are known in closed form, and says when one is lost."""

from __future__ import annotations

import numpy as np
import pytest

from rfmodel.errors import InputError
from rfmodel.theory.integration import integrate, require_finite

TIMES = np.linspace(0.0, 3.0, 7)


def kept(time, state):
    return {"first": state[0].copy(), "time": np.asarray(time)}


def test_decay_and_rotation_are_followed_at_the_times_asked_for():
    first = np.arange(1.0, 7.0).reshape(2, 3)
    angle = np.array([[1.0], [0.0]])
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    seen = integrate(
        lambda _, state: (-state[0], turn @ state[1]),
        (first, angle),
        TIMES,
        lambda time, state: {"first": state[0].copy(), "second": state[1].copy()},
        tolerance=1e-10,
    ).seen
    assert seen["first"].shape == (7, 2, 3)
    # The tolerance is relative and of one step; twenty steps at most are taken.
    np.testing.assert_allclose(seen["first"], np.exp(-TIMES)[:, None, None] * first, rtol=20e-10)
    np.testing.assert_allclose(seen["second"][:, 0, 0], np.cos(TIMES), atol=20e-10)


def test_a_flow_that_depends_on_time_is_given_it():
    followed = integrate(lambda time, _: (np.full(1, 2 * time),), (np.zeros(1),), TIMES, kept)
    np.testing.assert_allclose(followed.seen["first"][:, 0], TIMES**2, rtol=1e-7)
    np.testing.assert_array_equal(followed.seen["time"], TIMES)


def test_the_last_state_is_that_of_the_last_time():
    followed = integrate(lambda _, state: (-state[0],), (np.ones(2),), TIMES, kept)
    np.testing.assert_allclose(followed.last[0], followed.seen["first"][-1], rtol=1e-14)


def test_evaluations_are_counted():
    calls = []

    def flow(_, state):
        calls.append(1)
        return (-state[0],)

    followed = integrate(flow, (np.ones(1),), TIMES, kept)
    # Reading between steps takes evaluations of its own, which scipy counts too.
    assert followed.evaluations == len(calls)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_state_that_is_not_finite_is_refused(bad):
    with pytest.raises(InputError, match="the state at the beginning holds 1 entries that are not finite"):
        integrate(lambda _, state: state, (np.array([1.0, bad]),), TIMES, kept)


def test_a_flow_that_blows_up_is_named_with_its_time():
    # dx/dt = x^2 from 1 is 1 / (1 - t): it ends at time 1.
    with pytest.raises(InputError, match=r"the flow is not finite after time (0\.99\d*|1)\b"):
        integrate(lambda _, state: (state[0] ** 2,), (np.ones(1),), TIMES, kept)


def test_a_flow_that_is_too_fast_is_named_with_how_far_it_came(monkeypatch):
    monkeypatch.setattr("rfmodel.theory.integration.MOST", 500)
    told = r"the flow took 500 evaluations until time [0-2]\.\d+ of 3; start from smaller weights .fa_star: larger ones"
    with pytest.raises(InputError, match=told):
        integrate(lambda _, state: (-1e4 * state[0],), (np.ones(1),), TIMES, kept)


def test_what_is_finite_passes():
    require_finite((np.zeros(3), np.ones((2, 2))), "anything")

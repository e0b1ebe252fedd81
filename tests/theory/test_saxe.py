"""Saxe's solution: its equation, its limits, and gradient descent itself."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from rfmodel.errors import InputError
from rfmodel.theory.saxe import saxe_overlap, saxe_time

S, START = np.array([2.0, 1.0, 0.25]), np.array([1e-3, 1e-6, 0.1])


def test_the_curve_solves_its_equation():
    time = np.linspace(0.0, 12.0, 25)
    followed = solve_ivp(lambda t, a: 2 * a * (S - a), (0, 12), START, t_eval=time, rtol=1e-11, atol=1e-14)
    # The integrator's own tolerance, over some tens of its steps.
    np.testing.assert_allclose(saxe_overlap(S, START, time) * S, followed.y.T, rtol=1e-8)


def test_the_factor_two_is_that_of_both_layers_learning():
    """The equation is not assumed here: two weight matrices, balanced in the modes, follow their own gradient."""

    def flow(t, flat):
        W1, W2 = flat[:9].reshape(3, 3), flat[9:].reshape(3, 3)
        E = np.diag(S) - W2 @ W1
        return np.concatenate([(W2.T @ E).ravel(), (E @ W1.T).ravel()])

    # Hidden units are mixed by a rotation R, under which the product and its flow are what they were.
    R, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    root, time = np.diag(np.sqrt(START)), np.linspace(0.0, 10.0, 11)
    start = np.concatenate([(R @ root).ravel(), (root @ R.T).ravel()])
    flat = solve_ivp(flow, (0, 10), start, t_eval=time, rtol=1e-11, atol=1e-14).y.T
    product = flat[:, 9:].reshape(-1, 3, 3) @ flat[:, :9].reshape(-1, 3, 3)
    np.testing.assert_allclose(product, (saxe_overlap(S, START, time) * S)[..., None] * np.eye(3), atol=1e-8)


def test_a_mode_starts_where_it_starts_and_ends_at_one_however_late():
    overlap = saxe_overlap(S, START, np.array([0.0, 1e4, 1e300]))
    np.testing.assert_allclose(overlap[0], START / S, rtol=1e-15)
    assert (overlap[1:] == 1.0).all()


def test_the_smallest_start_does_not_overflow():
    overlap = saxe_overlap(2.0, 5e-324, np.array([0.0, 1.0, 1e3]))
    assert np.isfinite(overlap).all() and overlap[-1] == 1.0


def test_a_mode_that_is_too_strong_falls_to_one():
    overlap = saxe_overlap(1.0, 3.0, np.linspace(0.0, 5.0, 20))[:, 0]
    assert (np.diff(overlap) < 0).all() and overlap[0] == 3.0 and overlap[-1] > 1.0


def test_small_modes_grow_exponentially_at_twice_their_singular_value():
    early = saxe_overlap(S, 1e-12, np.array([0.0, 1.0]))
    np.testing.assert_allclose(early[1] / early[0], np.exp(2 * S), rtol=1e-9)  # to a / s, of 1e-10 at most


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9, 0.999999])
def test_the_time_to_a_level_is_the_curves_inverse(level):
    s, start = np.array([[2.0, 1.0], [0.7, 0.3]]), 1e-5
    time = saxe_time(s, start, level)
    reached = [saxe_overlap(s[i, j], start, time[i, j : j + 1])[0, 0] for i in range(2) for j in range(2)]
    np.testing.assert_allclose(reached, level, rtol=1e-10)


def test_a_mode_that_is_there_needs_no_time():
    assert (saxe_time([1.0, 1.0, 1.0], [0.95, 1.0, 2.0], 0.9) == 0.0).all()


def test_seeds_are_a_leading_axis():
    s, time = np.array([[2.0, 1.0], [0.7, 0.3], [1.0, 0.5]]), np.linspace(0, 3, 4)
    overlap = saxe_overlap(s, 1e-3, time)
    assert overlap.shape == (3, 4, 2)
    np.testing.assert_array_equal(overlap[1], saxe_overlap(s[1], 1e-3, time))


@pytest.mark.parametrize("call", [lambda s, a: saxe_overlap(s, a, np.zeros(1)), saxe_time])
@pytest.mark.parametrize(("s", "start", "told"), [(0.0, 1.0, "singular value 0"), (1.0, -2.0, "starting strength -2")])
def test_modes_that_never_move_are_refused(call, s, start, told):
    with pytest.raises(InputError, match=told):
        call(s, start)


def test_times_before_the_start_are_refused():
    with pytest.raises(InputError, match="time = -1"):
        saxe_overlap(1.0, 0.1, np.array([-1.0, 1.0]))


@pytest.mark.parametrize("level", [0.0, 1.0, 1.5])
def test_levels_that_are_not_crossed_are_refused(level):
    with pytest.raises(InputError, match=f"level = {level:g}"):
        saxe_time(1.0, 0.1, level)

"""Two rules are compared where their errors are equal: the one at its end, the other on its way."""

from __future__ import annotations

import numpy as np
from factoring import drawn, followed
from scipy.integrate import solve_ivp
from scipy.linalg import subspace_angles

from rfmodel.theory.equal_error import at_equal_error, stopped_at
from rfmodel.theory.factorisation import conserved, moving, relative_error

TIMES = np.linspace(0, 60, 31)


def test_a_rule_is_stopped_at_the_error_that_is_asked_for():
    problem = drawn("gd")
    target = np.array([0.9, 0.5, 0.3])
    state, error, reached = stopped_at(problem, target, TIMES, 1e-9)
    assert reached.all()
    np.testing.assert_allclose(error, target, rtol=0, atol=1e-8)
    np.testing.assert_allclose(relative_error(problem, state), error, rtol=1e-12)
    before, after = ([a - b for a, b in [conserved(problem, one)]][0] for one in (problem.start, state))
    np.testing.assert_allclose(after, before, atol=1e-7)  # it is still on its own way


def test_it_is_stopped_where_scipy_s_own_event_is():
    problem, target = drawn("gd", seeds=1), 0.5
    cut, flow = problem.Z.size, moving(problem)

    def split(flat):
        return flat[:cut].reshape(problem.Z.shape), flat[cut:].reshape(problem.W.shape)

    def derivative(_, flat):
        return np.concatenate([one.ravel() for one in flow(0.0, split(flat))])

    def event(_, flat):
        return float(relative_error(problem, split(flat))[0]) - target

    event.terminal = True
    start = np.concatenate([one.ravel() for one in problem.start])
    expected = solve_ivp(derivative, (0, 60), start, method="DOP853", events=event, rtol=1e-10, atol=1e-13).y[:, -1]
    (Z, W), _, _ = stopped_at(problem, np.array([target]), TIMES, 1e-10)
    np.testing.assert_allclose(Z, split(expected)[0], atol=1e-6)
    np.testing.assert_allclose(W, split(expected)[1], atol=1e-6)


def test_an_error_that_is_never_reached_is_followed_to_the_end():
    problem = drawn("gd")
    state, error, reached = stopped_at(problem, np.zeros(3), TIMES, 1e-9)
    assert not reached.any()
    np.testing.assert_allclose(error, relative_error(problem, followed(problem, 60.0).last), atol=1e-8)


def test_feedback_alignment_at_its_end_is_compared_with_gradient_descent_on_its_way():
    problem = drawn("fa", forward=1e-2)
    end = followed(problem, 60.0).last
    found = at_equal_error(problem, end, problem.by("gd"), TIMES, 1e-9)
    np.testing.assert_array_equal(found.error, relative_error(problem, end))
    np.testing.assert_allclose(found.gap, 0, atol=1e-8)
    assert (found.angles[:, -1] > 10).all()
    state, _, _ = stopped_at(problem.by("gd"), found.error, TIMES, 1e-9)
    expected = np.degrees(subspace_angles(end[1][0].T, state[1][0].T))[::-1]
    np.testing.assert_allclose(found.angles[0], expected, atol=1e-10)


def test_where_gradient_descent_ends_first_feedback_alignment_is_stopped():
    # From weights of a thousandth gradient descent has not begun when feedback alignment has learnt the most.
    problem, times = drawn("fa", forward=1e-3), np.linspace(0, 5, 11)
    end = followed(problem, 5.0).last
    found = at_equal_error(problem, end, problem.by("gd"), times, 1e-9)
    behind = relative_error(problem, followed(problem.by("gd"), 5.0).last)
    assert (behind > relative_error(problem, end)).all()
    np.testing.assert_allclose(found.error, behind, rtol=0, atol=1e-7)
    assert np.isfinite(found.angles).all()


def test_a_rule_and_itself_are_at_no_angle():
    problem = drawn("gd")
    found = at_equal_error(problem, followed(problem, 60.0).last, problem, TIMES, 1e-9)
    np.testing.assert_allclose(found.angles, 0, atol=1e-3)  # degrees: of the tolerance over what is yet to be learnt


def test_errors_that_are_nowhere_equal_have_no_angles():
    # By least squares Z takes from Y at once what gradient descent has not in a tenth of tau.
    problem, times = drawn("fa_star", forward=1e-2), np.linspace(0, 0.1, 3)
    found = at_equal_error(problem, followed(problem, 0.1).last, problem.by("gd"), times, 1e-9)
    assert np.isnan(found.angles).all()
    assert (found.gap > 0.05).all()

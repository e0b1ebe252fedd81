"""Feedback alignment from vanishing weights goes where and when its closed form says."""

from __future__ import annotations

import numpy as np
import pytest
from factoring import followed, from_nought

from rfmodel.theory.factorisation import moving
from rfmodel.theory.from_zero import end_from_zero, time_to_learn
from rfmodel.theory.separation import stationary_error


def test_the_flow_ends_at_the_closed_form():
    problem = from_nought()
    Z, W = end_from_zero(problem.C, problem.Y)
    for found, expected in zip(followed(problem, 80.0).last, (Z, W), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)  # a hundred times the tolerance
    left = np.linalg.norm(problem.Y - Z @ W, axis=(1, 2))
    np.testing.assert_allclose(left, stationary_error(problem.C, problem.Y), rtol=1e-10)


def test_the_end_is_exact_where_the_width_is_above_the_rank():
    problem = from_nought(width=5, values=(2.0, 1.0))
    Z, W = end_from_zero(problem.C, problem.Y)
    np.testing.assert_allclose(Z @ W, problem.Y, atol=1e-12)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_each_direction_is_learnt_at_the_time_of_the_closed_form(share):
    problem = from_nought(seeds=1)
    A, sigma, Bt = np.linalg.svd((problem.C @ problem.Y)[0], full_matrices=False)
    for i, time in enumerate(time_to_learn(share, sigma)):
        Z, W = followed(problem, time, points=2).last
        # C Z W = A diag(sigma u^3) B^T
        np.testing.assert_allclose(A[:, i] @ problem.C[0] @ Z[0] @ W[0] @ Bt[i], share * sigma[i], rtol=1e-6)


def test_nothing_is_learnt_at_once_and_everything_never():
    assert abs(time_to_learn(0.0, 2.0)) < 1e-15  # but for the last digit of pi / 6
    assert time_to_learn(1 - 1e-12, 2.0) > 5


def test_a_disturbance_of_the_end_falls_at_the_rates_of_the_linearisation():
    problem = from_nought(seeds=1, rows=5, columns=6, width=2, values=(2.0, 1.0, 0.5))
    state = end_from_zero(problem.C, problem.Y)
    cut, flow = state[0].size, moving(problem)
    point = np.concatenate([one.ravel() for one in state])

    def derivative(flat):
        moved = flow(0.0, (flat[:cut].reshape(state[0].shape), flat[cut:].reshape(state[1].shape)))
        return np.concatenate([one.ravel() for one in moved])

    h = 1e-5
    jacobian = np.stack([(derivative(point + h * e) - derivative(point - h * e)) / (2 * h) for e in np.eye(len(point))])
    m = np.cbrt(np.linalg.svd((problem.C @ problem.Y)[0], compute_uv=False) ** 2 / 2)
    outside, unseen = np.repeat(m, 6 - 2), np.repeat(2 * m, 5 - 2)
    # The conserved r (r + 1) / 2 quantities are as many directions that do not move, of the 2 r^2 that C and W see.
    inside = (m[:, None] + 2 * m).ravel()
    found = np.sort(-np.linalg.eigvals(jacobian.T).real)
    expected = np.sort(np.concatenate([outside, unseen, inside, np.zeros(4)]))
    np.testing.assert_allclose(found, expected, atol=1e-5)  # a defective nought is good to the root of the error

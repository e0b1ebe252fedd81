"""The flows of the three rules: whose equations they are, what they conserve, and where they end."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from factoring import RULES, VALUES, drawn, end_error, followed, from_nought

from rfmodel.errors import InputError
from rfmodel.theory import equations
from rfmodel.theory.factorisation import beyond, conserved, factors, least_squares, moving
from rfmodel.theory.initial import Weights
from rfmodel.theory.separation import eckart_young, stationary_error
from rfmodel.theory.settings import FeedbackSettings


@pytest.mark.parametrize("rule", RULES)
def test_the_flow_is_that_of_the_linear_network_with_as_many_hidden_units_as_feedback_directions(rule):
    problem = drawn(rule)
    Z, W = factors(problem, problem.start)
    network = Weights(W1=W, W2=Z, Q=np.broadcast_to(np.eye(4), (3, 4, 4)), P=problem.C)
    E = equations.residual(problem.Y, Z, W)
    kind = "gd" if rule == "gd" else "fa"
    feedback = FeedbackSettings(name=kind)
    dW1, dW2 = equations.forward_law(equations.delivered(feedback, network, E), E, W)
    moved = moving(problem)(0.0, problem.start)
    # 1e-13: products of the same numbers, by least squares through another decomposition.
    np.testing.assert_allclose(moved[-1], dW1, rtol=0, atol=1e-13)
    np.testing.assert_allclose(moved[0] if rule != "fa_star" else 0 * dW2, dW2, rtol=0, atol=1e-12)


def test_gradient_descent_follows_the_gradient_of_half_the_squared_error():
    problem = drawn("gd")
    Z, W = (torch.from_numpy(one).requires_grad_() for one in problem.start)
    (0.5 * (torch.from_numpy(problem.Y) - Z @ W).square().sum()).backward()
    dZ, dW = moving(problem)(0.0, problem.start)
    np.testing.assert_allclose(dZ, -Z.grad, atol=1e-13)
    np.testing.assert_allclose(dW, -W.grad, atol=1e-13)


@pytest.mark.parametrize("rule", RULES)
def test_what_a_rule_conserves_stays_as_it_was(rule):
    problem = drawn(rule)

    def look(state):
        one, other = conserved(problem, state)
        return one - other

    seen = followed(problem, 8.0, look).seen["seen"]
    assert np.abs(seen[0]).max() > 0.1  # weights of .3: there is something to conserve
    # A hundred times the integrator's tolerance, for the errors of its steps add up.
    np.testing.assert_allclose(seen, np.broadcast_to(seen[0], seen.shape), rtol=0, atol=1e-7)


def test_feedback_and_weights_align_by_half_of_what_the_hidden_weights_grow():
    problem = from_nought()
    Z, W = followed(problem, 5.0).last
    np.testing.assert_allclose(np.einsum("sij,sji->s", problem.C, Z), (W**2).sum((1, 2)) / 2, rtol=1e-7)
    assert ((W**2).sum((1, 2)) > 1).all()


def test_by_least_squares_the_agreement_of_feedback_and_rows_only_rises():
    problem = drawn("fa_star")
    seen = followed(problem, 3.0, lambda state: np.einsum("sij,sij->s", problem.C @ problem.Y, state[0]), 40)
    assert (np.diff(seen.seen["seen"], axis=0) > -1e-9).all()


@pytest.mark.parametrize("width", [1, 4, 9])
def test_least_squares_is_by_the_pseudo_inverse_and_leaves_what_no_z_takes(width):
    rng = np.random.default_rng(0)
    Y, W = rng.normal(size=(3, 9, 11)), rng.normal(size=(3, width, 11))
    Z = least_squares(Y, W)
    np.testing.assert_allclose(Z, Y @ np.linalg.pinv(W), atol=1e-12)
    np.testing.assert_allclose(beyond(Y, W), Y - Z @ W, atol=1e-12)


def test_gradient_descent_reaches_the_optimum():
    problem = drawn("gd")
    best = eckart_young(problem.values, 4) / np.linalg.norm(problem.values, axis=1)
    np.testing.assert_allclose(end_error(problem, 60.0), best, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("width", [4, 6])
def test_every_rule_is_exact_where_the_width_is_the_rank_or_more(rule, width):
    # What is in no row of Y is forgotten at a rate of the size of the weights squared where there is width to spare, so
    # that they begin small; the rate of least squares is one over their size.
    problem = drawn(rule, width=width, values=VALUES[:4], forward=0.3 if rule == "fa_star" else 1e-4)
    # The slowest direction of feedback alignment falls as exp(-(sigma^2 / 2)^(1/3) t): see `from_zero`.
    sigma = np.linalg.svd(problem.C @ problem.Y, compute_uv=False)[:, 3].min()
    assert end_error(problem, 30 / np.cbrt(sigma**2 / 2)).max() < 1e-6


@pytest.mark.parametrize("forward", [1e-2, 0.3, 1.0])
@pytest.mark.parametrize("rule", ["fa", "fa_star"])
def test_feedback_alignment_ends_at_its_closed_form_from_any_weights(rule, forward):
    problem = drawn(rule, forward=forward)
    expected = stationary_error(problem.C, problem.Y) / np.linalg.norm(problem.values, axis=1)
    best = eckart_young(problem.values, 4) / np.linalg.norm(problem.values, axis=1)
    assert (expected > best + 1e-3).all()
    np.testing.assert_allclose(end_error(problem, 150.0 if forward == 1 else 80.0), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_all_seeds_at_once_are_what_each_is_alone(rule):
    problem = drawn(rule)
    together = followed(problem, 4.0, tolerance=1e-10).last
    for i in range(3):
        one = type(problem)(rule, *(getattr(problem, name)[i : i + 1] for name in ("values", "Y", "C", "Z", "W")))
        for a, b in zip(together, followed(one, 4.0, tolerance=1e-10).last, strict=True):
            np.testing.assert_allclose(a[i], b[0], rtol=0, atol=1e-7)  # other steps, of the same tolerance


def test_the_matrix_has_the_singular_values_of_the_law():
    problem = drawn()
    found = np.linalg.svd(problem.Y, compute_uv=False)[:, :6]
    np.testing.assert_allclose(found, np.tile(VALUES, (3, 1)), atol=1e-13)
    assert not np.allclose(problem.Y[0], problem.Y[1])


def test_another_width_and_more_seeds_leave_the_first_ones_as_they_were():
    few, many = drawn(width=2, seeds=2), drawn(width=5, seeds=4)
    np.testing.assert_array_equal(few.Y, many.Y[:2])
    np.testing.assert_array_equal(few.Z, many.Z[:2, :, :2])
    np.testing.assert_array_equal(few.W, many.W[:2, :2])


def test_another_spectrum_leaves_bases_weights_and_feedback_as_they_were():
    one, other = drawn(), drawn(values=(1.0,))
    u, v = (np.linalg.svd(problem.Y)[0][..., 0] for problem in (one, other))
    np.testing.assert_allclose(np.abs((u * v).sum(-1)), 1, atol=1e-12)
    for name in ("C", "Z", "W"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_feedback_directions_have_gain_one_and_balanced_factors_lie_in_the_modes():
    problem = drawn(feedback="orthonormal", balanced=True, forward=0.5)
    np.testing.assert_allclose(problem.C @ problem.C.swapaxes(1, 2), np.broadcast_to(np.eye(4), (3, 4, 4)), atol=1e-14)
    projected = problem.Z.swapaxes(1, 2) @ problem.Y @ problem.W.swapaxes(1, 2)
    np.testing.assert_allclose(projected, 0.25 * np.broadcast_to(np.diag(VALUES[:4]), (3, 4, 4)), atol=1e-13)
    wide = drawn(rows=200, columns=200, width=200)
    np.testing.assert_allclose((wide.C**2).sum(2).mean(1), 1, atol=4 * np.sqrt(2) / 200)  # four standard errors


def test_a_width_that_the_matrix_has_no_use_for_is_refused():
    with pytest.raises(InputError, match=r"rule.width = 10 is above the 9 that a matrix of 9 x 11 .* use 9 or fewer"):
        drawn(width=10)


def test_a_spectrum_that_the_matrix_has_no_room_for_is_refused():
    with pytest.raises(InputError, match="spectrum of 12 modes: a matrix of 9 x 11 has 9 singular values"):
        drawn(values=(1.0,) * 12)

"""The rules in steps are the package's, step by step, and follow the flow as the step vanishes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from factoring import RULES, drawn, followed, from_nought
from torch import nn

from rfmodel.errors import InputError
from rfmodel.routing import Routed, make_rule
from rfmodel.routing.plasticity import reconstruction
from rfmodel.theory.factor_steps import in_steps, largest_step, step_of
from rfmodel.theory.factorisation import factors, relative_error


def stepped(problem, duration, size, points=2):
    def observe(_, state):
        return {"error": relative_error(problem, state), "W": state[-1].copy()}

    return in_steps(problem, np.linspace(0, duration, points), size, observe)


def test_a_linear_network_under_routed_feedback_alignment_takes_the_same_steps():
    problem, size = drawn("fa", seeds=1), 0.05
    (Y,), (C,), (Z,), (W,) = (torch.from_numpy(one) for one in (problem.Y, problem.C, problem.Z, problem.W))
    network = nn.Sequential(nn.Linear(11, 4, bias=False), nn.Linear(4, 9, bias=False)).double()
    images = torch.eye(11, dtype=torch.float64) * 11**0.5  # isotropic: X^T X / 11 = I
    model = Routed(network, {"1": make_rule("fa")}, images).double()
    (edge,) = model.maps
    with torch.no_grad():
        network[0].weight.copy_(W)
        network[1].weight.copy_(Z)
        model.maps[edge].B.copy_(C.T)  # as its layer's weight is laid, to be used transposed
    optimiser = torch.optim.SGD(network.parameters(), lr=size)
    step, state = step_of(problem, size), tuple(torch.from_numpy(one) for one in problem.start)
    for _ in range(20):
        optimiser.zero_grad()
        (0.5 * (model(images) - images @ Y.T).square().sum(1).mean()).backward()
        optimiser.step()
        state = step(state)
        torch.testing.assert_close(network[1].weight, state[0][0], rtol=0, atol=1e-13)
        torch.testing.assert_close(network[0].weight, state[1][0], rtol=0, atol=1e-13)
    assert (state[1][0] - W).norm() > 0.1


def test_a_step_of_gradient_descent_is_the_plasticity_that_reconstructs_y():
    problem = drawn("gd")
    Z, W = step_of(problem, 0.1)(tuple(torch.from_numpy(one) for one in problem.start))
    for i in range(3):
        Y, Z0, W0 = (torch.from_numpy(one[i]) for one in (problem.Y, problem.Z, problem.W))
        dW, dZt = reconstruction(W0, Z0.T, Y)
        torch.testing.assert_close(W[i], W0 - 0.1 * dW, rtol=0, atol=1e-14)
        torch.testing.assert_close(Z[i], Z0 - 0.1 * dZt.T, rtol=0, atol=1e-14)


@pytest.mark.parametrize("rule", RULES)
def test_steps_come_to_the_flow_by_half_as_they_are_halved(rule):
    problem = drawn(rule)
    flow = followed(problem, 2.0).last[-1]
    away = [np.abs(stepped(problem, 2.0, size)[0]["W"][-1] - flow).max() for size in (0.02, 0.01, 0.005)]
    np.testing.assert_allclose(np.divide(away[:-1], away[1:]), 2, rtol=0.06)  # the next order, a share of the step


@pytest.mark.parametrize("rule", RULES)
def test_steps_end_where_the_flow_ends(rule):
    problem = drawn(rule)
    seen, _, _ = stepped(problem, 60.0, 0.1)
    np.testing.assert_allclose(seen["error"][-1], relative_error(problem, followed(problem, 60.0).last), atol=1e-6)


def test_the_state_that_the_problem_holds_is_left_as_it_was():
    problem = drawn("fa")
    before = problem.W.copy()
    stepped(problem, 1.0, 0.1)
    np.testing.assert_array_equal(problem.W, before)


@pytest.mark.parametrize("rule", ["gd", "fa"])
def test_the_largest_stable_step_is_what_it_says_from_small_weights(rule):
    problem = drawn(rule, seeds=1, forward=1e-3) if rule == "gd" else from_nought(rule, seeds=1)
    largest = float(largest_step(problem)[0])
    end = relative_error(problem, followed(problem, 100.0).last)
    stable, _, _ = stepped(problem, 1000 * 0.97 * largest, 0.97 * largest)
    np.testing.assert_allclose(stable["error"][-1], end, atol=1e-6)
    try:
        unstable, _, _ = stepped(problem, 1000 * 1.1 * largest, 1.1 * largest)
    except InputError:
        return
    assert abs(unstable["error"][-1] - end) > 1e-3


def test_by_least_squares_no_step_is_too_large():
    problem = drawn("fa_star")
    assert np.isinf(largest_step(problem)).all()
    seen, _, _ = stepped(problem, 1000.0, 5.0)
    np.testing.assert_allclose(seen["error"][-1], relative_error(problem, followed(problem, 60.0).last), atol=1e-6)


def test_a_step_that_does_not_divide_the_points_is_made_a_little_smaller():
    _, size, steps = stepped(drawn("fa"), 3.0, 0.4, points=4)
    assert (size, steps) == (pytest.approx(1 / 3), 9)
    assert stepped(drawn("fa"), 3.0, 0.1, points=4)[1:] == (pytest.approx(0.1), 30)


@pytest.mark.parametrize("rule", ["gd", "fa"])
def test_divergence_names_the_largest_stable_step(rule):
    problem = drawn(rule)
    told = f"step = 2 is too large: full_batch of seed 0 diverged by time 100; .* about {largest_step(problem)[0]:.2g}$"
    with pytest.raises(InputError, match=told):
        stepped(problem, 100.0, 2.0)


def test_factors_that_begin_far_above_y_are_not_taken_for_diverged():
    problem = drawn("gd", values=(1e-5, 1e-6))
    begun = np.linalg.norm(problem.Z @ problem.W, axis=(-2, -1)) / np.linalg.norm(problem.Y, axis=(-2, -1))
    assert begun.min() > 1e4
    # A step far below 2 / (|Z|^2 + |W|^2), about .5, lowers the error by each.
    seen, _, _ = stepped(problem, 20.0, 0.02)
    assert (np.diff(seen["error"], axis=0) < 0).all()


def test_a_step_is_made_to_divide_the_time_between_two_points():
    _, size, steps = in_steps(drawn("fa"), np.linspace(0.0, 1.0, 11), 0.03, lambda *_: {"error": np.zeros(1)})
    assert steps == 40
    assert size == pytest.approx(0.025, rel=1e-12)


def test_the_steps_of_least_squares_hold_the_best_z():
    problem = drawn("fa_star")
    (W,) = step_of(problem, 0.1)(tuple(torch.from_numpy(one) for one in problem.start))
    Z, _ = factors(problem, (W.numpy(),))
    np.testing.assert_allclose((problem.Y - Z @ W.numpy()) @ W.numpy().swapaxes(1, 2), 0, atol=1e-12)


def test_a_step_below_the_largest_that_large_weights_undo_is_told_so():
    problem = drawn("gd", forward=20.0)
    with pytest.raises(InputError, match="this one is below that, so start from smaller weights or halve it"):
        stepped(problem, 10.0, 0.1)

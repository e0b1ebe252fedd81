"""The equations of motion are the gradients and the rules that they stand for, and conserve what they ought to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from linear_cases import RULES, drawn, followed, small

from rfmodel.theory import equations
from rfmodel.theory.initial import Weights, rotated
from rfmodel.theory.saxe import saxe_overlap
from rfmodel.theory.tasks import transposed

LARGE = {"forward": 0.5}


def velocities(settings, task, weights, time=0.0):
    """By name, in the basis of the task."""
    flow, state = equations.flow_of(settings.feedback, task, rotated(weights, task))
    return dict(zip(equations.learning(settings.feedback), flow(time, state), strict=True))


def test_gradient_descent_is_the_gradient_of_the_loss():
    settings = small("gd", task={"noise": 0.3, "samples": 20}, initial=LARGE)
    task, weights = drawn(settings)
    bar = rotated(weights, task)
    W1, W2 = (torch.tensor(one, requires_grad=True) for one in bar[:2])
    (0.5 * (torch.tensor(task.S) - W2 @ W1).square().sum()).backward()
    moved = velocities(settings, task, weights)
    np.testing.assert_allclose(moved["W1"], -W1.grad.numpy(), atol=1e-13)
    np.testing.assert_allclose(moved["W2"], -W2.grad.numpy(), atol=1e-13)


def test_normative_feedback_is_the_gradient_of_its_distance_to_the_transposed_weights():
    settings = small("normative", initial=LARGE, rate=0.7)
    task, weights = drawn(settings)
    bar = rotated(weights, task)
    Q, P = (torch.tensor(one, requires_grad=True) for one in bar[2:])
    (0.5 * (Q @ P - torch.tensor(bar.W2).mT).square().sum()).backward()
    moved = velocities(settings, task, weights)
    np.testing.assert_allclose(moved["Q"], -0.7 * Q.grad.numpy(), atol=1e-13)
    np.testing.assert_allclose(moved["P"], -0.7 * P.grad.numpy(), atol=1e-13)


@pytest.mark.parametrize("name", RULES)
def test_rotated_velocities_are_those_of_the_original_basis(name):
    # Eqs. A8, A12, A29, A43 and A44, seed by seed.
    settings = small(name, task={"noise": 0.4, "samples": 15}, initial=LARGE, decay=0.2)
    task, weights = drawn(settings)
    moved = velocities(settings, task, weights)
    for seed in range(2):
        W1, W2, Q, P = weights.of_seeds(seed)
        io, oo, rule = task.sigma_io[seed], task.sigma_oo[seed], settings.feedback
        U, V = task.U[seed], task.V[seed]
        E = io - W2 @ W1
        expected = {"W1": (W2.T if name == "gd" else Q @ P) @ E, "W2": E @ W1.T}
        # Of the error of a sample, e = y - W2 W1 x: <e e^T>.
        errors = oo - io @ (W2 @ W1).T - W2 @ W1 @ io.T + W2 @ W1 @ (W2 @ W1).T
        C = oo if rule.drive == "targets" else errors
        if rule.name == "normative":
            expected |= {"Q": (W2.T - Q @ P) @ P.T, "P": Q.T @ (W2.T - Q @ P)}
        if rule.name == "oja":
            expected["P"] = P @ C @ (np.eye(6) - P.T @ P)
        if rule.name == "adaptive_q" or rule.learn_q:
            expected["Q"] = W1 @ E.T @ P.T
        for one in "QP":
            if one in expected:
                expected[one] = expected[one] - 0.2 * {"Q": Q, "P": P}[one]
        turned = {"W1": lambda M: M @ V, "W2": lambda M: U.T @ M, "Q": lambda M: M, "P": lambda M: M @ U}  # noqa: B023
        assert moved.keys() == expected.keys()
        for one, value in expected.items():
            np.testing.assert_allclose(moved[one][seed], turned[one](value), atol=1e-12)


def test_the_law_of_the_residual_is_equation_16_where_there_is_no_noise():
    settings = small("oja by the residual", initial=LARGE)
    task, weights = drawn(settings)
    W1, W2, _, P = rotated(weights, task)
    E = task.S - W2 @ W1
    expected = P @ E @ transposed(E) @ (np.eye(6) - transposed(P) @ P)
    np.testing.assert_allclose(velocities(settings, task, weights)["P"], expected, atol=1e-13)


def test_feedback_slows_down_as_it_is_annealed_and_the_forward_weights_do_not():
    settings = small("oja, Q Hebbian", initial=LARGE, rate=2.0, annealing=0.5)
    task, weights = drawn(settings)
    early, late = (velocities(settings, task, weights, time) for time in (0.0, 3.0))
    for name, share in {"W1": 1.0, "W2": 1.0, "Q": np.exp(-1.5), "P": np.exp(-1.5)}.items():
        np.testing.assert_allclose(late[name], share * early[name], rtol=1e-13)
    assert equations.pace(settings.feedback, 0.0) == 2.0


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_ojas_rule_rests_on_the_leading_directions_of_its_covariance(decay):
    # Row i of norm sqrt(1 - decay / c_i) along eigenvector i.
    c = np.array([4.0, 3, 2, 1, 0.5, 0.2])
    P = np.zeros((1, 2, 6))
    P[0, [0, 1], [0, 1]] = np.sqrt(1 - decay / c[:2])
    np.testing.assert_allclose(equations.oja_law(P, P * c) - decay * P, 0, atol=1e-14)
    # Any other direction in place of one of these is left: it is a rest as well, but c_1 pulls a trace of itself up.
    P = np.zeros((1, 2, 6))
    P[0, 0, 0], P[0, 1, 2], P[0, 1, 1] = 1, 1, 1e-6
    assert equations.oja_law(P, P * c)[0, 1, 1] > 0


def change(settings, weights, moved):
    """The rate at which the conserved quantity moves: exactly, as its terms are of second order."""
    terms = []
    for sign in (1, -1):
        near = weights._replace(**{name: getattr(weights, name) + sign * one for name, one in moved.items()})
        left, right = equations.conserved(settings.feedback, near)
        terms.append(left - right)
    return (terms[0] - terms[1]) / 2


@pytest.mark.parametrize("name", ["gd", "fa", "adaptive_q", "normative", "oja, Q Hebbian"])
def test_what_is_said_to_be_conserved_does_not_move(name):
    settings = small(name, task={"noise": 0.3, "samples": 15}, initial=LARGE, rate=0.6)
    task, weights = drawn(settings)
    moved = velocities(settings, task, weights)
    np.testing.assert_allclose(change(settings, rotated(weights, task), moved), 0, atol=1e-13)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("oja by targets", {}),
        ("normative", {"decay": 0.1}),
        ("adaptive_q", {"decay": 0.1}),
        ("adaptive_q", {"annealing": 0.1}),
    ],
)
def test_nothing_is_said_to_be_conserved_where_nothing_is(name, changes):
    settings = small(name, **changes)
    task, weights = drawn(settings)
    assert equations.conserved(settings.feedback, weights) is None


def test_from_balanced_weights_the_flow_is_saxes_solution():
    settings = small("gd", initial={"forward": 0.05, "balanced": True})
    task, weights = drawn(settings)
    times = np.linspace(0, 8, 17)
    seen = followed(settings, task, weights, times)
    overlap = np.stack([equations.overlap(task.S, *pair, 4) for pair in zip(seen["W2"], seen["W1"], strict=True)], 1)
    expected = saxe_overlap(task.singular_values, np.full((2, 4), 0.05**2), times)
    # Steps are good to 1e-8; early errors are carried on by at most the growth of the smaller overlaps.
    np.testing.assert_allclose(overlap, expected, atol=1e-6)


def test_overlap_is_the_diagonal_of_the_product_in_the_original_basis():
    task, weights = drawn(small("fa", task={"noise": 0.3, "samples": 15}, initial=LARGE))
    W1, W2, _, _ = weights
    U, V = task.U[:, :, :4], task.V[:, :, :4]
    expected = np.einsum("sji,sjk,ski->si", U, W2 @ W1, V) / task.singular_values
    bar = rotated(weights, task)
    np.testing.assert_allclose(equations.overlap(task.S, bar.W2, bar.W1, 4), expected, atol=1e-13)


@pytest.mark.parametrize("name", RULES)
def test_what_learns_is_the_states_and_nothing_else_is(name):
    settings = small(name)
    task, weights = drawn(settings)
    names = equations.learning(settings.feedback)
    _, state = equations.flow_of(settings.feedback, task, weights)
    for one, array in zip(names, state, strict=True):
        assert array is getattr(weights, one)
    expected = {"gd": "", "fa": "", "adaptive_q": "Q", "normative": "QP", "oja, Q Hebbian": "QP"}
    assert "".join(names[2:]) == expected.get(name, "P")
    assert names[:2] == Weights._fields[:2]

"""Steps below the estimate learn, and steps well above are refused in one line that says what would do."""

from __future__ import annotations

import numpy as np
import pytest
from linear_cases import drawn, small

from rfmodel.errors import InputError
from rfmodel.theory.initial import Weights
from rfmodel.theory.linear_network import linear_dynamics
from rfmodel.theory.simulation import simulate
from rfmodel.theory.stability import FIRST_LEAP, largest_step, require_near, too_large
from rfmodel.theory.tasks import transposed

S1 = 2.0  # the largest singular value of the task


def stable(name, initial=None, end=None, batch=None, **feedback):
    settings = small(name, initial=initial, **feedback)
    task, weights = drawn(settings)
    return largest_step(settings.feedback, task, weights, end, batch)


def at_share(share, name, duration=40.0, **feedback):
    """The Dataset of a step of that share of the estimate."""
    initial = {"forward": 0.01, "feedback": "orthonormal"}
    integration = {"manners": ("flow", "full_batch"), "duration": duration}
    least = linear_dynamics(small(name, initial=initial, integration=integration, **feedback)).largest_step
    steps = integration | {"step": share * least}
    return linear_dynamics(small(name, initial=initial, integration=steps, **feedback))


def test_the_bound_of_gradient_descent_is_the_inverse_of_the_largest_singular_value():
    np.testing.assert_allclose(stable("gd"), 1 / S1)


def test_the_bound_of_fixed_feedback_is_that_of_the_scalar_map():
    # w1 += eta b (s - w1 w2), w2 += eta w1 (s - w1 w2) from nought; of weights in units of the solution's it depends
    # on eta (b s)^(2/3) alone.
    def learns(share, b=0.7, s=3.0):
        w1 = w2 = 0.0
        for _ in range(2000):
            error, step = s - w1 * w2, share * FIRST_LEAP * (b * s) ** (-2 / 3)
            w1, w2 = w1 + step * b * error, w2 + step * w1 * error
            if abs(w1) > 1e3:
                return False
        return abs(s - w1 * w2) < 1e-6

    assert learns(0.995)
    assert not learns(1.005)
    bound = stable("fa", initial={"feedback": "orthonormal"})
    np.testing.assert_allclose(bound, FIRST_LEAP * S1 ** (-2 / 3))  # of B = Q P with gain one


def test_the_decay_of_hebbian_feedback_bounds_the_step_too():
    # Q alone falls by eta kappa decay a step: beyond 2 it grows.
    np.testing.assert_allclose(stable("adaptive_q", decay=100.0, rate=0.5), 2 / (0.5 * 100))
    np.testing.assert_array_equal(stable("adaptive_q", decay=1e-3), stable("adaptive_q"))


def test_hebbian_feedback_that_hardly_learns_has_the_local_bound_of_fixed_feedback():
    bound = stable("adaptive_q", rate=1e-9, initial={"feedback": "orthonormal"})
    np.testing.assert_allclose(bound, 2 / (1.5 * (2 * S1) ** (2 / 3)), rtol=1e-6)


@pytest.mark.parametrize("rate", [0.3, 4.0])
def test_the_bound_of_hebbian_feedback_is_that_of_the_flow_at_its_end(rate):
    # One mode that both Q and P hold, from nought: w1' = p q e, w2' = w1 e, q' = rate w1 p e.
    w1, w2, q = 1e-6, 1e-6, 1.0
    for _ in range(20_000):
        e = 2e-3 * (S1 - w1 * w2)
        w1, w2, q = w1 + q * e, w2 + w1 * e, q + rate * w1 * e
    bound = stable("adaptive_q", rate=rate, initial={"feedback": "orthonormal"})
    # Euler's own error is of the order of its step.
    np.testing.assert_allclose(bound, 2 / (w1**2 + w2 * q), rtol=5e-3)


def test_the_bound_of_ojas_rule_is_of_the_largest_variance():
    slow = {"feedback": "orthonormal"}
    np.testing.assert_allclose(stable("oja", initial=slow, rate=5.0), 1 / (5 * S1**2))
    np.testing.assert_allclose(stable("oja", initial=slow, rate=5.0, decay=2.0), 2 / (5 * (2 * S1**2 + 2)))
    # p + a p (1 - p^2) grows from p if a (p^2 - 1) > 2.
    settings = small("oja", initial=slow, rate=5.0)
    task, weights = drawn(settings)
    bound = largest_step(settings.feedback, task, weights._replace(P=3 * weights.P))
    np.testing.assert_allclose(bound, 2 / (5 * S1**2 * 8))


def test_the_bound_of_normative_feedback_is_of_its_own_factors_or_the_forward_weights():
    fixed = {"feedback": "orthonormal"}
    np.testing.assert_allclose(stable("normative", initial=fixed, rate=0.1), 1 / S1)
    # Of q = p = 1 at first, and of q p = sqrt(s) with q = p at the end: the larger of 2 and 2 sqrt(s).
    np.testing.assert_allclose(stable("normative", initial=fixed, rate=9.0), 2 / (9 * 2 * np.sqrt(S1)))


def test_weights_at_the_end_lower_the_bound_and_never_raise_it():
    settings = small("gd")
    _, weights = drawn(settings)
    small_ones = Weights(*(0 * one for one in weights))
    np.testing.assert_allclose(stable("gd", end=small_ones), 1 / S1)
    W1, W2 = np.zeros((2, 8, 12)), np.zeros((2, 6, 8))
    W1[:, 0, 0], W2[:, 0, 0] = 4.0, 0.5  # the same product, of unequal factors
    np.testing.assert_allclose(stable("gd", end=weights._replace(W1=W1, W2=W2)), 2 / (16 + 0.25))


def test_few_samples_bear_a_smaller_step():
    np.testing.assert_allclose(stable("gd", batch=13), 1 / S1 / 2)  # 1 + (12 + 1) / 13


@pytest.mark.parametrize("name", ["gd", "fa", "adaptive_q", "oja", "normative"])
def test_a_step_a_tenth_below_the_estimate_learns(name):
    # The normative rule's end depends on its way where the rank is below the task's.
    rank = 6 if name == "normative" else 2
    found = at_share(0.9, name, rank=rank)
    end = found.overlap[:, :, -1]
    np.testing.assert_allclose(end[1], end[0], atol=1e-3)


@pytest.mark.parametrize("name", ["gd", "fa", "adaptive_q", "oja", "normative"])
def test_a_step_well_above_the_estimate_is_refused(name):
    line = r"integration.step = \S+ is too large: full_batch of seed \d (diverged|left its flow) at time \S+; the "
    with pytest.raises(InputError, match=line + r"largest stable step is about \d\.\d+$"):
        at_share(4.0, name, rank=6)


def test_a_step_just_above_that_goes_round_the_solution_is_refused_too():
    with pytest.raises(InputError, match="step = 0.55 is too large: full_batch of seed 0 left its flow at time .*0.5$"):
        at_share(1.1, "gd", duration=100.0)


def test_a_step_that_is_lost_online_is_refused_with_the_smaller_bound():
    steps = {"manners": ("flow", "online"), "step": 3.0, "batch": 13}
    with pytest.raises(
        InputError, match=r"online of seed \d diverged at time \S+; the largest stable step is .* 0.25$"
    ):
        linear_dynamics(small("gd", integration=steps))


def test_at_the_solution_rounding_is_no_divergence():
    settings = small("gd", integration={"duration": 1.0})
    task, weights = drawn(settings)
    root, V, U = np.sqrt(task.values)[:, :, None], task.V[:, :, :6], task.U[:, :, :6]
    W1, W2 = np.zeros((2, 8, 12)), np.zeros((2, 6, 8))
    W1[:, :6], W2[:, :, :6] = root * transposed(V), U * transposed(root)
    times = np.array([0.0, 1.0])
    start = weights._replace(W1=W1, W2=W2)
    last = simulate(settings.feedback, settings.integration, task, start, times, lambda time, _: {"time": time}).last
    np.testing.assert_allclose(last.W2 @ last.W1, task.sigma_io, atol=1e-14)


def test_bounded_noise_online_is_no_divergence():
    times, flow = np.arange(2.0), np.zeros((2, 1, 1))
    require_near(1.0, ("online",), times, [flow, flow + 1], np.array([0.5]))
    require_near(0.4, ("full_batch",), times, [flow, flow + 1], np.array([0.5]))
    with pytest.raises(InputError, match="step = 1 is too large: full_batch of seed 0 left its flow at time 0"):
        require_near(1.0, ("full_batch",), times, [flow, flow + 1], np.array([0.5]))


def test_a_step_that_is_lost_below_the_estimate_is_told_so():
    refusal = too_large(0.2, "full_batch of seed 3 diverged", 1.5, 0.3)
    expected = (
        "integration.step = 0.2 is too large: full_batch of seed 3 diverged at time 1.5; the largest stable step is "
        "about 0.3; this one is below that, so start from smaller weights or halve it"
    )
    assert str(refusal) == expected

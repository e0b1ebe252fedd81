"""Oja's rule on the residual leaves what it has learnt exactly where the linearisation says."""

from __future__ import annotations

import numpy as np
import pytest

from rfmodel.theory.integration import integrate
from rfmodel.theory.pursuit import critical_rate, critical_rate_of
from rfmodel.theory.spectra import orthogonal

VALUES = np.array([2.0, 1.6, 1.2, 0.9])
N, K, M, R = 7, 6, 5, 2


def task():
    S = np.zeros((1, M, N))
    S[0, range(4), range(4)] = VALUES
    return S


def on_the_top_modes(scale=1e-6):
    """Return S and the state reached from small weights with P fixed on the top modes, and Q orthonormal."""
    rng = np.random.default_rng(3)
    S, P = task(), np.eye(R, M)[None]
    Q = orthogonal(rng, K, R)[None]
    start = rng.normal(size=(1, K, N)) * scale, rng.normal(size=(1, M, K)) * scale
    reached = integrate(lambda _, W: learning(S, *W, Q, P), start, np.array([0.0, 60.0]), nothing).last
    return S, *reached, Q, P


def learning(S, W1, W2, Q, P):
    E = S - W2 @ W1
    return Q @ P @ E, E @ W1.mT


def joint(S, Q, rate):
    def flow(_, state):
        W1, W2, P = state
        E = S - W2 @ W1
        return *learning(S, W1, W2, Q, P), rate * P @ E @ E.mT @ (np.eye(M) - P.mT @ P)

    return flow


def nothing(_, __):
    return {"none": np.zeros(0)}


def test_the_state_that_small_weights_reach_has_the_relaxation_of_the_closed_form():
    S, W1, W2, Q, P = on_the_top_modes()
    # What the other weights began with is left: a millionth of it all.
    np.testing.assert_allclose(np.linalg.eigvalsh(P @ W2 @ Q)[0], (VALUES[[1, 0]] ** 2 / 2) ** (1 / 3), rtol=1e-4)
    np.testing.assert_allclose(critical_rate(P, W2, Q, S - W2 @ W1), critical_rate_of(VALUES, R), rtol=1e-4)


@pytest.mark.parametrize("rate", [0.25, 1.0])
def test_the_joint_flow_grows_at_the_rate_of_the_linearisation(rate):
    S, W1, W2, Q, P = on_the_top_modes()
    flow, state = joint(S, Q, rate), (W1, W2, P)
    sizes = [one.size for one in state]
    point = np.concatenate([one.ravel() for one in state])

    def derivative(flat):
        parts = [p.reshape(s.shape) for p, s in zip(np.split(flat, np.cumsum(sizes)[:-1]), state, strict=True)]
        return np.concatenate([one.ravel() for one in flow(0.0, parts)])

    h = 1e-5
    jacobian = np.stack([(derivative(point + h * e) - derivative(point - h * e)) / (2 * h) for e in np.eye(point.size)])
    grows = np.linalg.eigvals(jacobian.T).real.max()
    expected = rate * VALUES[R] ** 2 - (VALUES[R - 1] ** 2 / 2) ** (1 / 3)
    # Directions along the family of stationary states neither grow nor fall; central differences are good to h^2.
    np.testing.assert_allclose(grows, max(expected, 0.0), atol=1e-4)


@pytest.mark.parametrize(("factor", "kept"), [(0.5, True), (2.0, False)])
def test_the_top_modes_are_kept_below_the_critical_rate_and_left_above_it(factor, kept):
    S, W1, W2, Q, P = on_the_top_modes()
    rng = np.random.default_rng(4)
    P = P + 1e-3 * rng.normal(size=P.shape)
    rate = factor * float(critical_rate_of(VALUES, R))
    last = integrate(joint(S, Q, rate), (W1, W2, P), np.array([0.0, 60.0]), nothing).last
    overlap = np.diagonal(last[1][0] @ last[0][0])[:4] / VALUES
    assert bool(overlap[:R].min() > 0.99) == kept


def test_nothing_left_to_learn_is_never_left():
    assert critical_rate_of(VALUES, 4) == np.inf
    assert critical_rate(np.eye(2), np.eye(2), np.eye(2), np.zeros((2, 2))) == np.inf

"""Normative LDFA (Hanut & Kadmon, eqs. 8, 9, 14, Algorithm 1): QP follows the transposed weights."""

from __future__ import annotations

import pytest
import torch
from networks import CASES, CROSS_ENTROPY, batch, everywhere, into, perceptron, retina, routed
from torch import nn

from rfmodel.routing import LowRank, Step, plasticity
from rfmodel.routing.geometry import Linear


def test_normative_feedback_reaches_the_eckart_young_error():
    torch.manual_seed(0)
    W = torch.randn(6, 9).double()
    linear = nn.Linear(9, 6).double()
    linear.weight = nn.Parameter(W)
    feedback = LowRank(
        Linear(6, 9),
        0.3,
        torch.Generator().manual_seed(1),
        rank=3,
        learn_P="reconstruction",
        learn_Q="reconstruction",
        layer=linear,
    ).double()
    delta, h = torch.randn(4, 6).double(), torch.randn(4, 9).double()
    for _ in range(20000):
        dQ, dP = feedback.plasticity(delta, delta, h, Step(1 / 4, 1.0), *feedback.given())
        with torch.no_grad():
            feedback.Q -= 0.02 * dQ
            feedback.P -= 0.02 * dP
    residual = (W - feedback.effective()).square().sum()
    torch.testing.assert_close(residual, torch.linalg.svdvals(W)[3:].square().sum(), rtol=1e-6, atol=0)


def test_normative_flow_conserves_the_difference_of_the_factors_gram_matrices():
    torch.manual_seed(0)
    Q, P, W = torch.randn(2, 5).double(), torch.randn(2, 4).double(), torch.randn(4, 5).double()
    dQ, dP = plasticity.reconstruction(Q, P, W)
    change = dQ @ Q.T + Q @ dQ.T - dP @ P.T - P @ dP.T
    torch.testing.assert_close(change, torch.zeros(2, 2).double(), rtol=0, atol=1e-12)


def test_normative_feedback_follows_weights_that_are_replaced():
    network = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2))
    model = routed(network, into("2", "ldfa_normative", rank=2), torch.zeros(2, 2))
    state = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
    model.load_state_dict(state, assign=True)
    images, labels = torch.randn(4, 2).double(), torch.tensor([0, 1, 0, 1])
    CROSS_ENTROPY(model(images, labels), labels).backward()
    assert all(not p.grad.any() for p in model.feedback_parameters())  # at Q = P = W = 0 the rule stands still


def residual(feedback):
    return (feedback.layer.weight.data.flatten(1) - feedback.effective()).square().sum()


def least(feedback, rank=None):
    """The Eckart-Young error: what the singular values beyond the rank leave."""
    rank = feedback.rank if rank is None else rank
    return torch.linalg.svdvals(feedback.layer.weight.data.flatten(1))[rank:].square().sum()


def feed_back(model, images, labels, optimiser):
    optimiser.zero_grad()
    CROSS_ENTROPY(model(images, labels), labels).backward()
    optimiser.step()


def test_the_gradient_is_algorithm_1_whatever_the_data_and_the_batch():
    for n in (1, 9):
        images, labels = batch((1, 6, 6), 5, n)
        model = routed(retina(), everywhere("ldfa_normative", rank=2), images)
        CROSS_ENTROPY(model(images, labels), labels).backward()
        for feedback in model.maps.values():
            Q, P, W = feedback.Q.data.flatten(1).T, feedback.P.data, feedback.layer.weight.data.flatten(1)
            E = W.T - Q @ P
            torch.testing.assert_close(-feedback.Q.grad.flatten(1).T, E @ P.T, rtol=1e-10, atol=1e-13)
            torch.testing.assert_close(-feedback.P.grad, Q.T @ E, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(("kind", "site"), [("perceptron", "two"), ("retina", "vvs.conv1")])
def test_training_the_feedback_of_a_frozen_network_reaches_the_eckart_young_error(kind, site):
    make, data = CASES[kind]
    images, labels = data(2)
    model = routed(make(), into(site, "ldfa_normative", rank=2), images)
    (feedback,) = model.maps.values()
    optimiser = torch.optim.SGD(model.feedback_parameters(), lr=0.5)
    for _ in range(800):
        feed_back(model, images, labels, optimiser)
    torch.testing.assert_close(residual(feedback), least(feedback), rtol=1e-6, atol=0)


def test_the_decomposition_has_the_eckart_young_error_from_the_start():
    images, _ = batch((1, 6, 6), 5)
    model = routed(retina().float(), everywhere("ldfa_normative", rank=2, init="svd"), images.float())
    for feedback in model.maps.values():
        torch.testing.assert_close(residual(feedback), least(feedback), rtol=1e-5, atol=1e-10)
        # each factor gets the root of the singular values
        Q, P = feedback.Q.data.flatten(1), feedback.P.data
        torch.testing.assert_close(Q @ Q.T, P @ P.T, rtol=1e-4, atol=1e-5)


def test_decomposing_anew_hits_the_eckart_young_error_at_its_steps_and_only_there():
    images, labels = batch((1, 6, 6), 5)
    model = routed(retina(), everywhere("ldfa_normative", rank=2, refactor_every=3), images)
    weights = torch.optim.SGD(model.network.parameters(), lr=0.3)
    hits = []
    for _ in range(6):
        feed_back(model, images, labels, weights)
        model.advance()
        excess = [float(residual(f) / least(f)) - 1 for f in model.maps.values() if least(f) > 0]
        hits.append([abs(e) < 1e-9 for e in excess])
    assert [all(row) for row in hits] == [False, False, True, False, False, True]
    assert [any(row) for row in hits] == [False, False, True, False, False, True]


@pytest.mark.parametrize("moments", ["keep", "reset"])
def test_moments_of_replaced_factors_are_kept_or_reset(moments):
    images, labels = batch((7,), 3)
    model = routed(perceptron(), everywhere("ldfa_normative", rank=2, refactor_every=2, moments=moments), images)
    optimiser = torch.optim.Adam(model.feedback_parameters(), lr=0.01)
    for _ in range(2):
        feed_back(model, images, labels, optimiser)
        before = {p: optimiser.state[p]["exp_avg"].clone() for p in model.feedback_parameters()}
        model.advance([optimiser])
    for p in model.feedback_parameters():
        state = optimiser.state[p]
        assert float(state["step"]) == 2
        if moments == "keep":
            assert torch.equal(state["exp_avg"], before[p])
            assert before[p].any()
        else:
            assert not state["exp_avg"].any()
            assert not state["exp_avg_sq"].any()


def test_the_randomised_decomposition_is_never_better_than_the_best_and_nears_it():
    torch.manual_seed(0)
    W = torch.randn(40, 60).double()
    best = torch.linalg.svdvals(W)[5:].square().sum()
    state = torch.get_rng_state()
    excess = []
    for iterations in (1, 2, 10, 80):
        Q, P = plasticity.truncated(W, 5, iterations)
        excess.append(float((W - P.T @ Q).square().sum() / best - 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert min(excess) > -1e-12
    assert excess == sorted(excess, reverse=True)
    assert excess[0] > 0.01
    assert excess[-1] < 1e-4


@pytest.mark.parametrize("iterations", [0, 2])
def test_weights_that_have_diverged_have_no_decomposition_and_stop_nothing(iterations):
    W = torch.full((6, 4), torch.nan)
    Q, P = plasticity.truncated(W, 2, iterations)
    assert (Q.shape, P.shape) == ((2, 4), (2, 6))
    assert Q.isnan().all() and P.isnan().all()


def test_the_randomised_decomposition_does_not_depend_on_what_was_drawn_before():
    W = torch.randn(10, 8).double()
    first = plasticity.truncated(W, 2, 2)
    torch.rand(3)
    assert all(torch.equal(a, b) for a, b in zip(first, plasticity.truncated(W, 2, 2), strict=True))


def test_feedback_at_least_as_wide_as_the_weights_rank_reaches_them_exactly():
    torch.manual_seed(0)
    W = torch.randn(6, 2).double() @ torch.randn(2, 9).double()
    Q, P = plasticity.truncated(W, 2)
    torch.testing.assert_close(P.T @ Q, W, rtol=1e-11, atol=1e-12)
    dQ, dP = plasticity.reconstruction(Q, P, W)
    torch.testing.assert_close(dQ, torch.zeros_like(dQ), rtol=0, atol=1e-11)
    torch.testing.assert_close(dP, torch.zeros_like(dP), rtol=0, atol=1e-11)


def test_calibrated_feedback_keeps_its_gain_when_it_is_decomposed_anew():
    images, labels = batch((7,), 3)
    model = routed(perceptron(), into("two", "ldfa_normative", rank=2, refactor_every=1), images)
    (feedback,) = model.maps.values()
    feedback.rescale(3.0)
    model.advance()
    U, S, Vh = torch.linalg.svd(feedback.layer.weight.data)
    torch.testing.assert_close(feedback.effective(), 3 * (U[:, :2] * S[:2]) @ Vh[:2], rtol=1e-10, atol=1e-12)


def test_training_conserves_the_difference_of_the_factors_gram_matrices_up_to_the_step():
    # d(Q Q^T - P P^T)/dt = 0: in steps of eta over a fixed time, what is left is of the order of eta.
    images, labels = batch((7,), 3)
    drifts = []
    for rate, steps in ((0.02, 50), (0.01, 100), (0.005, 200)):
        model = routed(perceptron(), into("two", "ldfa_normative", rank=2), images)
        (feedback,) = model.maps.values()
        before = (feedback.Q @ feedback.Q.T - feedback.P @ feedback.P.T).detach()
        optimiser = torch.optim.SGD(model.feedback_parameters(), lr=rate)
        for _ in range(steps):
            feed_back(model, images, labels, optimiser)
        drifts.append(float((feedback.Q @ feedback.Q.T - feedback.P @ feedback.P.T - before).detach().norm()))
    assert drifts[1] / drifts[0] == pytest.approx(0.5, rel=0.1)
    assert drifts[2] / drifts[1] == pytest.approx(0.5, rel=0.1)

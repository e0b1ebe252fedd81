"""Exact limits of the rules: where each must equal another."""

from __future__ import annotations

import math

import pytest
import torch
from networks import (
    CASES,
    CROSS_ENTROPY,
    batch,
    everywhere,
    gradients,
    into,
    perceptron,
    retina,
    routed,
    transposed,
)
from oracles import algorithm_2, convolution_matrix, oja_sample_by_sample
from torch import nn

from rfmodel.routing import LowRank, make_rule, plasticity
from rfmodel.routing.geometry import Convolution, Linear


def assert_equal(a, b, **tolerance):
    for name in a:
        torch.testing.assert_close(a[name], b[name], **(tolerance or {"rtol": 0, "atol": 0}))


@pytest.mark.parametrize("kind", CASES)
def test_transposed_feedback_is_backpropagation(kind):
    make, data = CASES[kind]
    images, labels = data()
    model = transposed(routed(make(), everywhere("fa"), images))
    assert_equal(gradients(model, images, labels=labels), gradients(make(), images, labels=labels))


@pytest.mark.parametrize("kind", CASES)
def test_low_rank_feedback_that_factors_the_weights_is_backpropagation(kind):
    make, data = CASES[kind]
    images, labels = data()
    network = make()
    rules = {
        name: make_rule("ldfa", rank=layer.weight.shape[0])
        for name, layer in list(network.named_modules())
        if isinstance(layer, nn.Linear | nn.Conv2d)
    }
    rules.pop(next(iter(rules)))
    model = routed(network, rules, images)
    for edge, feedback in zip(model.edges, model.feedback.values(), strict=True):
        W = network.get_submodule(edge.target.module).weight
        feedback.P.data.copy_(torch.linalg.qr(torch.randn(len(W), len(W), dtype=W.dtype)).Q)
        feedback.Q.data.copy_((feedback.P.data @ W.data.flatten(1)).reshape(feedback.Q.shape))
    true = gradients(make(), images, labels=labels)
    assert_equal(gradients(model, images, labels=labels), true, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("kind", CASES)
def test_low_rank_feedback_with_identity_projection_is_feedback_alignment(kind):
    make, data = CASES[kind]
    images, labels = data()
    site = {"perceptron": "two", "retina": "retina"}[kind]
    fa = routed(make(), into(site, "fa"), images)
    (fixed,) = fa.feedback.values()
    low = routed(make(), into(site, "ldfa", rank=fixed.geometry.m), images)
    (lowrank,) = low.feedback.values()
    lowrank.P.data.copy_(torch.eye(fixed.geometry.m))
    lowrank.Q.data.copy_(fixed.B.data)
    assert_equal(gradients(low, images, labels=labels), gradients(fa, images, labels=labels), rtol=1e-12, atol=1e-16)


def test_direct_feedback_by_the_product_of_later_weights_is_backpropagation_in_a_linear_network():
    images, labels = batch((7,), 3)
    network = perceptron(nn.Identity)
    model = routed(network, everywhere("dfa"), images)
    product = torch.eye(3, dtype=torch.float64)
    for layer, feedback in zip(("out", "three", "two"), reversed(list(model.feedback.values())), strict=True):
        product = product @ network.get_submodule(layer).weight.data
        feedback.B.data.copy_(product)
    true = gradients(perceptron(nn.Identity), images, labels=labels)
    assert_equal(gradients(model, images, labels=labels), true, rtol=1e-10, atol=1e-15)


def test_direct_low_rank_feedback_from_the_next_layer_is_layerwise_low_rank_feedback():
    images, labels = batch((1, 6, 6), 5)
    layerwise = routed(retina(), into("retina", "ldfa", rank=2, q="hebbian"), images)
    direct = routed(retina(), into("retina", "dldfa", rank=2, q="hebbian", source="vvs.conv1"), images)
    assert_equal(gradients(layerwise, images, labels=labels), gradients(direct, images, labels=labels))
    (a,), (b,) = layerwise.feedback.values(), direct.feedback.values()
    assert torch.equal(a.Q.grad, b.Q.grad)
    assert torch.equal(a.P.grad, b.P.grad)


def test_direct_low_rank_feedback_from_the_output_with_identity_projection_is_direct_feedback():
    images, labels = batch((1, 6, 6), 5)
    dfa = routed(retina(), everywhere("dfa"), images)
    direct = routed(retina(), everywhere("dldfa", rank=5), images)
    for full, low in zip(dfa.feedback.values(), direct.feedback.values(), strict=True):
        low.P.data.copy_(torch.eye(5))
        low.Q.data.copy_(full.B.data)
    assert_equal(
        gradients(direct, images, labels=labels),
        gradients(dfa, images, labels=labels),
        rtol=1e-12,
        atol=1e-16,
    )


@pytest.mark.parametrize(("name", "options"), [("dfa", {}), ("dldfa", {"rank": 2})])
def test_an_error_delivered_from_the_output_into_a_feature_map_varies_over_space(name, options):
    images, labels = batch((1, 6, 6), 5)
    model = routed(retina(), into("retina", name, **options), images)
    (delta,) = model.teaching_signals(images, labels).values()
    within = delta.var(dim=(2, 3)).mean()
    assert within > 0.5 * delta.var()  # a repeated error has none


def test_feature_maps_of_whole_multiples_are_joined_by_a_strided_map():
    network = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1), nn.AvgPool2d(2), nn.Conv2d(4, 5, 3, padding=1),
        nn.Flatten(), nn.Linear(5 * 9, 2),
    )  # fmt: skip
    model = routed(network.double(), into("1", "dldfa", rank=2, source="3"), torch.zeros(2, 1, 6, 6).double())
    (feedback,) = model.feedback.values()
    assert feedback.geometry.stride == (2, 2)
    (delta,) = model.teaching_signals(torch.randn(4, 1, 6, 6).double(), torch.tensor([0, 1, 0, 1])).values()
    assert delta.shape == (4, 3, 6, 6)


def test_convolutional_feedback_is_the_transpose_of_the_convolution_matrix():
    torch.manual_seed(0)
    geometry = Convolution(4, 3, (3, 3), (1, 1), (1, 1), (1, 1))
    W, delta, like = torch.randn(4, 3, 3, 3), torch.randn(2, 4, 5, 5), torch.randn(2, 3, 5, 5)
    dense = convolution_matrix(W.double(), 5, 1)
    carried = geometry.adjoint(W.double(), delta.double(), like.double())
    torch.testing.assert_close(carried.reshape(2, -1), delta.double().reshape(2, -1) @ dense)


def test_hebbian_q_is_p_times_the_weight_gradient():
    # eq. 18 with eq. 13: sum h (P delta)^T = P sum delta h^T
    images, labels = batch((1, 6, 6), 5)
    model = routed(retina(), into("vvs.conv2", "ldfa", rank=2, q="hebbian"), images)
    weight = gradients(model, images, labels=labels)["vvs.conv2.weight"]
    (feedback,) = model.feedback.values()
    expected = (feedback.P.data @ weight.flatten(1)).reshape(feedback.Q.shape)
    torch.testing.assert_close(feedback.Q.grad, expected, rtol=1e-10, atol=1e-15)


def test_oja_is_equation_15_averaged_over_samples():
    torch.manual_seed(0)
    P, errors = torch.randn(2, 5).double(), torch.randn(11, 5).double()
    weight = 1 / 11
    torch.testing.assert_close(-plasticity.oja(P, errors * weight, weight), oja_sample_by_sample(P, errors))


def test_normalised_oja_is_algorithm_2():
    torch.manual_seed(0)
    P, errors = torch.randn(2, 5).double(), torch.randn(11, 5).double() + 1
    torch.testing.assert_close(-plasticity.oja(P, errors * 0.03, 0.03, "max"), algorithm_2(P, errors))


def test_oja_of_the_released_code_is_algorithm_2_times_the_samples_less_one():
    torch.manual_seed(0)
    P, errors = torch.randn(2, 5).double(), torch.randn(11, 5).double()
    torch.testing.assert_close(plasticity.oja(P, errors, 1.0, "std"), 10 * plasticity.oja(P, errors, 1.0, "max"))


def test_an_error_without_variance_moves_no_projection():
    assert not plasticity.oja(torch.randn(2, 5), torch.zeros(4, 5), 1.0, "max").any()


@pytest.mark.parametrize("normalise", ["none", "max"])
def test_oja_reaches_the_principal_subspace_of_a_stationary_error(normalise):
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(8, 8).double()).Q
    errors = torch.randn(4000, 8).double() @ torch.diag(torch.tensor([3.0, 2.5, 2, 0.8, 0.6, 0.5, 0.4, 0.3]).double())
    errors = errors @ basis.T
    errors = errors - errors.mean(0)
    P = 0.1 * torch.randn(3, 8).double()
    for _ in range(3000):
        P = P - (0.02 if normalise == "none" else 0.2) * plasticity.oja(P, errors / 4000, 1 / 4000, normalise)
    principal = torch.linalg.eigh(errors.T @ errors).eigenvectors[:, -3:]
    cosines = torch.linalg.svdvals(torch.linalg.qr(P.T).Q.T @ principal)
    assert math.degrees(math.acos(min(1.0, float(cosines.min())))) < 2
    torch.testing.assert_close(P @ P.T, torch.eye(3).double(), rtol=0, atol=1e-6)


def test_oja_with_decay_has_the_fixed_point_of_its_equation():
    # s_i^2 = 1 - lambda / c_i, and directions with c_i <= lambda vanish
    variances, decay = torch.tensor([4.0, 2.0, 1.0, 0.25]).double(), 0.5
    errors = torch.diag(variances.sqrt()) * 2  # <delta delta^T> over these four samples is diag(variances)
    P = 0.3 * torch.eye(4).double() + 0.01
    for _ in range(20000):
        P = P - 0.02 * (plasticity.oja(P, errors / 4, 1 / 4) + decay * P)
    expected = (1 - decay / variances).clamp_min(0).sqrt()
    torch.testing.assert_close(torch.linalg.svdvals(P), expected, rtol=0, atol=1e-6)


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
        dQ, dP = feedback.plasticity(delta, h, 1 / 4, None, *feedback.maps)
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


@pytest.mark.parametrize("rank", [1, 4, 32])
def test_low_rank_feedback_starts_with_the_spread_of_the_weights_at_every_rank(rank):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 300), nn.ReLU(), nn.Linear(300, 200))
    model = routed(network, into("2", "ldfa", rank=rank), torch.zeros(2, 3))
    (feedback,) = model.feedback.values()
    ratio = feedback.effective().std() / network[2].weight.detach().std()
    assert abs(float(ratio) - 1) < 4 / math.sqrt(200 * rank)  # four standard errors of P's norm, the coarser factor


def test_feedback_of_a_site_does_not_depend_on_the_other_sites():
    images, _ = batch((1, 6, 6), 5)
    alone = routed(retina(), into("vvs.conv2", "fa"), images)
    among = routed(retina(), everywhere("fa"), images)
    key = next(iter(alone.feedback))
    assert torch.equal(alone.feedback[key].B, among.feedback[key].B)
    assert not torch.equal(alone.feedback[key].B, routed(retina(), everywhere("fa"), images, seed=1).feedback[key].B)


def test_penultimate_broadcast_reaches_all_earlier_sites_and_leaves_the_last_layer_to_backpropagation():
    images, labels = batch((1, 6, 6), 5)
    model = routed(retina(), everywhere("dldfa", rank=2, source="penultimate"), images)
    assert [edge.target.module for edge in model.edges] == ["retina.conv2", "vvs.conv1", "vvs.conv2", "head.dense"]
    true = gradients(retina(), images, labels=labels)
    found = gradients(model, images, labels=labels)
    assert all(torch.equal(found[n], true[n]) for n in true if n.startswith("head"))


@pytest.mark.parametrize("name", ["fa", "ldfa", "ldfa_normative"])
def test_a_layer_of_one_weight_has_finite_feedback(name):
    network = nn.Sequential(nn.Linear(2, 1), nn.Tanh(), nn.Linear(1, 1), nn.Tanh(), nn.Linear(1, 2))
    model = routed(network, into("2", name, **({} if name == "fa" else {"rank": 1})), torch.zeros(2, 2))
    assert all(p.isfinite().all() for p in model.feedback.parameters())


def test_normative_feedback_follows_weights_that_are_replaced():
    network = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2))
    model = routed(network, into("2", "ldfa_normative", rank=2), torch.zeros(2, 2))
    state = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
    model.load_state_dict(state, assign=True)
    images, labels = torch.randn(4, 2).double(), torch.tensor([0, 1, 0, 1])
    CROSS_ENTROPY(model(images, labels), labels).backward()
    assert all(not p.grad.any() for p in model.feedback_parameters())  # at Q = P = W = 0 the rule stands still


def test_an_empty_batch_passes():
    model = routed(perceptron(), everywhere("fa"), torch.zeros(2, 7).double())
    assert model(torch.zeros(0, 7).double()).shape == (0, 3)


def test_labels_drive_the_projection_where_targets_are_used():
    images, labels = batch((7,), 3)
    model = routed(perceptron(), into("out", "ldfa", rank=2, use_targets=True), images)
    model.zero_grad()
    CROSS_ENTROPY(model(images, labels), labels).backward()
    (feedback,) = model.feedback.values()
    onehot = nn.functional.one_hot(labels, 3).double()
    torch.testing.assert_close(-feedback.P.grad, algorithm_2(feedback.P.data, onehot))

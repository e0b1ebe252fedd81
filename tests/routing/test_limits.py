"""Exact limits of the rules: where each must equal another."""

from __future__ import annotations

import pytest
import torch
from networks import (
    CASES,
    assert_equal,
    batch,
    everywhere,
    gradients,
    into,
    perceptron,
    retina,
    routed,
    transposed,
)
from torch import nn

from rfmodel.routing import make_rule


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


def test_an_empty_batch_passes():
    model = routed(perceptron(), everywhere("fa"), torch.zeros(2, 7).double())
    assert model(torch.zeros(0, 7).double()).shape == (0, 3)


def test_targets_project_the_label_whatever_the_network_predicts():
    images, labels = batch((7,), 3)
    model = routed(perceptron(), everywhere("drtp"), images)
    other = routed(perceptron(seed=8), everywhere("drtp"), 5 * images)
    onehot = nn.functional.one_hot(labels, 3).double()
    for (port, delta), feedback in zip(
        model.teaching_signals(images, labels).items(), model.maps.values(), strict=True
    ):
        torch.testing.assert_close(delta, onehot @ feedback.B / len(labels), rtol=1e-14, atol=0)
        assert torch.equal(delta, other.teaching_signals(5 * images, labels)[port])


def test_the_sign_of_the_error_is_the_sum_of_the_feedback_less_twice_the_target():
    # outputs in (0, 1): sign(y - y*) = 1 - 2 y*, so B sign(e) = B 1 - 2 B y*
    images, labels = batch((7,), 3)
    model = routed(perceptron().append(nn.Sigmoid()), everywhere("drtp"), images)
    onehot = nn.functional.one_hot(labels, 3).double()
    sign = (model.network(images) - onehot).detach().sign()
    for edge, feedback in model.maps.items():
        drtp = model.teaching_signals(images, labels)[edge.target] * len(labels)
        torch.testing.assert_close(sign @ feedback.B, feedback.B.sum(0) - 2 * drtp, rtol=1e-12, atol=1e-14)


def test_dense_sparse_feedback_is_direct_feedback():
    images, labels = batch((1, 6, 6), 5)
    sparse = routed(retina(), everywhere("sparse_dfa", density=1.0), images)
    dfa = routed(retina(), everywhere("dfa"), images)
    assert_equal(gradients(sparse, images, labels=labels), gradients(dfa, images, labels=labels))


@pytest.mark.parametrize("density", [0.01, 0.4, 0.8])
def test_each_unit_hears_the_same_number_of_channels_of_a_sparse_error(density):
    images, _ = batch((1, 6, 6), 5)
    model = routed(retina(), everywhere("sparse_dfa", density=density), images)
    dense = routed(retina(), everywhere("dfa"), images)
    heard = max(1, round(density * 5))
    for edge, feedback in model.maps.items():
        assert ((feedback.B != 0).sum(0) == heard).all()
        kept = feedback.B != 0
        scale = (5 / heard) ** 0.5  # keeps the variance of what is delivered
        torch.testing.assert_close(feedback.B[kept], scale * dense.maps[edge].B[kept], rtol=1e-6, atol=0)

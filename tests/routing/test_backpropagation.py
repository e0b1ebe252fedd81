"""The limit that every rule must have: with the weights' own transposes it is backpropagation, in any network."""

from __future__ import annotations

import pytest
import torch
from networks import (
    ARCHITECTURES,
    CASES,
    assert_equal,
    batch,
    everywhere,
    gradients,
    images_of_eight,
    perceptron,
    routed,
    transposed,
    true_gradients,
)

from rfmodel.routing import Dense, make_rule


@pytest.fixture
def float64():
    """Decompositions of weights are then kept in float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_transposed_feedback_in_any_architecture_is_backpropagation(name):
    images, labels = images_of_eight()
    model = transposed(routed(ARCHITECTURES[name](), everywhere("fa"), images))
    assert len(model.edges) == len(model.weighted) - 1
    assert_equal(gradients(model, images, labels=labels), true_gradients(model, images, labels))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_random_feedback_in_any_architecture_changes_every_layer_but_the_last(name):
    images, labels = images_of_eight()
    model = routed(ARCHITECTURES[name](), everywhere("fa"), images)
    found, true = gradients(model, images, labels=labels), true_gradients(model, images, labels)
    *early, last = (f"{layer}.weight" for layer in model.weighted)
    assert torch.equal(found[last], true[last])
    assert [layer for layer in early if torch.equal(found[layer], true[layer])] == []


@pytest.mark.parametrize("rule", ["ldfa", "ldfa_normative"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_low_rank_feedback_from_the_decomposition_at_full_rank_is_backpropagation(name, rule, float64):
    images, labels = images_of_eight()
    network = ARCHITECTURES[name]()
    weights = [network.get_submodule(layer).weight for layer in routed(network, {}, images).weighted[1:]]
    full = [min(len(W), W[0].numel()) for W in weights]
    model = routed(ARCHITECTURES[name](), everywhere(rule, rank=full, init="svd", qkv="shared"), images)
    true = true_gradients(model, images, labels)
    # Rounding of the decomposition is relative to the weights' greatest singular value.
    assert_equal(gradients(model, images, labels=labels), true, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("kind", CASES)
def test_sign_feedback_with_the_weights_magnitudes_is_backpropagation(kind):
    make, data = CASES[kind]
    images, labels = data()
    for name in ("brsf", "frsf"):
        model = routed(make(), everywhere(name), images)
        for feedback in model.maps.values():
            feedback.M.data.copy_(feedback.layer.weight.data.abs())
        assert_equal(gradients(model, images, labels=labels), true_gradients(model, images, labels))


@pytest.mark.parametrize("kind", CASES)
def test_uniform_sign_feedback_along_weights_of_one_magnitude_is_backpropagation(kind):
    make, data = CASES[kind]
    images, labels = data()
    network = make()
    with torch.no_grad():
        for name, p in network.named_parameters():
            if name.endswith("weight"):
                p.copy_(0.25 * p.sign())
    model = routed(network, everywhere("usf", magnitude=0.25), images)
    assert_equal(gradients(model, images, labels=labels), true_gradients(model, images, labels))


@pytest.mark.parametrize("name", ["kolen_pollack", "weight_mirror"])
@pytest.mark.parametrize("kind", CASES)
def test_learnt_full_rank_feedback_that_has_reached_the_weights_is_backpropagation(kind, name):
    make, data = CASES[kind]
    images, labels = data()
    model = transposed(routed(make(), everywhere(name), images))
    assert_equal(gradients(model, images, labels=labels), true_gradients(model, images, labels))


def test_direct_feedback_by_the_last_weights_is_backpropagation_up_to_the_last_hidden_layer():
    # f' of every later layer lies between the output's error and an earlier one's: no fixed matrix holds it.
    images, labels = batch((7,), 3)
    model = routed(perceptron(), everywhere("dfa"), images)
    weights = {name: model.network.get_submodule(name).weight.data for name in model.weighted}
    product = torch.eye(3).double()
    for edge in reversed(model.edges):
        product = product @ weights[edge.target.module]
        model.maps[edge].B.data.copy_(product)
    found, true = gradients(model, images, labels=labels), true_gradients(model, images, labels)
    for layer in ("three", "out"):
        torch.testing.assert_close(found[f"{layer}.weight"], true[f"{layer}.weight"], rtol=1e-12, atol=1e-16)
    assert not torch.allclose(found["two.weight"], true["two.weight"], rtol=1e-2)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_backpropagation_by_name_lays_no_edge_and_is_exact(name):
    images, labels = images_of_eight()
    model = routed(ARCHITECTURES[name](), everywhere("bp"), images)
    assert model.edges == []
    assert_equal(gradients(model, images, labels=labels), true_gradients(model, images, labels))


def test_rules_can_be_made_from_their_names():
    images, labels = images_of_eight()
    model = routed(ARCHITECTURES["vgg"](), {"*": "dfa"}, images)
    assert all(isinstance(feedback.geometry, Dense) or "head" in str(edge) for edge, feedback in model.maps.items())
    by_rule = routed(ARCHITECTURES["vgg"](), {"*": make_rule("dfa")}, images)
    assert_equal(gradients(model, images, labels=labels), gradients(by_rule, images, labels=labels))

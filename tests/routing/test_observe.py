"""Observation: what a backward pass does, read without leaving a trace."""

from __future__ import annotations

import copy

import pytest
import torch
from networks import (
    ARCHITECTURES,
    CASES,
    CROSS_ENTROPY,
    assert_equal,
    everywhere,
    gradients,
    images_of_eight,
    into,
    residual,
    retina,
    routed,
    true_gradients,
)

from rfmodel.models import RetinaVVS, ViT
from rfmodel.routing import make_rule

RULES = {
    "fa": ("fa", {}),
    "dfa": ("dfa", {}),
    "ldfa": ("ldfa", {"rank": 2, "q": "hebbian"}),
    "kolen_pollack": ("kolen_pollack", {}),
    "drtp": ("drtp", {}),
}


def lay(name, rule):
    images, labels = images_of_eight()
    kind, options = RULES[rule]
    return routed(ARCHITECTURES[name](), everywhere(kind, **options), images), images, labels


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["mlp with batch norm", "resnet of depth 20", "vit, fused q, k and v"])
def test_observed_gradients_are_those_of_a_training_step(name, rule):
    model, images, labels = lay(name, rule)
    seen = model.observe(images, labels).gradients
    assert_equal(seen, gradients(model, images, labels=labels))


@pytest.mark.parametrize("rule", RULES)
def test_the_true_gradients_are_observed_in_exact_mode(rule):
    model, images, labels = lay("resnet of depth 20", rule)
    with model.exact():
        seen = model.observe(images, labels)
    assert_equal(seen.gradients, true_gradients(model, images, labels))
    assert seen.arriving == {}
    assert seen.delivered == {}
    assert seen.signals.keys() == {edge.target for edge in model.edges}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["mlp with batch norm", "resnet of depth 20", "vit, separate q, k and v"])
def test_what_edges_deliver_adds_up_to_the_signal_at_their_target(name, rule):
    model, images, labels = lay(name, rule)
    seen = model.observe(images, labels)
    assert seen.arriving.keys() == seen.delivered.keys() == set(model.edges)
    for target, signal in seen.signals.items():
        total = sum(sent for edge, sent in seen.delivered.items() if edge.target == target)
        torch.testing.assert_close(signal, total, rtol=1e-12, atol=1e-18)


@pytest.mark.parametrize("kind", CASES)
def test_true_signals_at_reciprocal_targets_are_the_weights_transposes_of_the_true_errors(kind):
    make, data = CASES[kind]
    images, labels = data()
    model = routed(make(), everywhere("fa"), images)
    with model.exact():
        true = model.observe(images, labels).signals
    for feedback in model.maps.values():
        feedback.B.data.copy_(feedback.layer.weight.data)
    seen = model.observe(images, labels)
    for target, delta in true.items():
        torch.testing.assert_close(seen.signals[target], delta, rtol=1e-12, atol=1e-18)


def test_the_true_signal_at_a_layer_where_a_skip_begins_is_that_layers_own():
    # With the transposed weights every delivered error is the true one, whatever runs beside it.
    images, labels = images_of_eight()
    model = routed(residual(), everywhere("fa"), images)
    for feedback in model.maps.values():
        feedback.B.data.copy_(feedback.layer.weight.data)
    delivered = model.observe(images, labels).delivered
    with model.exact():
        true = model.observe(images, labels).signals
    for edge, sent in delivered.items():
        torch.testing.assert_close(true[edge.target], sent, rtol=1e-9, atol=1e-16)


@pytest.mark.parametrize("exact", [False, True])
def test_observing_leaves_gradients_buffers_modes_and_the_random_state(exact):
    model, images, labels = lay("resnet of depth 20", "ldfa")
    model.train()
    model.network.layer1.eval()
    CROSS_ENTROPY(model(images, labels), labels).backward()
    grads = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    state, modes = copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]
    random = torch.get_rng_state()
    if exact:
        with model.exact():
            model.observe(images, labels)
    else:
        model.observe(images, labels)
    assert torch.equal(torch.get_rng_state(), random)
    assert_equal(grads, {name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert_equal(state, model.state_dict())
    assert [module.training for module in model.modules()] == modes


DROPPING = {
    "retina": lambda: RetinaVVS(2, 1, 3, 3, size=8, classes=3),
    "vit": lambda: ViT(8, 2, 2, patch=4, channels=1, size=8, classes=3),
}


@pytest.mark.parametrize("name", DROPPING)
def test_observing_a_network_with_dropout_leaves_its_next_step_as_it_was(name):
    images, labels = images_of_eight()
    steps = []
    for look in (False, True):
        torch.manual_seed(0)
        model = routed(DROPPING[name]().double(), everywhere("dfa"), images)
        model.train()
        torch.manual_seed(1)
        if look:
            model.observe(images, labels)
        steps.append(gradients(model, images, labels=labels))
    assert_equal(*steps)


def test_observing_feeds_no_rule_that_works_between_steps():
    images, labels = CASES["retina"][1]()
    model = routed(retina(), everywhere("brsf"), images)
    before = copy.deepcopy(model.state_dict())
    for _ in range(2):
        model.observe(images, labels)
    assert_equal(before, model.state_dict())
    assert model.steps == 0


def test_another_loss_can_be_observed():
    images, labels = CASES["retina"][1]()
    model = routed(retina(), everywhere("fa"), images)

    def twice(output, labels):
        return 2 * CROSS_ENTROPY(output, labels)

    once = model.observe(images, labels).signals
    for target, delta in model.observe(images, labels, twice).signals.items():
        torch.testing.assert_close(delta, 2 * once[target], rtol=1e-12, atol=0)


def test_observing_under_no_grad_is_observing():
    images, labels = CASES["retina"][1]()
    model = routed(retina(), everywhere("fa"), images)
    seen = model.observe(images, labels)
    with torch.no_grad():
        assert_equal(seen.gradients, model.observe(images, labels).gradients)


def test_a_loss_that_fails_leaves_the_network_plain():
    images, labels = CASES["retina"][1]()
    model = routed(retina(), everywhere("kolen_pollack"), images)

    def broken(output, labels):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        model.observe(images, labels, broken)
    assert torch.equal(model.network(images), retina()(images))
    true = gradients(retina(), images, labels=labels)
    assert_equal(gradients(model.network, images, labels=labels), true)


def test_teaching_signals_are_the_observed_signals():
    images, labels = CASES["retina"][1]()
    model = routed(retina(), into("retina", "fa") | {"vvs.conv2": make_rule("dfa")}, images)
    seen = model.observe(images, labels).signals
    signals = model.teaching_signals(images, labels)
    assert seen.keys() == signals.keys()
    assert all(torch.equal(seen[target], signals[target]) for target in seen)

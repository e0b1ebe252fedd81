"""Activation checkpointing runs modules again in the backward pass: every gradient is bitwise what it is without."""

from __future__ import annotations

import copy
import gc
import weakref
from functools import partial

import pytest
import torch
from composed import CELLS, MECHANISMS, assert_same, collected, gradients, lay, named
from networks import CROSS_ENTROPY
from torch.utils.checkpoint import checkpoint

# Modules that are run again. "" is the network, so that taps and cuts all lie within; a stage leaves sources outside
# it; nested, the inner one is run again twice.
REGIONS = {
    "perceptron": [("",)],
    "retina": [("retina", "vvs", "head"), ("", "vvs")],
    "vit": [("blocks.0", "blocks.1")],
    "residual": [("block",)],
    "vgg": [("block2", "block3", "head")],
}


def checkpointed(network, region):
    for name in region:
        module = network.get_submodule(name)
        module.forward = partial(checkpoint, module.forward, use_reentrant=False, preserve_rng_state=True)


def pair(kind, case, region):
    """The same network and rule without checkpoints and with them."""
    whole, images, labels = lay(kind, case)
    again, _, _ = lay(kind, case, change=lambda network: checkpointed(network, region))
    return whole, again, images, labels


@pytest.mark.parametrize(("kind", "case"), CELLS, ids=named(CELLS))
def test_checkpoints_change_no_gradient(kind, case):
    for region in REGIONS[kind]:
        whole, again, images, labels = pair(kind, case, region)
        for _ in range(2):  # a second step: the first has left nothing behind
            assert_same(gradients(again, images, labels), gradients(whole, images, labels))


@pytest.mark.parametrize("case", MECHANISMS)
def test_a_plain_pass_after_a_routed_one_has_true_gradients(case):
    whole, again, images, labels = pair("retina", case, ("retina", "vvs", "head"))
    found = []
    for model in (whole, again):
        CROSS_ENTROPY(model(images, labels), labels).backward()
        model.zero_grad()
        CROSS_ENTROPY(model.network(images), labels).backward()
        found.append(collected(model))
    assert_same(found[1], found[0])
    assert not any(name.startswith("feedback") for name in found[0])


def two_halves(model, images, labels):
    model.loss_weight = 1 / len(images)
    halves = [slice(0, 4), slice(4, 9)]
    return sum(CROSS_ENTROPY(model(images[h], labels[h]), labels[h], reduction="sum") for h in halves) / len(images)


def plain_then_routed(model, images, labels):
    return CROSS_ENTROPY(model.network(images), labels) + CROSS_ENTROPY(model(images, labels), labels)


def routed_then_plain(model, images, labels):
    return CROSS_ENTROPY(model(images, labels), labels) + CROSS_ENTROPY(model.network(images), labels)


def observed_between(model, images, labels):
    loss = CROSS_ENTROPY(model(images, labels), labels)
    model.observe(images, labels)
    with model.exact():
        model.observe(images, labels)
    return loss


@pytest.mark.parametrize("case", MECHANISMS)
@pytest.mark.parametrize("several", [two_halves, plain_then_routed, routed_then_plain, observed_between])
def test_modules_that_run_again_belong_to_their_own_pass(several, case):
    whole, again, images, labels = pair("retina", case, ("retina", "vvs", "head"))
    for model in (whole, again):
        several(model, images, labels).backward()
    assert_same(collected(again), collected(whole))


@pytest.mark.parametrize("case", ["fa", "kolen_pollack", "dldfa"])
def test_observation_sees_what_it_sees_without_checkpoints(case):
    whole, again, images, labels = pair("retina", case, ("retina", "vvs", "head"))
    a, b = whole.observe(images, labels), again.observe(images, labels)
    for kind in ("signals", "gradients", "arriving", "delivered"):
        expected, found = getattr(a, kind), getattr(b, kind)
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[key], found[key]) for key in expected)


@pytest.mark.parametrize("case", ["fa", "ldfa, Hebbian Q", "dfa"])
def test_dropout_is_drawn_once(case):
    def drop(network):
        network.head.dropout.p = 0.5

    def both(network):
        drop(network)
        checkpointed(network, ("retina", "vvs", "head"))

    found = []
    for change in (drop, both):
        model, images, labels = lay("retina", case, change=change)
        torch.manual_seed(3)
        found.append(gradients(model, images, labels))
    assert_same(found[1], found[0])


@pytest.mark.parametrize("case", ["kolen_pollack", "ldfa, Hebbian Q"])
def test_a_layer_has_its_own_weight_after_a_backward_pass(case):
    _, again, images, labels = pair("retina", case, ("retina", "vvs", "head"))
    before = dict(again.network.named_parameters())
    gradients(again, images, labels)
    for name, parameter in before.items():
        module, _, leaf = name.rpartition(".")
        assert getattr(again.network.get_submodule(module), leaf) is parameter


@pytest.mark.parametrize("region", [(), ("retina", "vvs", "head")], ids=["whole", "checkpointed"])
@pytest.mark.parametrize("case", ["kolen_pollack", "dldfa", "drtp"])
def test_activities_are_freed_with_the_graph(case, region):
    _, model, images, labels = pair("retina", case, region)
    seen = []
    model.network.vvs.relu1.register_forward_hook(lambda _, args, out: seen.append(weakref.ref(out)))
    gc.disable()
    try:
        gradients(model, images, labels)
        assert seen
        assert all(ref() is None for ref in seen)
    finally:
        gc.enable()


@pytest.mark.parametrize("case", ["fa", "dldfa"])
def test_a_copy_made_between_forward_and_backward_is_independent(case):
    _, again, images, labels = pair("retina", case, ("retina", "vvs", "head"))
    expected = gradients(again, images, labels)
    again.zero_grad()
    loss = CROSS_ENTROPY(again(images, labels), labels)
    twin = copy.deepcopy(again)
    loss.backward()
    assert_same(collected(again), expected)
    assert_same(gradients(twin, images, labels), expected)

"""What other implementations of these rules were found to get wrong: what is kept, and what depends on the batch."""

from __future__ import annotations

import copy
import inspect
import io

import pytest
import torch
from networks import CASES, CROSS_ENTROPY, assert_equal, batch, everywhere, gradients, retina, routed
from properties import EARLY, TABLE, sites
from steps import do_step, lay, optimisers_of

from rfmodel.routing import RULES, make_rule

cases = pytest.mark.parametrize("case", TABLE)


@cases
def test_options_belong_to_one_rule_and_are_not_changed(case):
    # biotorch: one dict of options is shared by all models, and changed.
    name, options = TABLE[case]
    kept = copy.deepcopy(options)
    made = make_rule(name, **options)
    images, _ = CASES["retina"][1]()
    site = EARLY["retina"] if sites(case) == "early" else "*"
    first, second = (routed(retina(), {site: made}, images) for _ in range(2))
    assert options == kept
    for a, b in zip(first.feedback.parameters(), second.feedback.parameters(), strict=True):
        assert torch.equal(a, b)
        with torch.no_grad():
            a.add_(1)
        assert not torch.equal(a, b)


@cases
def test_a_checkpoint_loads_as_plain_weights_and_holds_the_feedback(case):
    # biotorch: own checkpoints fail to load; jordan-g: feedback is a plain tensor; TinyDFA: it is drawn lazily.
    model, images, labels = lay(case)
    do_step(model, images, labels, optimisers_of(model))
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other, *_ = lay(case, seed=7)
    other.load_state_dict(torch.load(file, weights_only=True))
    held = model.state_dict()
    for name, p in model.feedback.named_parameters(prefix="feedback"):
        assert torch.equal(held[name], p)
    for edge, feedback in model.maps.items():
        assert torch.equal(other.maps[edge].effective(), feedback.effective())
    assert_equal(gradients(other, images, labels=labels), gradients(model, images, labels=labels))


@cases
def test_feedback_is_drawn_once_and_before_the_first_pass(case):
    model, images, labels = lay(case)
    before = [p.clone() for p in model.feedback.parameters()]
    for _ in range(2):
        CROSS_ENTROPY(model(images, labels), labels).backward()
    assert all(torch.equal(a, b) for a, b in zip(before, model.feedback.parameters(), strict=True))


@cases
def test_a_partial_batch_passes(case):
    # DRTP and (s)DFA elsewhere: buffers of the first batch's size, and a crash on the last.
    model, images, labels = lay(case)
    optimisers = optimisers_of(model)
    for part in (slice(0, 9), slice(0, 2), slice(2, 3)):
        do_step(model, images[part], labels[part], optimisers)
    assert all(p.isfinite().all() for p in model.parameters())


@cases
def test_the_signal_of_a_sample_is_its_share_of_the_loss_whatever_the_batch(case):
    # DRTP elsewhere: hidden layers get unreduced labels where the output has a mean, so scale depends on the batch.
    model, images, labels = lay(case)
    once = model.teaching_signals(images[:4], labels[:4])
    twice = model.teaching_signals(images[:4].repeat(2, 1, 1, 1), labels[:4].repeat(2))
    for target, delta in twice.items():
        torch.testing.assert_close(delta[:4], once[target] / 2, rtol=1e-9, atol=1e-16)
    for name, gradient in gradients(model, images[:4].repeat(2, 1, 1, 1), labels=labels[:4].repeat(2)).items():
        single = gradients(model, images[:4], labels=labels[:4])[name]
        torch.testing.assert_close(gradient, single, rtol=1e-8, atol=1e-14)


@cases
def test_no_error_flows_into_the_weights_by_way_of_their_feedback(case):
    # B built from weight.std() or sign(weight) must be detached: the maps hold no graph.
    model, images, labels = lay(case)
    assert all(p.grad_fn is None for p in model.feedback.parameters())
    assert all(not feedback.effective().requires_grad for feedback in model.maps.values())
    for feedback in model.maps.values():
        assert all(t.grad_fn is None for t in feedback.given())


@pytest.mark.parametrize("name", ["usf", "brsf", "frsf"])
def test_sign_rules_write_nothing_in_a_pass(name):
    # biotorch: B is overwritten in each forward pass, which breaks replicas.
    images, labels = batch((1, 6, 6), 5)
    model = routed(retina(), everywhere(name), images)
    replica = copy.deepcopy(model)
    state = copy.deepcopy(model.state_dict())
    versions = [p._version for p in model.feedback.parameters()]
    found = gradients(model, images, labels=labels)
    assert [p._version for p in model.feedback.parameters()] == versions
    assert_equal(state, model.state_dict())
    with torch.no_grad():
        for p in model.network.parameters():
            p.neg_()
    assert_equal(gradients(replica, images, labels=labels), found)  # it follows weights of its own


@cases
def test_two_models_can_be_trained_in_turns(case):
    alone, images, labels = lay(case)
    first, *_ = lay(case)
    second, *_ = lay(case, seed=3)
    for model in (alone, first, second):
        model.tools = optimisers_of(model)
    for _ in range(3):
        do_step(alone, images, labels, alone.tools)
    for _ in range(3):
        do_step(first, images, labels, first.tools)
        do_step(second, images, labels, second.tools)
    assert_equal(dict(alone.network.named_parameters()), dict(first.network.named_parameters()))


@cases
def test_gradients_accumulate_and_are_never_assigned(case):
    # LDFA's direct layers assign .grad, so that a second pass undoes the first.
    model, images, labels = lay(case)
    CROSS_ENTROPY(model(images, labels), labels).backward()
    trained = [*model.network.parameters(), *model.feedback_parameters()]
    once = [p.grad.clone() for p in trained]
    CROSS_ENTROPY(model(images, labels), labels).backward()
    for p, single in zip(trained, once, strict=True):
        torch.testing.assert_close(p.grad, 2 * single, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", sorted(RULES))
def test_options_have_no_mutable_defaults(name):
    for parameter in inspect.signature(RULES[name]).parameters.values():
        assert not isinstance(parameter.default, dict | list | set)

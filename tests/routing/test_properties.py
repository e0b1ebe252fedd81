"""Properties that every registered rule has, on a perceptron and on a convolutional network."""

from __future__ import annotations

import copy

import pytest
import torch
from networks import CASES, CROSS_ENTROPY, gradients, routed
from oracles import multi_root_backward
from properties import BATCH_STATISTICS, EARLY, FACTORED, TABLE, WITHOUT_EDGES, rule, sites

from rfmodel.routing import RULES, Convolution, Labels


def lay(case, kind):
    make, data = CASES[kind]
    images, labels = data()
    site = EARLY[kind] if sites(case) == "early" else "*"
    return routed(make(), {site: rule(case)}, images), images, labels


pytestmark = [pytest.mark.parametrize("kind", CASES), pytest.mark.parametrize("case", TABLE)]


def explicit_carry(model, labels):
    """The error at each target from the effective matrix B alone, or, for convolutions, by torch's own transpose."""

    def one(edge, feedback):
        B, shape = feedback.effective(), feedback.geometry
        if isinstance(feedback, Labels):
            onehot = torch.nn.functional.one_hot(labels, shape.m).to(B.dtype)
            return lambda delta, h: (onehot / len(h) @ B).reshape(h.shape)
        if isinstance(shape, Convolution):
            weight = B.reshape(shape.m, shape.n, *shape.kernel)
            return lambda delta, h: torch.nn.functional.conv_transpose2d(delta, weight, padding=shape.padding)
        return lambda delta, h: (delta.reshape(len(h), -1) @ B).reshape(h.shape)

    return {edge: one(edge, f) for edge, f in zip(model.edges, model.feedback.values(), strict=True)}


def test_taps_agree_with_multi_root_oracle(case, kind):
    model, images, labels = lay(case, kind)
    taps = gradients(model, images, labels=labels)
    plain = copy.deepcopy(CASES[kind][0]())
    literal = multi_root_backward(plain, model.edges, explicit_carry(model, labels), CROSS_ENTROPY, images, labels)
    for name in literal:
        torch.testing.assert_close(taps[name], literal[name], rtol=1e-10, atol=1e-14)


def test_routing_leaves_the_forward_pass_bitwise_unchanged(case, kind):
    model, images, labels = lay(case, kind)
    plain = CASES[kind][0]()
    assert torch.equal(model(images, labels), plain(images))
    assert torch.equal(model.network(images), plain(images))


def test_network_called_by_itself_and_exact_mode_follow_the_true_jacobian(case, kind):
    model, images, labels = lay(case, kind)
    true = gradients(CASES[kind][0](), images, labels=labels)
    bare = gradients(model.network, images, labels=labels)
    with model.exact():
        exact = gradients(model, images, labels=labels)
    assert all(torch.equal(true[n], bare[n]) and torch.equal(true[n], exact[n]) for n in true)
    assert model.routes_errors == bool(model.edges)


def test_last_layer_learns_as_in_backpropagation(case, kind):
    model, images, labels = lay(case, kind)
    name = {"perceptron": "out.weight", "retina": "head.logits.weight"}[kind]
    assert torch.equal(
        gradients(model, images, labels=labels)[name],
        gradients(CASES[kind][0](), images, labels=labels)[name],
    )


def test_plasticity_does_not_depend_on_how_the_batch_is_split(case, kind):
    model, images, labels = lay(case, kind)
    model.loss_weight = 1 / len(images)
    whole, parts = {}, {}
    for found, cuts in ((whole, [slice(0, 9)]), (parts, [slice(0, 2), slice(2, 9)])):
        model.zero_grad()
        for cut in cuts:
            (CROSS_ENTROPY(model(images[cut], labels[cut]), labels[cut], reduction="sum") / len(images)).backward()
        found |= {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    assert whole.keys() == parts.keys()
    for name in whole:
        if case in BATCH_STATISTICS and name.endswith(".P"):
            assert whole[name].isfinite().all()  # Algorithm 2 centres and scales by the batch: it may differ
            continue
        torch.testing.assert_close(whole[name], parts[name], rtol=1e-9, atol=1e-13)


def test_teaching_signal_rank_is_at_most_feedback_rank(case, kind):
    # Between feature maps a channel holds one number a place, so that the bound there is of another kind.
    model, images, labels = lay(case, kind)
    for edge, sent in model.observe(images, labels).delivered.items():
        geometry = model.maps[edge].geometry
        if not isinstance(geometry, Convolution):
            assert torch.linalg.matrix_rank(sent.flatten(1)) <= (model.maps[edge].rank or geometry.m)


def test_teaching_signals_touch_no_gradient(case, kind):
    model, images, labels = lay(case, kind)
    model.teaching_signals(images, labels)
    assert all(p.grad is None for p in model.parameters())


def test_a_copy_is_independent_of_its_original(case, kind):
    model, images, labels = lay(case, kind)
    before = gradients(model, images, labels=labels)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for p in model.feedback.parameters():
            p.zero_()
    after = gradients(twin, images, labels=labels)
    assert all(torch.equal(before[n], after[n]) for n in before)


def test_state_dict_restores_the_feedback(case, kind):
    model, images, labels = lay(case, kind)
    other = routed(CASES[kind][0](seed=5), {EARLY[kind] if sites(case) == "early" else "*": rule(case)}, images, seed=9)
    other.load_state_dict(model.state_dict())
    a, b = gradients(model, images, labels=labels), gradients(other, images, labels=labels)
    assert all(torch.equal(a[n], b[n]) for n in a)


def test_every_registered_rule_is_in_the_property_table(case, kind):
    assert {name for name, _ in (TABLE | WITHOUT_EDGES | FACTORED).values()} == set(RULES)

"""Low-rank feedback: the Hebbian spread, the factorised Kolen-Pollack rule, and the bounds on what they do."""

from __future__ import annotations

import pytest
import torch
from convolutions import CONVOLUTIONS, around, convolution
from networks import (
    CASES,
    CROSS_ENTROPY,
    batch,
    everywhere,
    gradients,
    images_of_eight,
    into,
    perceptron,
    retina,
    routed,
    transformer,
)
from torch import nn

from rfmodel.routing import LowRank

pytestmark = pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel")


def test_hebbian_q_is_p_times_the_weight_gradient():
    # eq. 18 with eq. 13: sum h (P delta)^T = P sum delta h^T
    images, labels = batch((1, 6, 6), 5)
    model = routed(retina(), into("vvs.conv2", "ldfa", rank=2, q="hebbian"), images)
    weight = gradients(model, images, labels=labels)["vvs.conv2.weight"]
    (feedback,) = model.feedback.values()
    expected = (feedback.P.data @ weight.flatten(1)).reshape(feedback.Q.shape)
    torch.testing.assert_close(feedback.Q.grad, expected, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_hebbian_q_is_the_outer_product_of_activity_and_projected_error_along_any_convolution(name):
    # eq. 18: Delta Q = h (P delta)^T, summed over batch and places
    images, labels = batch((1, 7, 6), 3)
    model = routed(around(convolution(name)), into("2", "ldfa", rank=2, q="hebbian"), images)
    (edge,), (feedback,) = model.edges, model.maps.values()
    delta = model.observe(images, labels).arriving[edge]
    CROSS_ENTROPY(model(images, labels), labels).backward()
    layer, h = feedback.layer, model.network[:2](images).detach()
    # By definition: the weight gradient of an ungrouped convolution whose output's error is P delta.
    options = {k: v for k, v in CONVOLUTIONS[name].items() if k not in ("groups", "bias")}
    twin = nn.Conv2d(layer.in_channels, 2, bias=False, **options).double()
    y = torch.einsum("rm,bmyx->bryx", feedback.P.data, delta)
    (expected,) = torch.autograd.grad(twin(h), twin.weight, y)
    torch.testing.assert_close(feedback.Q.grad, expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("case", ["perceptron", "tokens"])
def test_hebbian_q_is_the_outer_product_of_activity_and_projected_error_along_a_dense_layer(case):
    images, labels = batch((7,), 3) if case == "perceptron" else images_of_eight()
    network, site = (perceptron(), "three") if case == "perceptron" else (transformer(), "blocks.1.mlp.fc1")
    model = routed(network, into(site, "ldfa", rank=2, q="hebbian"), images)
    (edge,), (feedback,) = model.edges, model.maps.values()
    delta = model.observe(images, labels).arriving[edge]
    seen = []
    handle = feedback.layer.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    CROSS_ENTROPY(model(images, labels), labels).backward()
    handle.remove()
    h, d = seen[0].flatten(0, -2), delta.flatten(0, -2)
    expected = sum(torch.outer(feedback.P.data @ d[s], h[s]) for s in range(len(h)))
    torch.testing.assert_close(feedback.Q.grad, expected, rtol=1e-10, atol=1e-15)


def test_hebbian_q_of_a_direct_rule_is_driven_by_the_activity_where_the_error_is_delivered():
    images, labels = batch((1, 6, 6), 5)
    model = routed(retina(), into("vvs.conv2", "dldfa", rank=2, q="hebbian"), images)
    (edge,), (feedback,) = model.edges, model.maps.values()
    delta = model.observe(images, labels).arriving[edge]
    CROSS_ENTROPY(model(images, labels), labels).backward()
    h = model.network.vvs.relu1(model.network.vvs.conv1(model.network.retina(images))).detach()
    expected = torch.einsum("br,bnyx->rnyx", delta @ feedback.P.data.T, h)
    torch.testing.assert_close(feedback.Q.grad, expected, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("qkv", ["each", "fused", "shared"])
def test_factorised_kolen_pollack_is_its_definition(qkv):
    # grad Q = P delta h^T, grad P = Q h delta^T, and lambda times each
    images, labels = images_of_eight()
    options = {"rank": 1, "p": "kolen_pollack", "q": "hebbian", "decay": 0.1, "qkv": qkv}
    model = routed(transformer(), everywhere("ldfa", **options), images)
    dW = gradients(model, images, labels=labels)
    for edge, feedback in model.maps.items():
        whole = dW[f"{edge.target.module}.weight"].flatten(1)
        maps = [feedback] if isinstance(feedback, LowRank) else list(feedback.parts)
        for one, own in zip(maps, whole.chunk(len(maps)), strict=True):
            Q, P = one.Q.data.flatten(1), one.P.data
            torch.testing.assert_close(one.Q.grad.flatten(1), P @ own + 0.1 * Q, rtol=1e-9, atol=1e-14)
            torch.testing.assert_close(one.P.grad, Q @ own.T + 0.1 * P, rtol=1e-9, atol=1e-14)


def test_factorised_kolen_pollack_moves_the_product_as_the_weights_move():
    # d(P^T Q) = P^T P dW + dW Q^T Q: with orthonormal factors of full rank, twice the weights' own step
    torch.manual_seed(0)
    images, labels = batch((7,), 3)
    network = perceptron()
    network.two = nn.Linear(6, 6).double()
    network.three = nn.Linear(6, 4).double()
    model = routed(network, into("two", "ldfa", rank=6, p="kolen_pollack", q="hebbian"), images)
    (feedback,) = model.maps.values()
    feedback.P.data.copy_(torch.linalg.qr(torch.randn(6, 6).double()).Q)
    feedback.Q.data.copy_(torch.linalg.qr(torch.randn(6, 6).double()).Q)
    dW = gradients(model, images, labels=labels)["two.weight"]
    change = feedback.P.grad.T @ feedback.Q + feedback.P.T @ feedback.Q.grad
    torch.testing.assert_close(change, 2 * dW, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("kind", CASES)
def test_a_clipped_signal_stays_within_its_bound_and_is_otherwise_the_same(kind):
    make, data = CASES[kind]
    images, labels = data()
    free = routed(make(), everywhere("dldfa", rank=2), images).observe(images, labels).delivered
    clipped = routed(make(), everywhere("dldfa", rank=2, clip_signal=1e-3), images).observe(images, labels).delivered
    for edge, delta in clipped.items():
        assert float(delta.abs().max()) == 1e-3
        assert torch.equal(delta, free[edge].clamp(-1e-3, 1e-3))


@pytest.mark.parametrize("learning", [{"normalise": "std"}, {"p": "kolen_pollack"}])
@pytest.mark.parametrize("kind", CASES)
def test_clipped_updates_stay_within_their_bound_and_are_otherwise_the_same(kind, learning):
    make, data = CASES[kind]
    images, labels = data()
    found = []
    for bound in (None, 1e-4):
        options = {"rank": 2, "q": "hebbian", "decay": 0.1, "clip_update": bound, **learning}
        model = routed(make(), everywhere("ldfa", **options), images)
        CROSS_ENTROPY(model(images, labels), labels).backward()
        found.append([p.grad for p in model.feedback_parameters()])
    for free, clipped in zip(*found, strict=True):
        assert torch.equal(clipped, free.clamp(-1e-4, 1e-4))
        assert not torch.equal(clipped, free)


def test_clipping_the_feedback_leaves_the_weights_own_gradient_alone():
    images, labels = batch((7,), 3)
    grads = [
        gradients(
            routed(perceptron(), into("two", "ldfa", rank=2, q="hebbian", clip_update=b), images), images, labels=labels
        )
        for b in (None, 1e-6)
    ]
    assert all(torch.equal(grads[0][name], grads[1][name]) for name in grads[0])

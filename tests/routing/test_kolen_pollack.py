"""Kolen & Pollack (1994), Akrout et al. (2019): feedback that gets the weights' own updates."""

from __future__ import annotations

import pytest
import torch
from convolutions import CONVOLUTIONS, around, by_channels, convolution
from networks import ARCHITECTURES, CROSS_ENTROPY, batch, everywhere, images_of_eight, into, perceptron, routed
from torch import nn

from rfmodel.errors import InputError
from rfmodel.routing import Routed, make_rule

pytestmark = pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel")


def assert_same_gradients(model, images, labels):
    model.zero_grad()
    CROSS_ENTROPY(model(images, labels), labels).backward()
    for feedback in model.maps.values():
        assert feedback.B.grad.any()
        assert torch.equal(feedback.B.grad, feedback.layer.weight.grad)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_feedback_has_the_gradient_of_the_weights_bit_for_bit(name):
    images, labels = images_of_eight()
    assert_same_gradients(routed(ARCHITECTURES[name](), everywhere("kolen_pollack"), images), images, labels)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_feedback_along_any_convolution_has_the_gradient_of_the_weights_bit_for_bit(name):
    images, labels = batch((1, 7, 6), 3)
    model = routed(around(convolution(name)), into("2", "kolen_pollack"), images)
    assert_same_gradients(model, images, labels)


def test_feedback_along_a_depthwise_convolution_has_the_gradient_of_the_weights():
    images, labels = batch((1, 7, 6), 3)
    assert_same_gradients(routed(around(by_channels()), into("2", "kolen_pollack"), images), images, labels)


def test_gradients_of_weights_and_feedback_accumulate_alike_and_share_no_memory():
    images, labels = batch((7,), 3)
    model = routed(perceptron(), everywhere("kolen_pollack"), images)
    for part in (slice(0, 4), slice(4, 9)):
        CROSS_ENTROPY(model(images[part], labels[part]), labels[part]).backward()
    for feedback in model.maps.values():
        torch.testing.assert_close(feedback.B.grad, feedback.layer.weight.grad, rtol=1e-14, atol=0)
        feedback.layer.weight.grad.zero_()
        assert feedback.B.grad.any()


def distances(make_optimiser, steps=25):
    """Norms of B - W by step, of all the edges together, on data that are new at every step."""
    images, labels = batch((7,), 3)
    model = routed(perceptron(), everywhere("kolen_pollack"), images)
    optimiser = make_optimiser([*model.network.parameters(), *model.feedback_parameters(as_weights=True)])
    found = []
    for step in range(steps + 1):
        apart = [feedback.B.detach() - feedback.layer.weight.detach() for feedback in model.maps.values()]
        found.append(torch.stack([d.norm() for d in apart]))
        images, labels = batch((7,), 3, seed=step)
        optimiser.zero_grad()
        CROSS_ENTROPY(model(images, labels), labels).backward()
        optimiser.step()
        model.advance()
    return torch.stack(found)


RATE, DECAY = 0.05, 0.3


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_feedback_nears_the_weights_by_the_decay_alone_whatever_the_data(kind):
    found = distances(lambda parameters: kind(parameters, lr=RATE, weight_decay=DECAY))
    torch.testing.assert_close(
        found[1:] / found[:-1], torch.full((25, 3), 1 - RATE * DECAY, dtype=torch.float64), rtol=1e-10, atol=0
    )


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_feedback_stays_as_far_from_the_weights_without_decay(kind):
    found = distances(lambda parameters: kind(parameters, lr=RATE, weight_decay=0.0))
    torch.testing.assert_close(found, found[:1].expand_as(found), rtol=1e-10, atol=0)


def test_decay_inside_adam_breaks_the_law():
    # Adam divides g + lambda W by its own running size and g + lambda B by another: their difference is no decay.
    found = distances(lambda parameters: torch.optim.Adam(parameters, lr=RATE, weight_decay=DECAY))
    expected = found[0] * (1 - RATE * DECAY) ** 25
    assert (found[-1] / expected - 1).abs().min() > 0.1


def test_feedback_belongs_to_the_optimiser_of_the_weights():
    images, _ = batch((7,), 3)
    rules = into("two", "kolen_pollack") | into("three", "ldfa", rank=2, q="hebbian") | into("out", "fa")
    model = routed(perceptron(), rules, images)
    maps = {edge.target.module: feedback for edge, feedback in model.maps.items()}
    identities = [id(p) for p in model.feedback_parameters(as_weights=True)]
    others = [id(p) for p in model.feedback_parameters(as_weights=False)]
    assert identities == [id(maps["two"].B)]
    assert others == [id(maps["three"].Q), id(maps["three"].P)]
    assert {id(p) for p in model.feedback_parameters()} == {*identities, *others}


def test_weights_that_two_layers_share_cannot_be_followed():
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    network[2].weight = network[1].weight
    with pytest.raises(InputError, match="1 and 2 share one weight, which no map can follow; untie"):
        Routed(network, {"2": make_rule("kolen_pollack")}, torch.zeros(2, 3))

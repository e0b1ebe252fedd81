"""Weight mirrors (Akrout et al. 2019): noise through a layer shows the feedback its weights, in mean."""

from __future__ import annotations

import copy

import pytest
import torch
from networks import CROSS_ENTROPY, batch, everywhere, into, perceptron, routed
from torch import nn

from rfmodel.errors import InputError


def dense():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4)).double()
    return network, torch.zeros(2, 3).double(), 1, 1


def tokens():
    network, _, _, _ = dense()
    return network, torch.zeros(2, 6, 3).double(), 6, 1


def padded(**options):
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 3, 3, padding=1, **options)
    network = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Tanh(), layer, nn.Flatten()).double()
    return network, torch.zeros(2, 1, 4, 4).double(), 16, 25


# -> network, example, places, and how many places each place shares noise with, itself included: (2 k - 1)^2
LAYERS = {
    "dense": dense,
    "dense on tokens": tokens,
    "convolution with padding": padded,
    "convolution with circular padding": lambda: padded(padding_mode="circular"),
}


def mirror(name, **options):
    network, example, places, neighbours = LAYERS[name]()
    model = routed(network, into("2", "weight_mirror", **options), example)
    (feedback,) = model.maps.values()
    return model, feedback, places, neighbours


def variance_of_a_product(W):
    # x ~ N(0, 1): var(y_i x_j) = sum_k W_ik^2 + W_ij^2 (Isserlis)
    W = W.flatten(1)
    return W.square().sum(1, keepdim=True) + W.square()


@pytest.mark.parametrize("name", LAYERS)
def test_the_mean_increment_is_the_weights_times_rate_and_noise_power(name):
    rate, noise, samples, steps = 0.02, 1.5, 64, 400
    model, feedback, places, neighbours = mirror(name, rate=rate, noise=noise, samples=samples, decay=0.0)
    before = feedback.effective().clone()
    for _ in range(steps):
        model.advance()
    W = feedback.layer.weight.data.flatten(1)
    mean = (feedback.effective() - before) / (steps * rate * noise**2)
    error = (variance_of_a_product(W) * neighbours / (samples * places * steps)).sqrt()
    assert ((mean - W) / error).abs().max() < 4.5
    assert ((mean - W) / error).square().mean() < 2
    # A tap at the kernel's rim that saw zeros in place of noise would have 3/4 or 9/16 of its weight.
    assert (error.mean() / W.abs().mean()) < 0.1


def test_with_decay_feedback_tends_to_the_weights_in_mean():
    rate, decay, noise, samples, steps = 0.1, 0.1, 0.8, 64, 600
    model, feedback, *_ = mirror("dense", rate=rate, noise=noise, samples=samples, decay=decay)
    for _ in range(100):  # 0.9^100 of the start is left
        model.advance()
    total = torch.zeros_like(feedback.B)
    for _ in range(steps):
        model.advance()
        total += feedback.B
    W = feedback.layer.weight.data
    # The average of an AR(1) process over T steps has the variance of its increments over (decay^2 T).
    error = rate * noise**2 / decay * (variance_of_a_product(W) / (samples * steps)).sqrt()
    expected = rate * noise**2 / decay * W
    assert ((total / steps - expected) / error).abs().max() < 4.5


def test_decay_alone_shrinks_the_feedback():
    network, example, *_ = dense()
    nn.init.zeros_(network[2].weight)
    model = routed(network, into("2", "weight_mirror", decay=0.25), example)
    (feedback,) = model.maps.values()
    before = feedback.B.clone()
    model.advance()
    assert torch.equal(feedback.B, 0.75 * before)


def test_a_calibrated_mirror_scales_what_it_is_shown():
    plain, calibrated = (mirror("dense", rate=0.1, decay=0.1)[0] for _ in range(2))
    (feedback,) = calibrated.maps.values()
    feedback.rescale(3.0)
    for model in (plain, calibrated):
        for _ in range(5):
            model.advance()
    torch.testing.assert_close(feedback.B, 3 * next(iter(plain.maps.values())).B)


def test_mirroring_touches_neither_network_nor_gradients_nor_the_random_state():
    images, labels = batch((7,), 3)
    model = routed(perceptron(), everywhere("weight_mirror"), images)
    CROSS_ENTROPY(model(images, labels), labels).backward()
    kept = copy.deepcopy(model.network.state_dict())
    grads = {name: p.grad.clone() for name, p in model.network.named_parameters()}
    state = torch.get_rng_state()
    model.advance()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(kept[name], value) for name, value in model.network.state_dict().items())
    assert all(torch.equal(grads[name], p.grad) for name, p in model.network.named_parameters())
    assert model.feedback_parameters() == []
    assert all(feedback.B.grad is None for feedback in model.maps.values())


def test_each_layer_and_each_step_has_noise_of_its_own():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)).double()
    nn.init.eye_(network[1].weight)
    nn.init.eye_(network[2].weight)
    model = routed(network, everywhere("weight_mirror", decay=0.0), torch.zeros(2, 3).double())
    seen = []
    for _ in range(2):
        for feedback in model.maps.values():
            feedback.B.data.zero_()
        model.advance()
        seen += [feedback.B.clone() for feedback in model.maps.values()]
    assert not any(torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])


def test_mirror_steps_come_after_every_so_many_task_steps():
    model, feedback, *_ = mirror("dense", every=3)
    moved = []
    for _ in range(6):
        before = feedback.B.clone()
        model.advance()
        moved.append(not torch.equal(before, feedback.B))
    assert moved == [False, False, True, False, False, True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decay": 1.0}, "decay 1.0 of rule 'weight_mirror' is impossible; use 0 to below 1"),
        ({"decay": -0.1}, "decay -0.1 of rule 'weight_mirror' is impossible"),
        ({"rate": 0}, "rate 0 of rule 'weight_mirror' is impossible; use a number above 0"),
        ({"noise": -1}, "noise -1 of rule 'weight_mirror' is impossible"),
        ({"every": 0}, "every 0 of rule 'weight_mirror' is impossible; use a whole number from 1"),
        ({"samples": 2.5}, "samples 2.5 of rule 'weight_mirror' is impossible"),
    ],
)
def test_options_that_are_impossible(options, message):
    with pytest.raises(InputError, match=message):
        everywhere("weight_mirror", **options)

"""What a training step costs under each rule, counted in operations and relative to backpropagation."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from rfmodel.models import VGG, ViT
from rfmodel.routing import Routed, make_rule
from rfmodel.rule_bench import flops

BATCH = 128


def ratio(make, site, name, **options):
    return flops(make, {site: make_rule(name, **options)}, BATCH) / flops(make, {}, BATCH)


@pytest.mark.parametrize("name", ["fa", "usf", "brsf", "frsf", "kolen_pollack"])
@pytest.mark.parametrize("make", [VGG, ViT])
def test_full_rank_layerwise_feedback_costs_what_backpropagation_costs(make, name):
    assert ratio(make, "*", name) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("name", ["dfa", "sparse_dfa", "drtp"])
def test_direct_feedback_spares_the_backward_pass_of_errors(name):
    assert ratio(VGG, "*", name) <= 0.68
    assert ratio(ViT, "*", name) <= 0.69  # the attention itself, 2 % of it, stays with backpropagation


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ldfa", {}),
        ("ldfa", {"q": "hebbian"}),
        ("ldfa", {"q": "hebbian", "p": "kolen_pollack"}),
        ("ldfa_normative", {}),
    ],
)
def test_low_rank_feedback_costs_three_quarters_of_backpropagation(name, options):
    assert ratio(VGG, "*", name, rank=0.125, **options) <= 0.78
    assert ratio(ViT, "blocks.*", name, rank=24, **options) <= 0.75


def counted(model, images, labels):
    model.zero_grad()
    with FlopCounterMode(display=False) as counter:
        nn.functional.cross_entropy(
            model(images, labels) if isinstance(model, Routed) else model(images), labels
        ).backward()
    return counter.get_total_flops()


@pytest.mark.parametrize(("q", "hebbian"), [("fixed", 0), ("hebbian", 1)])
def test_low_rank_feedback_on_a_dense_layer_costs_its_closed_form(q, hebbian):
    n, m, r, b = 40, 60, 3, 50
    network = nn.Sequential(nn.Linear(20, n), nn.Tanh(), nn.Linear(n, m))
    images, labels = torch.randn(b, 20), torch.randint(0, m, (b,))
    exact = counted(network, images, labels)
    model = Routed(network, {"2": make_rule("ldfa", rank=r, q=q)}, images)
    spared = 2 * b * m * n  # W^T delta
    # P delta, Q^T y, y delta^T; (P C) P^T and its product with P, P times the mean; P times the weight's gradient
    added = 2 * (b * r * m + b * r * n + b * r * m + r * m * r + r * r * m + r * m + hebbian * r * m * n)
    assert abs(counted(model, images, labels) - (exact - spared + added)) <= 2 * r * m  # the mean may go uncounted


class Calls(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.seen, self.largest = Counter(), 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.seen[function.overloadpacket.__name__] += 1
        return function(*args, **(kwargs or {}))


def calls(model, images, labels):
    loss = nn.functional.cross_entropy(model(images, labels), labels)
    with Calls() as counter:
        loss.backward()
    return counter.seen


@pytest.fixture
def convolutional():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 8, 3),
        nn.Flatten(), nn.Linear(8 * 36, 5),
    )  # fmt: skip
    return network, torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 3])


@pytest.mark.parametrize(
    ("name", "options", "extra"),
    [
        ("fa", {}, 2),  # each site's error by a call of its own, beside the layer's weight gradient
        ("kolen_pollack", {}, 2),  # B's update is the weight's own: no further call
        ("ldfa", {"rank": 2}, 2),
        ("ldfa", {"rank": 2, "q": "hebbian"}, 2),  # P times the weight's own gradient: no further call
        ("ldfa_normative", {"rank": 2}, 2),
        ("dfa", {}, 0),
    ],
)
def test_feedback_calls_the_convolution_backward_no_more_than_its_mathematics_asks(convolutional, name, options, extra):
    network, images, labels = convolutional
    plain = calls(Routed(network, {}, images), images, labels)["convolution_backward"]
    sites = {"2": make_rule(name, **options), "4": make_rule(name, **options)}
    assert calls(Routed(network, sites, images), images, labels)["convolution_backward"] == plain + extra


def test_oja_forms_no_covariance_of_the_error(convolutional):
    network, images, labels = convolutional
    m, found = 16, []

    class Shapes(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                found.append(tuple(result.shape))
            return result

    model = Routed(network, {"2": make_rule("ldfa", rank=2)}, images)
    loss = nn.functional.cross_entropy(model(images, labels), labels)
    with Shapes():
        loss.backward()
    assert (2, m) in found  # P's update was made
    assert (m, m) not in found

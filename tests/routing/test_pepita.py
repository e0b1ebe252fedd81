"""PEPITA: the two passes and updates of Dellaferrera & Kreiman (2022), sample by sample and patch by patch."""

from __future__ import annotations

import pytest
import torch
from networks import CASES, batch, everywhere, gradients, perceptron, residual, routed
from refusing import refused
from torch import nn

from rfmodel.errors import InputError
from rfmodel.models import LeNet, SmallConv
from rfmodel.routing import Port, Routed, make_rule, trace
from rfmodel.routing.pepita import TwoPasses

OPTIONS = [
    {"scale": 0.5, "error": error, "law": law} for error in ("standard", "modulated") for law in ("uniform", "normal")
]


def softmax(z):
    return z.exp() / z.exp().sum()


def dense_updates(network, F, images, labels, error):
    """Algorithm 1 for layers one, two, three and out with tanh between, one sample after the other."""
    layers = [network.one, network.two, network.three, network.out]

    def forward(x):
        h = [x]
        for layer in layers[:-1]:
            h.append(torch.tanh(layer.weight @ h[-1] + layer.bias))
        return h, layers[-1].weight @ h[-1] + layers[-1].bias

    updates = [[torch.zeros_like(layer.weight), torch.zeros_like(layer.bias)] for layer in layers]
    for x, label in zip(images, labels, strict=True):
        y = torch.zeros(3, dtype=torch.float64)
        y[label] = 1
        h, z = forward(x)
        e = softmax(z) - y
        h_err, z_err = forward(x + F @ e)
        changes = [a - b for a, b in zip(h[1:], h_err[1:], strict=True)]
        changes.append(e if error == "standard" else softmax(z_err) - y)
        for update, change, before in zip(updates, changes, h_err, strict=True):
            update[0] += torch.outer(change, before) / len(images)
            update[1] += change / len(images)
    return [part for update in updates for part in update]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_updates_of_dense_layers_are_those_of_the_algorithm(options):
    images, labels = batch((7,), 3)
    model = routed(perceptron(), everywhere("pepita", **options), images)
    found = gradients(model, images, labels=labels)
    with torch.no_grad():
        expected = dense_updates(model.network, model.own_step.F, images, labels, options["error"])
    for update, literal in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(update, literal, rtol=1e-9, atol=1e-14)  # sums in another order


class Convolutional(nn.Module):
    """A strided convolution with padding, relu and a 2 x 2 maximum, before dense logits."""

    def __init__(self):
        super().__init__()
        self.conv, self.relu, self.pool = nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.ReLU(), nn.MaxPool2d(2)
        self.flatten, self.out = nn.Flatten(), nn.Linear(12, 3)

    def forward(self, x):
        return self.out(self.flatten(self.pool(self.relu(self.conv(x)))))


@pytest.mark.parametrize(("places", "over"), [("mean", 16.0), ("sqrt", 4.0), ("sum", 1.0)])
def test_updates_of_convolutions_are_correlations_over_places(places, over):
    torch.manual_seed(0)
    images, labels = batch((2, 8, 8), 3, 4)
    model = routed(Convolutional().double(), everywhere("pepita", scale=1.0, places=places), images)
    found = gradients(model, images, labels=labels)
    network, F = model.network, model.own_step.F
    with torch.no_grad():
        e = nn.functional.softmax(network(images), 1) - nn.functional.one_hot(labels, 3)
        changed = images + (e @ F.T).reshape(images.shape)
        difference = network.relu(network.conv(images)) - network.relu(network.conv(changed))
        padded = nn.functional.pad(changed, (1, 1, 1, 1))
        dK, db = torch.zeros_like(network.conv.weight), torch.zeros_like(network.conv.bias)
        for n in range(4):
            for i in range(4):
                for j in range(4):
                    patch = padded[n, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
                    dK += difference[n, :, i, j].reshape(3, 1, 1, 1) * patch / (4 * over)
                    db += difference[n, :, i, j] / (4 * over)
        read = network.pool(network.relu(network.conv(changed))).flatten(1)
        expected = [dK, db, e.T @ read / 4, e.sum(0) / 4]
    for update, literal in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(update, literal, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("kind", CASES)
def test_without_modulation_hidden_layers_learn_nothing_and_the_last_as_in_backpropagation(kind):
    make, data = CASES[kind]
    images, labels = data()
    found = gradients(routed(make(), everywhere("pepita", scale=0), images), images, labels=labels)
    true = gradients(make(), images, labels=labels)
    last = {"perceptron": "out", "retina": "head.logits"}[kind]
    for name, update in found.items():
        if name.startswith(last):
            torch.testing.assert_close(update, true[name], rtol=1e-12, atol=1e-15)  # products in another order
        else:
            assert not update.any()


def test_updates_of_hidden_layers_are_linear_in_small_modulations():
    # (h - h_err) (x + F e)^T = -J F e x^T + O(F^2): halving F halves the first layer's update.
    images, labels = batch((7,), 3)
    whole, half = (
        gradients(routed(perceptron(), everywhere("pepita", scale=s), images), images, labels=labels)
        for s in (1e-6, 5e-7)
    )
    torch.testing.assert_close(whole["one.weight"], 2 * half["one.weight"], rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize("law", ["uniform", "normal"])
def test_the_modulation_has_the_spread_of_hes_law_times_the_scale(law):
    images = torch.zeros(2, 3, 32, 32)
    F = Routed(SmallConv(1 / 24), everywhere("pepita", law=law), images).own_step.F
    # 30720 draws: the standard deviation of their standard deviation is 0.4 % at most.
    assert F.shape == (3072, 10)
    assert F.std().item() == pytest.approx(0.05 * (2 / 3072) ** 0.5, rel=0.02)
    assert F.mean().abs().item() < 4 * F.std().item() / 30720**0.5
    assert (F.abs().max().item() <= 0.05 * (6 / 3072) ** 0.5 * (1 + 1e-6)) == (law == "uniform")


def test_activities_are_read_behind_nonlinearity_and_dropout_and_before_the_pool():
    model = Routed(SmallConv(1 / 24, dropout=0.5), everywhere("pepita"), torch.zeros(2, 3, 32, 32))
    expected = [f"features.relu{i}" for i in (1, 2, 3)] + ["head.dropout"]
    assert list(model.own_step.activities.values()) == [Port(name) for name in expected]
    lenet = Routed(LeNet(1 / 4), everywhere("pepita"), torch.zeros(2, 3, 32, 32))
    assert [port.module for port in lenet.own_step.activities.values()][2:] == ["features.relu3", "head.relu"]


def test_both_passes_drop_the_same_units():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(7, 40), nn.ReLU(), nn.Dropout(0.5), nn.Linear(40, 3)).double()
    images, labels = batch((7,), 3, 1)
    model = routed(network, everywhere("pepita", scale=5.0), images).train()
    seen = []
    network[2].register_forward_hook(lambda module, args, out: seen.append((args[0] > 0, out > 0)))
    found = gradients(model, images, labels=labels)
    (first, kept), (second, again) = seen
    both = first & second
    assert torch.equal(kept & both, again & both) and (both & ~kept).any()
    assert not found["0.weight"][(both & ~kept)[0]].any() and found["0.weight"][(both & kept)[0]].any(1).all()
    state = torch.get_rng_state()
    loss = nn.functional.cross_entropy(model(images, labels), labels)
    after_first = torch.get_rng_state()
    loss.backward()
    assert not torch.equal(state, after_first) and torch.equal(torch.get_rng_state(), after_first)


def test_frozen_weights_are_left_alone():
    images, labels = batch((7,), 3)
    network = perceptron()
    network.two.weight.requires_grad_(False)
    model = routed(network, everywhere("pepita", scale=1.0), images)
    nn.functional.cross_entropy(model(images, labels), labels).backward()
    assert network.two.weight.grad is None
    assert all(p.grad is not None and p.grad.any() for name, p in network.named_parameters() if name != "two.weight")


def test_a_pass_without_gradients_is_the_networks():
    images, labels = batch((7,), 3)
    model = routed(perceptron(), everywhere("pepita"), images)
    with torch.no_grad():
        assert not model(images, labels).requires_grad
        assert torch.equal(model(images), model.network(images))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": -1}, "scale -1 of rule 'pepita' is impossible; use 0 or a positive number"),
        ({"law": "he"}, "option law of rule 'pepita': 'he'"),
        ({"error": "both"}, "option error of rule 'pepita': 'both'"),
        ({"places": "max"}, "option places of rule 'pepita': 'max'"),
    ],
    ids=str,
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        make_rule("pepita", **options)


def test_other_rules_beside_it_and_parts_of_networks_are_refused():
    images = torch.zeros(2, 7, dtype=torch.float64)
    whole = "is a training step of its own and teaches whole networks; found "
    refused(whole + "'two': lay it over", perceptron(), {"two": "pepita"}, images)
    refused(whole + r"'\*', 'out': lay it over '\*', and no other", perceptron(), {"*": "pepita", "out": "bp"}, images)


def chain(*layers):
    return nn.Sequential(*layers).double()


class Doubled(nn.Module):
    """Two branches that read the image, so that a cut after either leaves a way past it."""

    def __init__(self):
        super().__init__()
        self.one, self.f, self.two, self.g, self.out = (
            nn.Linear(7, 4),
            nn.Tanh(),
            nn.Linear(7, 4),
            nn.Tanh(),
            nn.Linear(4, 3),
        )

    def forward(self, x):
        return self.out(self.f(self.one(x)) + self.g(self.two(x)))


def test_networks_for_which_it_is_not_defined_are_refused():
    images = torch.zeros(2, 7, dtype=torch.float64)
    rules = {"*": "pepita"}
    refused(r"'bn1.weight' \(BatchNorm2d\) learns beside them", residual(), rules, torch.zeros(2, 1, 8, 8).double())
    plain = chain(nn.Linear(7, 4), nn.BatchNorm1d(4, affine=False), nn.ReLU(), nn.Linear(4, 3))
    refused(r"is not defined with '1' \(BatchNorm1d\)", plain, rules, images)
    refused("beside 'two' another way leads from 'one' to the output", Doubled().double(), rules, images)
    linear = chain(nn.Linear(7, 4), nn.Linear(4, 3))
    refused(r"after '0' gives in two passes, and no such module of its size \(4,\) follows", linear, rules, images)
    late = chain(nn.Linear(7, 4), nn.Tanh(), nn.Linear(4, 3), nn.Flatten(0))
    refused("one logit a class; found", late, rules, images)
    with pytest.raises(InputError, match="needs a hidden layer, and the network has 1 weighted; use bp"):
        TwoPasses(trace(chain(nn.Linear(7, 3)), images), 0, 1.0, "uniform", False, "mean")

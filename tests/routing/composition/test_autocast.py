"""bfloat16 autocast: each rule within bfloat16's rounding of float32, and every gradient in its parameter's dtype.

u = 2^-8 is the unit roundoff. An activity, an error and a product are rounded at each of L weighted layers, which adds
up to at most 2 L u in a smooth network. Behind a relu, rounding also turns the sign of about a share u of the units of
each layer, and their errors with it: a squared distance of L u. Batch norm over few values makes the latter larger, so
that the network with most of it is compared in eval mode.
"""

from __future__ import annotations

from math import sqrt

import pytest
import torch
from composed import CELLS, MECHANISMS, NETWORKS, collected, lay, named, relative
from networks import CROSS_ENTROPY
from torch import nn

from rfmodel.routing import Port, Routed, make_rule

U = 2**-8
SMOOTH = {"perceptron", "vit"}


def bound(model, kind):
    depth = len(model.weighted)
    return 2 * depth * U + (0 if kind in SMOOTH else sqrt(depth * U))


def step(model, images, labels, bf16, inside=False):
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        loss = CROSS_ENTROPY(model(images, labels).float(), labels)
        if inside:
            loss.backward()
    if not inside:
        loss.backward()
    return collected(model)


def ready(kind, case):
    model, images, labels = lay(kind, case, torch.float32, n=16)
    return (model.eval() if kind == "vgg" else model), images, labels


@pytest.mark.parametrize(("kind", "case"), CELLS, ids=named(CELLS))
def test_gradients_are_those_of_float32_within_rounding(kind, case):
    model, images, labels = ready(kind, case)
    exact, found = step(model, images, labels, False), step(model, images, labels, True)
    assert exact.keys() == found.keys()
    assert all(gradient.dtype == torch.float32 and gradient.isfinite().all() for gradient in found.values())
    for part in ("network.", "feedback."):
        assert relative(found, exact, part) <= bound(model, kind)


@pytest.mark.parametrize(("kind", "case"), [(k, c) for k in NETWORKS for c in MECHANISMS])
def test_each_edge_carries_the_error_that_arrives_within_a_few_roundings(kind, case):
    model, images, labels = ready(kind, case)
    activities = {}
    for port in {edge.target for edge in model.edges}:
        module = model.network.get_submodule(port.module)
        register = module.register_forward_hook if port.side == "output" else module.register_forward_pre_hook
        register(lambda _, args, out=None, p=port: activities.__setitem__(p, args[0] if out is None else out))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        seen = model.observe(images, labels)
    assert {port: signal.dtype for port, signal in seen.signals.items()} == {p: a.dtype for p, a in activities.items()}
    wide = model.double()
    for edge, feedback in wide.maps.items():
        if case == "drtp":
            continue  # it carries labels, not what arrives
        delta, like = seen.arriving[edge].double(), activities[edge.target].double()
        exact = feedback.carry(delta, like, *feedback.given()).detach()
        error = (seen.delivered[edge].double() - exact).norm() / exact.norm()
        assert float(error) <= 8 * U, edge  # two products of rounded factors, each rounded


@pytest.mark.parametrize("case", MECHANISMS)
@pytest.mark.parametrize("kind", ["perceptron", "retina"])
def test_it_does_not_matter_whether_backward_is_called_within_autocast(kind, case):
    model, images, labels = ready(kind, case)
    outside, inside = (step(model, images, labels, True, inside) for inside in (False, True))
    assert all(torch.equal(outside[name], inside[name]) for name in outside)


class ToSingle(nn.Module):
    def forward(self, x):
        return x.float()


class ToHalf(nn.Module):
    def forward(self, x):
        return x.bfloat16()


@pytest.mark.parametrize("cast", [ToSingle, ToHalf])
@pytest.mark.parametrize(
    ("name", "options"), [("fa", {}), ("ldfa", {"rank": 2, "q": "hebbian"}), ("skip", {"k": 1}), ("dfa", {})]
)
def test_an_error_reaches_an_activity_of_another_dtype(name, options, cast):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1),
        nn.Tanh(),
        cast(),
        nn.Conv2d(3, 4, 3, padding=1),
        cast(),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.Tanh(),
        nn.Flatten(),
        cast(),
        nn.Linear(4 * 36, 3),
    )
    images, labels = torch.randn(8, 1, 6, 6), torch.arange(8) % 3
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model = Routed(network, {"*": make_rule(name, **options)}, images)
    found = step(model, images, labels, True)
    for module in network:
        if isinstance(module, ToSingle | ToHalf):
            module.forward = lambda x: x
    exact = step(model, images, labels, False)
    for part in ("network.", "feedback."):
        assert relative(found, exact, part) <= 2 * 4 * U
    expected = torch.float32 if cast is ToSingle else torch.bfloat16
    for module in network:
        vars(module).pop("forward", None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        seen = model.observe(images, labels)
    assert seen.signals[Port("9", "input")].dtype == expected

"""Small networks in float64 for tests of routing: a perceptron and a convolutional one, with data."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from rfmodel.models import RetinaVVS
from rfmodel.routing import Port, Routed, make_rule

CROSS_ENTROPY = nn.functional.cross_entropy


def perceptron(activation=nn.Tanh, seed=0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        OrderedDict(
            one=nn.Linear(7, 6),
            f1=activation(),
            two=nn.Linear(6, 5),
            f2=activation(),
            three=nn.Linear(5, 4),
            f3=activation(),
            out=nn.Linear(4, 3),
        )
    ).double()


def retina(depth=2, bottleneck=3, seed=0) -> RetinaVVS:
    torch.manual_seed(seed)
    return RetinaVVS(bottleneck, depth, width=4, kernel=3, size=6, hidden=8, classes=5, dropout=0.0).double()


def batch(shape, classes, n=9, seed=1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, *shape, generator=generator, dtype=torch.float64)
    return x, torch.randint(0, classes, (n,), generator=generator)


CASES = {
    "perceptron": (perceptron, lambda n=9: batch((7,), 3, n)),
    "retina": (retina, lambda n=9: batch((1, 6, 6), 5, n)),
}


def routed(network, rules, example, seed=0) -> Routed:
    return Routed(network, rules, example, seed).double()


def gradients(model, *inputs, labels, loss=CROSS_ENTROPY) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss(model(*inputs), labels).backward()
    network = model.network if isinstance(model, Routed) else model
    return {name: p.grad.clone() for name, p in network.named_parameters()}


def transposed(model: Routed) -> Routed:
    """Give every reciprocal fixed map its layer's own weight."""
    for edge, feedback in zip(model.edges, model.feedback.values(), strict=True):
        feedback.B.data.copy_(model.network.get_submodule(edge.target.module).weight.data)
    return model


def everywhere(name: str, **options):
    return {"*": make_rule(name, **options)}


def into(site: str, name: str, **options):
    return {site: make_rule(name, **options)}


def port(text: str) -> Port:
    module, _, side = text.rpartition(".")
    return Port(module, side)

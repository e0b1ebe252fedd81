"""Operations of optimisers, counted on numbers that count."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rfmodel.costs import account, operations
from rfmodel.errors import InputError
from rfmodel.routing import Routed


class Number:
    """A number that counts what is done to it; plain floats are what a whole tensor shares."""

    done = 0

    def __init__(self, value):
        self.value = value

    def _count(self, value):
        Number.done += 1
        return Number(value)

    def __add__(self, other):
        return self._count(self.value + getattr(other, "value", other))

    def __sub__(self, other):
        return self._count(self.value - getattr(other, "value", other))

    def __mul__(self, other):
        return self._count(self.value * getattr(other, "value", other))

    def __truediv__(self, other):
        return self._count(self.value / getattr(other, "value", other))

    def root(self):
        return self._count(self.value**0.5)

    def greater(self, other):
        return self._count(max(self.value, other.value))

    __radd__, __rmul__ = __add__, __mul__


W, G, V, M, TOP = 0.7, -0.3, 0.0, 0.0, 0.0
LR, DECAY = 0.01, 0.1


def sgd(w, g, momentum=0.0, nesterov=False, weight_decay=0.0):
    if weight_decay:
        g = g + weight_decay * w
    if momentum:
        buffer = Number(M) * momentum + g
        g = g + momentum * buffer if nesterov else buffer
    return w - LR * g


def rmsprop(w, g, alpha=0.99, eps=1e-8, momentum=0.0, centered=False, weight_decay=0.0):
    if weight_decay:
        g = g + weight_decay * w
    v = alpha * Number(V) + (1 - alpha) * (g * g)
    if centered:
        mean = alpha * Number(M) + (1 - alpha) * g
        v = v - mean * mean
    change = g / (v.root() + eps)
    if momentum:
        change = momentum * Number(M) + change
    return w - LR * change


def adam(w, g, betas=(0.9, 0.999), eps=1e-8, amsgrad=False, weight_decay=0.0, decoupled=False):
    if weight_decay and decoupled:
        w = w * (1 - LR * weight_decay)
    elif weight_decay:
        g = g + weight_decay * w
    m = betas[0] * Number(M) + (1 - betas[0]) * g
    v = betas[1] * Number(V) + (1 - betas[1]) * (g * g)
    if amsgrad:
        v = v.greater(Number(TOP))
    return w - (LR / (1 - betas[0])) * (m / (v.root() / (1 - betas[1]) ** 0.5 + eps))


CASES = [
    ("sgd", sgd, torch.optim.SGD, {}),
    ("sgd", sgd, torch.optim.SGD, {"momentum": 0.9}),
    ("sgd", sgd, torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    ("rmsprop", rmsprop, torch.optim.RMSprop, {}),
    ("rmsprop", rmsprop, torch.optim.RMSprop, {"momentum": 0.5}),
    ("rmsprop", rmsprop, torch.optim.RMSprop, {"centered": True}),
    ("adam", adam, torch.optim.Adam, {}),
    ("adam", adam, torch.optim.Adam, {"amsgrad": True}),
    ("adamw", lambda w, g, **o: adam(w, g, decoupled=True, **o), torch.optim.AdamW, {}),
    ("adamw", lambda w, g, **o: adam(w, g, decoupled=True, **o), torch.optim.AdamW, {"amsgrad": True}),
]


@pytest.mark.parametrize("weight_decay", [0.0, DECAY])
@pytest.mark.parametrize(("name", "formula", "kind", "options"), CASES)
def test_operations_are_those_of_the_formula_that_torch_follows(name, formula, kind, options, weight_decay):
    parameter = nn.Parameter(torch.tensor(W, dtype=torch.double))
    parameter.grad = torch.tensor(G, dtype=torch.double)
    kind([parameter], lr=LR, weight_decay=weight_decay, **options).step()
    Number.done = 0
    found = formula(Number(W), Number(G), weight_decay=weight_decay, **options)
    assert found.value == pytest.approx(float(parameter.detach()), rel=1e-12)  # the formula is the optimiser's
    assert operations(name, weight_decay, options) == Number.done


def test_amsgrad_is_adam_with_a_maximum():
    assert operations("amsgrad") == operations("adam", options={"amsgrad": True}) == operations("adam") + 1
    assert operations("amsgrad", DECAY) == operations("adam", DECAY) + 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("adma", "optimiser 'adma' is unknown: .* did you mean 'adam'"),
        (("adam", "lion"), "optimiser 'lion' is unknown"),
        (("adam", "adam", "adam"), "3 optimisers given; give one, or two"),
        (-1, "optimiser -1 is no count of operations"),
        (("adam", 2.5), "optimiser 2.5 is no count of operations"),
    ],
)
def test_impossible_optimisers_are_refused(given, message):
    routed = Routed(nn.Linear(3, 2), {}, torch.zeros(2, 3))
    with pytest.raises(InputError, match=message):
        account(routed, 2, (3,), optimisers=given)

"""A training step of any case of the property table."""

from __future__ import annotations

import torch
from networks import CASES, CROSS_ENTROPY, routed
from properties import EARLY, rule, sites


def lay(case, kind="retina", seed=0, n=9):
    make, data = CASES[kind]
    images, labels = data(n)
    site = EARLY[kind] if sites(case) == "early" else "*"
    return routed(make(), {site: rule(case)}, images, seed), images, labels


def optimisers_of(model, lr=0.1):
    own = [*model.network.parameters(), *model.feedback_parameters(as_weights=True)]
    found = [torch.optim.SGD(own, lr=lr)]
    if model.feedback_parameters(as_weights=False):
        found.append(torch.optim.SGD(model.feedback_parameters(as_weights=False), lr=1e-3))
    return found


def do_step(model, images, labels, optimisers):
    for optimiser in optimisers:
        optimiser.zero_grad()
    CROSS_ENTROPY(model(images, labels), labels).backward()
    for optimiser in optimisers:
        optimiser.step()
    model.advance(optimisers)

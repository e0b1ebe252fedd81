"""Small networks of every kind, and the measures by which a rule under a mode is compared with the rule alone."""

from __future__ import annotations

from collections import OrderedDict

import torch
from networks import CROSS_ENTROPY, batch, perceptron, retina
from properties import EARLY, FACTORED, TABLE, rule, sites
from torch import Tensor, nn

from rfmodel.models import VGG, ViT
from rfmodel.models.resnet import Basic
from rfmodel.routing import Routed


def residual() -> nn.Sequential:
    """A residual network with batch norm: a stem, a block whose identity skips two convolutions, and a head."""
    return nn.Sequential(
        OrderedDict(
            stem=nn.Conv2d(3, 4, 3, padding=1),
            relu=nn.ReLU(),
            block=Basic(4, 4, 1, nn.Identity()),
            pool=nn.AdaptiveAvgPool2d(2),
            flatten=nn.Flatten(),
            fc=nn.Linear(16, 5),
        )
    )


def vit() -> ViT:
    return ViT(16, 2, 2, patch=4, classes=5, size=8, drop=0.0, attn_drop=0.0, drop_path=0.0)


# name -> (network, shape of an image, classes)
NETWORKS = {
    "perceptron": (perceptron, (7,), 3),
    "retina": (retina, (1, 6, 6), 5),
    "vit": (vit, (3, 8, 8), 5),
    "residual": (residual, (3, 8, 8), 5),
    "vgg": (lambda: VGG(1 / 16, dropout=0.0, classes=5, size=16), (3, 16, 16), 5),
}
# One rule for each mechanism: a fixed map, one that watches weights, one that shares the weight's gradient, one that
# learns from it, one that learns from errors and labels from afar, one that decomposes, one that leaps.
MECHANISMS = [
    "fa",
    "frsf",
    "kolen_pollack",
    "ldfa, Hebbian Q",
    "dldfa",
    "drtp",
    "ldfa_normative",
    "skip by low rank",
]
CELLS = [(kind, case) for kind in ("perceptron", "retina") for case in TABLE]
CELLS += [(kind, case) for kind in ("vit", "residual", "vgg") for case in MECHANISMS]
CELLS += [(kind, case) for kind in ("perceptron", "residual") for case in FACTORED]


def named(cells):
    return [f"{kind}-{case}" for kind, case in cells]


def lay(kind, case, dtype=torch.float64, n=9, change=None) -> tuple[Routed, Tensor, Tensor]:
    """Return a network with a rule laid, and a batch; `change` is done to the plain network."""
    make, shape, classes = NETWORKS[kind]
    torch.manual_seed(0)
    network = make().to(dtype)
    if change is not None:
        change(network)
    images, labels = batch(shape, classes, n)
    images = images.to(dtype)
    site = EARLY[kind] if sites(case) == "early" else "*"
    return Routed(network, {site: rule(case)}, images).to(dtype), images, labels


def gradients(model, images, labels, *, call=None, scale=1.0) -> dict[str, Tensor]:
    """Return every gradient, feedback's pseudo-gradients included; `call` stands for the model where it is wrapped."""
    model.zero_grad()
    loss = CROSS_ENTROPY((model if call is None else call)(images, labels).to(images.dtype), labels) * scale
    loss.backward()
    return collected(model)


def collected(model) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(found, expected, tolerance=0.0) -> None:
    """Every gradient within `tolerance` of its own norm; those that are nought but for rounding, of the greatest's."""
    assert found.keys() == expected.keys()
    assert found, "nothing has a gradient"
    for part in ("network.", "feedback."):
        names = [name for name in expected if name.startswith(part)]
        greatest = max((float(expected[name].norm()) for name in names), default=0.0)
        for name in names:
            assert found[name].dtype == expected[name].dtype
            if not tolerance:
                assert torch.equal(found[name], expected[name]), name
            distance = float((found[name] - expected[name]).norm())
            assert distance <= tolerance * max(float(expected[name].norm()), 1e-3 * greatest), (name, distance)


def relative(found, expected, part) -> float:
    """Distance of all the gradients of a part, taken as one vector, over their norm."""
    names = [name for name in expected if name.startswith(part)]
    if not names:
        return 0.0
    a, b = (torch.cat([g[name].flatten().double() for name in names]) for g in (found, expected))
    return float((a - b).norm() / b.norm())

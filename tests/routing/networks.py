"""Small networks in float64, with data: a perceptron, a retina, and one of each architecture of the package."""

from __future__ import annotations

import copy
from collections import OrderedDict

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from rfmodel.models import MLP, VGG, ResNet, RetinaVVS, ViT
from rfmodel.models.resnet import Basic
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


def transformer(fused=True, depth=2) -> ViT:
    torch.manual_seed(0)
    plain = dict(drop=0.0, attn_drop=0.0, drop_path=0.0, classes=3, channels=1, size=8)
    return ViT(8, depth, 2, 2.0, patch=4, fused_qkv=fused, **plain).double()


def residual(shortcut="A") -> ResNet:
    torch.manual_seed(0)
    return ResNet(20, shortcut, classes=3, channels=1, size=8).double()


def residual_blocks() -> nn.Sequential:
    """A stem, two residual blocks with batch norm, the second of which halves the image, and logits."""
    torch.manual_seed(0)
    layers = dict(stem=nn.Conv2d(1, 4, 3, padding=1), relu=nn.ReLU(), one=Basic(4, 4, 1, nn.Identity()))
    layers |= dict(two=Basic(4, 6, 2, nn.Conv2d(4, 6, 1, 2)), pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten())
    return nn.Sequential(OrderedDict(**layers, fc=nn.Linear(6, 3))).double()


class Checkpointed(nn.Module):
    """What is inside is run again in the backward pass."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return checkpoint(self.inner, x, use_reentrant=False)


def vgg() -> VGG:
    torch.manual_seed(0)
    return VGG(1 / 16, dropout=0.0, classes=3, channels=1, size=8).double()


def mlp() -> MLP:
    torch.manual_seed(0)
    return MLP((6, 5), batch_norm=True, classes=3, channels=1, size=8).double()


ARCHITECTURES = {
    "mlp with batch norm": mlp,
    "vgg": vgg,
    "resnet of depth 20": residual,
    "resnet with projections": lambda: residual("B"),
    "vit, fused q, k and v": transformer,
    "vit, separate q, k and v": lambda: transformer(fused=False),
}


def images_of_eight(n=5):
    return batch((1, 8, 8), 3, n)


def routed(network, rules, example, seed=0) -> Routed:
    return Routed(network, rules, example, seed).double()


def gradients(model, *inputs, labels, loss=CROSS_ENTROPY) -> dict[str, torch.Tensor]:
    model.zero_grad()
    given = (*inputs, labels) if isinstance(model, Routed) and model.routes_errors else inputs
    loss(model(*given), labels).backward()
    network = model.network if isinstance(model, Routed) else model
    return {name: p.grad.clone() for name, p in network.named_parameters()}


def accumulated(model, images, labels, sizes) -> dict[str, torch.Tensor]:
    """Of a batch that arrives in several passes."""
    model.zero_grad()
    model.loss_weight = 1 / len(images)
    for x, y in zip(images.split(sizes), labels.split(sizes), strict=True):
        (CROSS_ENTROPY(model(x, y), y, reduction="sum") / len(images)).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def true_gradients(model, images, labels) -> dict[str, torch.Tensor]:
    """Backpropagation's, in a copy of the network."""
    return gradients(copy.deepcopy(model).network, images, labels=labels)


def assert_equal(a, b, **tolerance):
    """Bit for bit by default."""
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], **(tolerance or {"rtol": 0, "atol": 0}))


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

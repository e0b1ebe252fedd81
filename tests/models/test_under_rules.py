"""Every network can be taught by every kind of rule: no layer is left out, and none hears the true gradient."""

from __future__ import annotations

import pytest
import torch
from networks import assert_equal, batch, everywhere, gradients, routed, transposed, true_gradients
from torch import nn

from rfmodel.errors import InputError
from rfmodel.models import MLP, NETWORKS, VGG, VGG13, LeNet, MobileNet, ResNet, RetinaVVS, SmallConv, ViT

PLAIN = dict(classes=3, channels=1)
# name -> (class's name in NETWORKS, maker, side of an image)
KINDS = {
    "retina_vvs": ("retina_vvs", lambda: RetinaVVS(4, 2, 4, 3, hidden=8, dropout=0.0, size=6, **PLAIN), 6),
    "mlp": ("mlp", lambda: MLP(6, 3, size=6, **PLAIN), 6),
    "vgg": ("vgg", lambda: VGG(1 / 16, dropout=0.0, size=8, **PLAIN), 8),
    "small_conv": ("small_conv", lambda: SmallConv(1 / 24, size=9, **PLAIN), 9),
    "small_conv with batch norm": ("small_conv", lambda: SmallConv(1 / 24, (5, 3, 3), batch_norm=True, **PLAIN), 32),
    "vgg13": ("vgg13", lambda: VGG13(width=1 / 16, size=32, **PLAIN), 32),
    "vgg13 for 224": (
        "vgg13",
        lambda: VGG13("imagenet", 1 / 32, batch_norm=False, dropout=0.0, size=40, **PLAIN),
        40,
    ),
    "lenet": ("lenet", lambda: LeNet(1 / 4, size=19, **PLAIN), 19),
    "resnet": ("resnet", lambda: ResNet(20, size=8, **PLAIN), 8),
    "mobilenet": ("mobilenet", lambda: MobileNet(width=1 / 8, size=16, **PLAIN), 16),
    "vit": ("vit", lambda: ViT(8, 2, 2, drop=0.0, attn_drop=0.0, drop_path=0.0, size=8, **PLAIN), 8),
}
RULES = {"fa": {}, "dfa": {}, "ldfa": {"rank": 2}}
LARGE = {
    "resnet 18": lambda: ResNet(18),
    "resnet 50": lambda: ResNet(50),
    "vgg13 for 224": lambda: VGG13("imagenet"),
    "mobilenet for 224": lambda: MobileNet("imagenet"),
    "vit-b/16": lambda: ViT(768, 12, 12, 4.0, patch=16, size=224, classes=1000),
}


def made(kind):
    _, make, size = KINDS[kind]
    torch.manual_seed(0)
    return make().double(), *batch((1, size, size), 3)


def test_every_network_is_in_the_table():
    assert {name for name, _, _ in KINDS.values()} == set(NETWORKS)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_is_taught_and_only_the_last_by_its_true_gradient(kind, rule):
    network, images, labels = made(kind)
    true = gradients(network, images, labels=labels)
    model = routed(network, everywhere(rule, **RULES[rule]), images)
    found = gradients(model, images, labels=labels)
    weights = [name for name, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert sorted(model.weighted) == sorted(weights)
    assert all(found[f"{layer}.weight"].any() for layer in weights)
    *early, last = (f"{layer}.weight" for layer in model.weighted)
    assert torch.equal(found[last], true[last])
    same = [layer for layer in early if torch.allclose(found[layer], true[layer], rtol=1e-6)]
    assert same == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_map_lies_behind_every_layer_but_the_first(kind):
    network, images, _ = made(kind)
    model = routed(network, everywhere("fa"), images)
    assert {edge.target.module for edge in model.edges} == set(model.weighted[1:])


@pytest.mark.parametrize("make", LARGE.values(), ids=LARGE)
def test_a_map_lies_behind_every_layer_but_the_first_of_a_network_for_224_pixels(make):
    with torch.device("meta"):
        model = routed(make(), everywhere("ldfa", rank=2), torch.empty(2, 3, 224, 224))
        assert {edge.target.module for edge in model.edges} == set(model.weighted[1:])


@pytest.mark.parametrize("kind", KINDS)
def test_transposed_feedback_is_backpropagation(kind):
    network, images, labels = made(kind)
    model = transposed(routed(network, everywhere("fa"), images))
    assert_equal(gradients(model, images, labels=labels), true_gradients(model, images, labels))


REFUSED = {  # by kind, what PEPITA and local losses on images say of it
    "vit": {"predsim": "'pos_drop.output' carries", "auglocal": "'pos_drop.output' carries", "pepita": "learns beside"},
    **{
        kind: {"pepita": r"\(BatchNorm2d\) learns beside them; use a network without norms"}
        for kind in ("vgg", "small_conv with batch norm", "vgg13", "resnet", "mobilenet")
    },
}


@pytest.mark.parametrize("rule", ["predsim", "auglocal", "pepita"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_network_without_what_a_rule_leaves_undefined_is_taught_by_it(kind, rule):
    network, images, labels = made(kind)
    message = REFUSED.get(kind, {}).get(rule)
    if message is not None:
        with pytest.raises(InputError, match=message):
            routed(network, everywhere(rule), images)
        return
    found = gradients(routed(network, everywhere(rule), images), images, labels=labels)
    assert all(gradient.isfinite().all() for gradient in found.values())
    layers = [name for name, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert all(found[f"{layer}.weight"].any() for layer in layers)

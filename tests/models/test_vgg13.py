"""VGG-13 is configuration B of Simonyan & Zisserman, with torchvision's keys."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rfmodel.errors import InputError
from rfmodel.models import VGG13

COLUMN_B = (64, 64, 128, 128, 256, 256, 512, 512, 512, 512)


def build(*args, **options):
    with torch.device("meta"):
        return VGG13(*args, **options)


def count(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize(("head", "classes"), [("cifar", 100), ("imagenet", 1000)])
def test_parameters_are_those_of_column_b(head, classes, batch_norm):
    convolutions = sum(9 * m * n + n for m, n in zip((3, *COLUMN_B), COLUMN_B, strict=False))
    norms = 2 * sum(COLUMN_B) if batch_norm else 0
    units = (512, classes) if head == "cifar" else (512 * 49, 4096, 4096, classes)
    dense = sum(m * n + n for m, n in zip(units, units[1:], strict=False))
    assert count(build(head, batch_norm=batch_norm, classes=classes)) == convolutions + norms + dense


@pytest.mark.parametrize(("batch_norm", "published"), [(False, 133_047_848), (True, 133_053_736)])
def test_large_parameters_are_torchvisions(batch_norm, published):
    assert count(build("imagenet", batch_norm=batch_norm)) == published


def test_keys_are_torchvisions():
    # a stage without norm is conv, relu, conv, relu, pool; with norm it has seven places
    def keys(places, leaves):
        return [f"features.{place}.{leaf}" for place in places for leaf in leaves]

    dense = [f"classifier.{i}.{leaf}" for i in (0, 3, 6) for leaf in ("weight", "bias")]
    plain = build("imagenet", batch_norm=False).state_dict()
    assert list(plain) == keys([5 * s + i for s in range(5) for i in (0, 2)], ("weight", "bias")) + dense
    normed = build("imagenet").state_dict()
    convolutions = keys([7 * s + i for s in range(5) for i in (0, 3)], ("weight", "bias"))
    leaves = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    norms = keys([7 * s + i for s in range(5) for i in (1, 4)], leaves)
    assert set(normed) == {*convolutions, *norms, *dense}


@pytest.mark.parametrize("batch_norm", [False, True])
def test_torchvisions_weights_give_torchvisions_logits_and_gradients(batch_norm):
    models = pytest.importorskip("torchvision.models", reason="the reference is torchvision, extra `vision`")
    torch.manual_seed(0)
    theirs = (models.vgg13_bn if batch_norm else models.vgg13)(weights=None, num_classes=10, dropout=0.0)
    ours = VGG13("imagenet", batch_norm=batch_norm, dropout=0.0, classes=10)
    ours.load_state_dict(theirs.state_dict())
    images, gradients = torch.randn(3, 3, 40, 40), []
    for network in (ours, theirs):
        network(images).logsumexp(1).sum().backward()
        gradients.append({name: p.grad for name, p in network.named_parameters()})
    torch.testing.assert_close(*gradients)
    torch.testing.assert_close(ours.eval()(images), theirs.eval()(images))


@pytest.mark.parametrize(
    ("head", "size", "side", "pooled"), [("cifar", 32, 1, 1), ("cifar", 65, 2, 1), ("imagenet", 224, 7, 7)]
)
def test_stages_halve_the_image_five_times(head, size, side, pooled):
    network = build(head, size=size)
    x = network.features(torch.empty(2, 3, size, size, device="meta"))
    assert x.shape == (2, 512, side, side)
    assert network.avgpool(x).shape == (2, 512, pooled, pooled)


def test_head_decides_classes_size_and_dropout_unless_told():
    small, large = build(), build("imagenet")
    assert (small.classifier[-1].out_features, large.classifier[-1].out_features) == (10, 1000)
    assert {m.p for m in small.modules() if isinstance(m, nn.Dropout)} == {0.0}
    assert [m.p for m in large.modules() if isinstance(m, nn.Dropout)] == [0.5, 0.5]
    assert [m.p for m in build("imagenet", dropout=0.1).modules() if isinstance(m, nn.Dropout)] == [0.1, 0.1]


def test_weights_are_drawn_as_torchvision_draws_them():
    torch.manual_seed(0)
    network = VGG13("imagenet", 1 / 4, classes=10)
    weight = network.features[-4].weight.detach()  # the last of the convolutions, 128 x 128 x 3 x 3
    assert weight.var() == pytest.approx(2 / (9 * 128), rel=0.03)  # 147,456 draws: relative sd of the variance .004
    assert network.classifier[0].weight.detach().std() == pytest.approx(0.01, rel=0.03)
    assert not any(m.bias.any() for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "svhn"}, "head 'svhn' is unknown: known are cifar, imagenet"),
        ({"width": 0.001}, "width 0.001 asked; it leaves the first stage no filters: use at least 0.015625"),
        ({"size": 31}, "size 31 asked; a VGG-13 needs at least 32"),
        ({"classes": 0}, "classes 0 asked; a VGG-13 needs at least 1"),
        ({"channels": -2}, "channels -2 asked"),
        ({"dropout": -0.1}, "dropout -0.1 asked; use a probability from 0 to below 1"),
    ],
)
def test_impossible_sizes_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        VGG13(**options)

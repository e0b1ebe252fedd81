"""SmallConv is conv96-pool-conv192-pool-conv512-pool-fc1024, and what the string leaves open can be chosen."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rfmodel.errors import InputError
from rfmodel.models import SmallConv


def build(*args, **options):
    with torch.device("meta"):
        return SmallConv(*args, **options)


@pytest.mark.parametrize(("kernel", "sides"), [(3, (3, 3, 3)), (5, (5, 5, 5)), ((5, 3, 1), (5, 3, 1))])
@pytest.mark.parametrize(("size", "left"), [(32, 4), (33, 4), (39, 4), (8, 1), (15, 1)])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_parameters_are_those_of_the_string(kernel, sides, size, left, batch_norm):
    network = build(kernel=kernel, size=size, batch_norm=batch_norm, classes=100)
    convolutions = sum(k * k * m * n + n for k, m, n in zip(sides, (3, 96, 192), (96, 192, 512), strict=True))
    norms = 2 * (96 + 192 + 512) if batch_norm else 0
    head = 512 * left**2 * 1024 + 1024 + 1024 * 100 + 100
    assert sum(p.numel() for p in network.parameters()) == convolutions + norms + head
    assert network(torch.empty(3, 3, size, size, device="meta")).shape == (3, 100)


def test_width_multiplies_every_layer():
    network = build(0.25)
    assert [m.out_channels for m in network.modules() if isinstance(m, nn.Conv2d)] == [24, 48, 128]
    assert (network.head.dense.out_features, network.head.logits.out_features) == (256, 10)


def test_names_are_those_of_the_string_in_order():
    plain = [f"{kind}{i}" for i in (1, 2, 3) for kind in ("conv", "relu", "pool")]
    normed = [f"{kind}{i}" for i in (1, 2, 3) for kind in ("conv", "norm", "relu", "pool")]
    assert [name for name, _ in build().features.named_children()] == plain
    assert [name for name, _ in build(batch_norm=True).features.named_children()] == normed
    assert [name for name, _ in build().head.named_children()] == ["flatten", "dense", "relu", "dropout", "logits"]


def test_by_default_nothing_is_there_that_the_string_does_not_name():
    network = build()
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    assert network.head.dropout.p == 0
    assert build(dropout=0.5).head.dropout.p == 0.5


def test_convolutions_have_variance_two_over_fan_in_and_dense_layers_are_glorot_uniform():
    torch.manual_seed(0)
    network = SmallConv(1 / 4)
    weight = network.features.conv3.weight.detach()  # 128 x 48 x 3 x 3
    assert weight.var() == pytest.approx(2 / (9 * 48), rel=0.03)  # 55,296 draws: relative sd of the variance .006
    for layer in (network.head.dense, network.head.logits):
        bound = (6 / sum(layer.weight.shape)) ** 0.5
        assert 0.99 * bound < layer.weight.abs().max() <= bound
    assert not any(p.any() for name, p in network.named_parameters() if name.endswith("bias"))


def test_logits_are_positively_homogeneous_as_drawn_without_biases():
    # Convolutions, maxima, relu and dense layers each are, for a factor above 0.
    torch.manual_seed(0)
    network = SmallConv(1 / 16, size=9).double()
    images = torch.randn(3, 3, 9, 9, dtype=torch.double)
    torch.testing.assert_close(network(4 * images), 4 * network(images))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0.001}, "width 0.001 asked; it leaves conv1 no filters: use at least 0.0104"),
        ({"kernel": 4}, "kernel 4 asked; an odd kernel keeps the size of the image: use 3"),
        ({"kernel": (3, 3, -1)}, "kernel -1 asked; an odd kernel keeps the size of the image: use 1"),
        ({"kernel": (5, 3)}, r"2 kernels \[5, 3\] asked; a SmallConv has 3 convolutions"),
        ({"size": 7}, "size 7 asked; a SmallConv needs at least 8"),
        ({"classes": 0}, "classes 0 asked; a SmallConv needs at least 1"),
        ({"channels": -2}, "channels -2 asked"),
        ({"dropout": 1.0}, "dropout 1.0 asked; use a probability from 0 to below 1"),
    ],
)
def test_impossible_sizes_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        SmallConv(**options)


def test_least_width_named_by_the_refusal_works():
    assert build(0.0105)(torch.empty(1, 3, 32, 32, device="meta")).shape == (1, 10)

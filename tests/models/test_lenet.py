"""LeNet is the network behind biotorch's CIFAR-10 table."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rfmodel.errors import InputError
from rfmodel.models import LeNet


@pytest.mark.parametrize(("classes", "channels"), [(10, 3), (100, 1)])
def test_parameters_are_those_of_three_convolutions_and_two_dense_layers(classes, channels):
    with torch.device("meta"):
        network = LeNet(classes=classes, channels=channels)
    convolutions = sum(9 * m * n + n for m, n in ((channels, 32), (32, 64), (64, 128)))
    head = 128 * 256 + 256 + 256 * classes + classes
    assert sum(p.numel() for p in network.parameters()) == convolutions + head


@pytest.mark.parametrize(("size", "sides"), [(32, (15, 6, 4)), (33, (15, 6, 4)), (18, (8, 3, 1)), (41, (19, 8, 6))])
def test_convolutions_lose_two_pixels_and_pools_halve(size, sides):
    with torch.device("meta"):
        network, x = LeNet(size=size), torch.empty(2, 3, size, size)
    seen = {}
    for name, module in network.features.named_children():
        x = module(x)
        seen[name] = x.shape[-1]
    assert (seen["pool1"], seen["pool2"], seen["relu3"], seen["avgpool"]) == (*sides, 1)
    assert network.head(x).shape == (2, 10)


def test_names_count_layers_from_one():
    with torch.device("meta"):
        network = LeNet()
    expected = ["conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "conv3", "relu3", "avgpool"]
    assert [name for name, _ in network.features.named_children()] == expected
    assert [name for name, _ in network.head.named_children()] == ["flatten", "dense", "relu", "logits"]


def test_pixels_of_the_last_map_count_alike():
    torch.manual_seed(0)
    network = LeNet(1 / 4, size=26).double()
    x = torch.randn(2, 32, 3, 3, dtype=torch.double)
    torch.testing.assert_close(network.features.avgpool(x.flip(2)), x.mean((2, 3), keepdim=True))


def test_glorot_initialisation_is_uniform_by_fan_in_and_out_with_zero_biases():
    torch.manual_seed(0)
    network = LeNet(initialisation="glorot")
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            space = module.weight[0, 0].numel() if module.weight.ndim == 4 else 1
            bound = (6 / (space * sum(module.weight.shape[:2]))) ** 0.5
            assert 0.9 * bound < module.weight.abs().max() <= bound
            assert not module.bias.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0.01}, "width 0.01 asked; it leaves conv1 no filters: use at least 0.03125"),
        ({"size": 17}, "size 17 asked; a LeNet needs at least 18"),
        ({"classes": 0}, "classes 0 asked; a LeNet needs at least 1"),
        ({"channels": 0}, "channels 0 asked"),
        ({"initialisation": "xavier"}, "initialisation 'xavier' is unknown: known are default, glorot"),
    ],
)
def test_impossible_sizes_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        LeNet(**options)


def test_least_width_and_size_named_by_the_refusals_work():
    assert LeNet(0.03125, size=18)(torch.zeros(1, 3, 18, 18)).shape == (1, 10)

"""The Retina-VVS network has the papers' shapes."""

from __future__ import annotations

import pytest
import torch

from rfmodel.errors import InputError
from rfmodel.models import RetinaVVS


def test_parameters_are_those_of_table_c3():
    # 9 x 9 kernels, 32 filters, dense 32768 -> 1024 -> 10, each with a bias
    convolutions = (81 * 1 * 32 + 32) + 4 * (81 * 32 * 32 + 32)
    head = (32768 * 1024 + 1024) + (1024 * 10 + 10)
    assert sum(p.numel() for p in RetinaVVS().parameters()) == convolutions + head


@pytest.mark.parametrize("depth", [0, 1, 4])
@pytest.mark.parametrize("bottleneck", [1, 3])
def test_bottleneck_is_the_retinas_output_and_depth_counts_ventral_layers(depth, bottleneck):
    network = RetinaVVS(bottleneck, depth, width=5, kernel=3, size=8, hidden=6)
    images = torch.zeros(2, 1, 8, 8)
    assert network.retina(images).shape == (2, bottleneck, 8, 8)
    assert sum(name.startswith("conv") for name, _ in network.vvs.named_children()) == depth
    assert network(images).shape == (2, 10)


def test_lindsey_preset_is_glorot_with_zero_bias_and_no_dropout():
    torch.manual_seed(0)
    network = RetinaVVS(preset="lindsey2019", hidden=16)
    weight = network.vvs.conv1.weight
    bound = (6 / (81 * 32 + 81 * 32)) ** 0.5
    assert weight.abs().max() <= bound
    assert weight.detach().std() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert not network.vvs.conv1.bias.any()
    assert network.head.dropout.p == 0


def test_hanut_preset_has_three_ventral_layers_and_half_dropout():
    network = RetinaVVS(hidden=16)
    assert "conv3" in dict(network.vvs.named_children())
    assert "conv4" not in dict(network.vvs.named_children())
    assert network.head.dropout.p == 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bottleneck": 0}, "bottleneck 0 asked; a Retina-VVS network needs at least 1"),
        ({"depth": -1}, "depth -1 asked; a Retina-VVS network needs at least 0"),
        ({"width": 0}, "width 0 asked"),
        ({"kernel": 4}, "kernel 4 asked; an odd kernel keeps the size of the image: use 3"),
        ({"dropout": 1.0}, "dropout 1.0 asked"),
        ({"preset": "lindsey"}, "preset 'lindsey' is unknown: .*did you mean 'lindsey2019'"),
    ],
)
def test_impossible_sizes_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        RetinaVVS(**options)

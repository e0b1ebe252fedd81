"""MobileNet is Table 1 of Howard et al., of the sizes that they publish."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rfmodel.errors import InputError
from rfmodel.models import MobileNet

# Table 1 row by row: stem, then (incoming, outgoing) of each separable convolution.
PAIRS = [(32, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512)]
PAIRS += [(512, 512)] * 5 + [(512, 1024), (1024, 1024)]


def build(*args, **options):
    with torch.device("meta"):
        return MobileNet(*args, **options)


def count(network):
    return sum(p.numel() for p in network.parameters())


def multiply_adds(network, size):
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, size, size, device="meta"))
    return counter.get_total_flops() / 2


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize(("head", "classes"), [("cifar", 10), ("imagenet", 1000)])
def test_parameters_are_those_of_table_1(head, classes, batch_norm):
    extra = 2 if batch_norm else 1  # of each filter: a gain and a shift, or a bias
    stem = 27 * 32 + extra * 32
    blocks = sum(9 * m + extra * m + m * n + extra * n for m, n in PAIRS)
    assert count(build(head, batch_norm=batch_norm)) == stem + blocks + 1024 * classes + classes


@pytest.mark.parametrize(
    ("width", "size", "millions", "parameters"),
    [
        # Howard et al., Table 6 (width) and Table 7 (resolution), millions of multiply-adds and of parameters
        (1.0, 224, 569, 4.2), (0.75, 224, 325, 2.6), (0.5, 224, 149, 1.3), (0.25, 224, 41, 0.5),
        (1.0, 192, 418, 4.2), (1.0, 160, 290, 4.2), (1.0, 128, 186, 4.2),
    ],
)  # fmt: skip
def test_sizes_are_the_published_ones(width, size, millions, parameters):
    network = build("imagenet", width, size=size)
    assert round(count(network) / 1e6, 1) == parameters
    # To a unit of the last digit: the 290.68 of 160 pixels is printed as 290.
    assert multiply_adds(network, size) / 1e6 == pytest.approx(millions, abs=1)


@pytest.mark.parametrize(("head", "size", "sides"), [("cifar", 32, (32, 2)), ("imagenet", 224, (112, 7))])
def test_the_stem_keeps_small_images_and_halves_large_ones_and_four_blocks_halve_both(head, size, sides):
    network = build(head)
    stem = network.features.conv(torch.empty(2, 3, size, size, device="meta"))
    last = network.features(torch.empty(2, 3, size, size, device="meta"))
    assert (stem.shape[1:], last.shape[1:]) == ((32, sides[0], sides[0]), (1024, sides[1], sides[1]))


def test_depthwise_convolutions_mix_no_channels_and_pointwise_ones_no_places():
    network = build(width=0.5)
    blocks = [module for name, module in network.features.named_children() if name.startswith("block")]
    assert len(blocks) == 13
    for block, (m, n) in zip(blocks, PAIRS, strict=True):
        assert block.depthwise.groups == block.depthwise.in_channels == block.depthwise.out_channels == m // 2
        assert block.pointwise.kernel_size == (1, 1) and block.pointwise.out_channels == n // 2
    relus = [module for module in network.modules() if isinstance(module, nn.ReLU)]
    assert len(relus) == 27 and not any(relu.inplace for relu in relus)


def test_head_decides_classes_unless_told():
    assert (build().fc.out_features, build("imagenet").fc.out_features) == (10, 1000)
    assert build("imagenet", classes=7).fc.out_features == 7
    assert build(dropout=0.3).dropout.p == 0.3


def test_an_unnormalised_network_keeps_the_spread_of_what_passes():
    torch.manual_seed(0)
    network = MobileNet(width=1 / 4, batch_norm=False)
    spread = network.features(torch.randn(8, 3, 32, 32)).square().mean().item()
    # A variance of 2/(fan in) keeps the mean square, of 1, through each relu but for zeros at the border: of its taps a
    # depthwise filter keeps (10/12)^2 at 4 pixels and (4/6)^2 at 2, in all of them together .03. A fan out of all
    # filters would divide by 8 to 256 in each of 13 blocks.
    assert 1e-3 < spread < 1


def test_weights_are_normal_with_variance_two_over_the_fan_in():
    torch.manual_seed(0)
    network = MobileNet(width=1.0)
    last = network.features.block13
    # 1,048,576 and 9,216 draws: relative standard deviations of the variance .0014 and .015
    assert last.pointwise.weight.detach().var().item() == pytest.approx(2 / 1024, rel=0.01)
    assert last.depthwise.weight.detach().var().item() == pytest.approx(2 / 9, rel=0.06)
    assert not network.fc.bias.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "svhn"}, "head 'svhn' is unknown: known are cifar, imagenet"),
        ({"width": 0.01}, "width 0.01 asked; it leaves the first convolution no filters: use at least 0.03125"),
        ({"size": 15}, "size 15 asked; a MobileNet with the head 'cifar' needs at least 16"),
        ({"head": "imagenet", "size": 31}, "size 31 asked; a MobileNet with the head 'imagenet' needs at least 32"),
        ({"classes": 0}, "classes 0 asked; a MobileNet with the head 'cifar' needs at least 1"),
        ({"channels": -2}, "channels -2 asked"),
        ({"dropout": 1.0}, "dropout 1.0 asked; use a probability from 0 to below 1"),
    ],
)
def test_impossible_sizes_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        MobileNet(**options)

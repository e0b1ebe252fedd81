"""The VGG network is that of Table C1."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rfmodel.errors import InputError
from rfmodel.models import VGG

BLOCKS = ("block1", "block2", "block3", "block4")


@pytest.mark.parametrize(("width", "classes"), [(1.0, 10), (1.0, 100), (0.25, 10)])
def test_parameters_are_those_of_table_c1(width, classes):
    filters = [int(width * f) for f in (64, 64, 128, 128, 256, 256, 512, 512)]
    convolutions = sum(9 * m * n + n for m, n in zip([3, *filters], filters, strict=False))
    norms = 2 * sum(filters)
    dense = int(width * 256)
    head = filters[-1] * dense + dense + dense * classes + classes
    with torch.device("meta"):
        network = VGG(width, classes=classes)
    assert sum(p.numel() for p in network.parameters()) == convolutions + norms + head


def test_blocks_put_out_the_sizes_of_table_c1():
    with torch.device("meta"):
        network, x = VGG(), torch.empty(1, 3, 32, 32)
    for name, shape in zip(BLOCKS, [(64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 1, 1)], strict=True):
        x = network.get_submodule(name)(x)
        assert x.shape == (1, *shape)
    assert network.head.flatten(x).shape == (1, 512)
    assert network.head.dense(network.head.flatten(x)).shape == (1, 256)
    assert network.head.dropout.p == 0.4


def test_modules_are_named_by_block_and_kind():
    network = VGG(1 / 16)
    expected = [f"{kind}{i}" for i in (1, 2) for kind in ("conv", "norm", "relu")] + ["pool"]
    for block in BLOCKS:
        assert [name for name, _ in network.get_submodule(block).named_children()] == expected
    assert [name for name, _ in network.head.named_children()] == ["flatten", "dense", "relu", "dropout", "logits"]
    assert [name for name, _ in network.named_children()] == [*BLOCKS, "head"]


def test_last_pool_averages_over_the_image():
    pool, x = VGG(1 / 16).block4.pool, torch.randn(2, 5, 4, 4)
    torch.testing.assert_close(pool(x)[:, :, 0, 0], x.mean((2, 3)))


def test_convolutions_keep_the_size_and_only_pools_change_it():
    for module in VGG(1 / 16).modules():
        if isinstance(module, nn.Conv2d):
            assert (module.kernel_size, module.padding, module.stride) == ((3, 3), (1, 1), (1, 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0.001}, "width 0.001 asked; it leaves block1 no filters: use at least 0.015625"),
        ({"width": -1.0}, "width -1.0 asked"),
        ({"size": 7}, "size 7 asked; a VGG needs at least 8"),
        ({"classes": 0}, "classes 0 asked; a VGG needs at least 1"),
        ({"channels": -2}, "channels -2 asked"),
        ({"dropout": 1.0}, "dropout 1.0 asked; use a probability from 0 to below 1"),
    ],
)
def test_impossible_sizes_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        VGG(**options)


def test_least_width_named_by_the_refusal_works():
    assert VGG(0.015625).eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 10)

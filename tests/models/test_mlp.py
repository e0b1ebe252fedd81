"""The MLP has the layers that were asked for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rfmodel.errors import InputError
from rfmodel.models import MLP


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("widths", [(512, 512, 512, 512), (512, 64, 32), (64,), ()])
def test_parameters_are_those_of_the_dense_layers(widths, batch_norm):
    units = [3 * 32 * 32, *widths, 10]
    dense = sum(m * n + n for m, n in zip(units, units[1:], strict=False))
    network = MLP(widths, batch_norm=batch_norm)
    assert sum(p.numel() for p in network.parameters()) == dense + (2 * sum(widths) if batch_norm else 0)


def test_default_has_four_hidden_layers_of_512():
    layers = [m for m in MLP().modules() if isinstance(m, nn.Linear)]
    assert [layer.out_features for layer in layers] == [512] * 4 + [10]


@pytest.mark.parametrize(("width", "depth"), [(64, None), (64, 3), ((7, 5), None), ((7, 5), 2), (64, 0), ((), 0)])
def test_one_width_is_that_of_every_layer_and_a_list_gives_each(width, depth):
    layers = [m.out_features for m in MLP(width, depth, size=4).modules() if isinstance(m, nn.Linear)]
    assert layers[:-1] == ([width] * (4 if depth is None else depth) if isinstance(width, int) else list(width))


def test_names_count_layers_from_one():
    plain, normed = MLP((5, 4), size=4), MLP((5, 4), batch_norm=True, size=4)
    assert [name for name, _ in plain.named_children()] == ["flatten", "layer1", "relu1", "layer2", "relu2", "logits"]
    assert [name for name, _ in normed.named_children() if name.startswith("norm")] == ["norm1", "norm2"]
    assert list(plain.state_dict()) == [f"{n}.{w}" for n in ("layer1", "layer2", "logits") for w in ("weight", "bias")]


def test_without_hidden_layers_it_is_the_linear_classifier():
    network, images = MLP((), size=4), torch.randn(3, 3, 4, 4)
    expected = images.flatten(1) @ network.logits.weight.T + network.logits.bias
    torch.testing.assert_close(network(images), expected)


def test_output_is_positively_homogeneous_without_biases():
    # relu(a x) = a relu(x) for a > 0, so a network of dense layers without biases is homogeneous of degree one
    network = MLP((6, 6), size=4)
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
    images = torch.randn(3, 3, 4, 4)
    torch.testing.assert_close(network(4 * images), 4 * network(images))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": (8, 0)}, "width 0 asked for layer2; a hidden layer needs at least 1 unit"),
        ({"width": -3}, "width -3 asked for layer1"),
        ({"width": (64, 32), "depth": 3}, r"depth 3 asked with 2 widths \[64, 32\]; give 3, or no depth"),
        ({"width": (), "depth": 1}, r"depth 1 asked with 0 widths \[\]; give 1, or no depth"),
        ({"depth": -1}, "depth -1 asked; an MLP needs at least 0, the linear classifier"),
        ({"classes": 0}, "classes 0 asked; an MLP needs at least 1"),
        ({"channels": 0}, "channels 0 asked"),
        ({"size": -1}, "size -1 asked"),
    ],
)
def test_impossible_sizes_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        MLP(**options)

"""The ResNets are those of He et al. (2016), with torchvision's keys where it has the depth."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rfmodel.errors import InputError
from rfmodel.models import ResNet

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def count(network):
    return sum(p.numel() for p in network.parameters())


def build(*args, **options):
    with torch.device("meta"):
        return ResNet(*args, **options)


@pytest.mark.parametrize(("depth", "published"), [(20, 0.27e6), (32, 0.46e6), (56, 0.85e6)])
@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_small_parameters_are_those_of_6n_plus_2_layers(depth, published, shortcut):
    n = (depth - 2) // 6

    def layer(side, before, after):  # a convolution without bias and the two vectors of its batch norm
        return side * side * before * after + 2 * after

    stages = sum((2 * n - 1) * layer(3, c, c) + layer(3, b, c) for b, c in ((16, 16), (16, 32), (32, 64)))
    projections = layer(1, 16, 32) + layer(1, 32, 64) if shortcut == "B" else 0
    expected = layer(3, 3, 16) + stages + projections + 64 * 10 + 10
    assert count(build(depth, shortcut)) == expected
    if shortcut == "A":  # He et al. (2016), Table 6
        assert expected == pytest.approx(published, abs=0.005e6)


@pytest.mark.parametrize(("depth", "published"), [(18, 11_689_512), (50, 25_557_032)])
def test_large_parameters_are_torchvisions(depth, published):
    assert count(build(depth)) == published


@pytest.mark.parametrize("depth", [18, 20, 32, 50, 56])
def test_depth_counts_the_weighted_layers_of_the_longest_path(depth):
    layers = [n for n, m in build(depth, "A").named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == depth


@pytest.mark.parametrize(("depth", "blocks", "convolutions"), [(18, (2, 2, 2, 2), 2), (50, (3, 4, 6, 3), 3)])
def test_keys_are_torchvisions(depth, blocks, convolutions):
    expected = {"conv1.weight", "fc.weight", "fc.bias"} | {f"bn1.{leaf}" for leaf in NORM}
    for stage, size in enumerate(blocks, start=1):
        for block in range(size):
            prefix = f"layer{stage}.{block}"
            for i in range(1, convolutions + 1):
                expected |= {f"{prefix}.conv{i}.weight"} | {f"{prefix}.bn{i}.{leaf}" for leaf in NORM}
        if stage > 1 or depth == 50:  # ResNet-18's first stage keeps the shape: no projection
            prefix = f"layer{stage}.0.downsample"
            expected |= {f"{prefix}.0.weight"} | {f"{prefix}.1.{leaf}" for leaf in NORM}
    assert set(build(depth).state_dict()) == expected


@pytest.mark.parametrize("depth", [18, 50])
def test_torchvisions_weights_give_torchvisions_logits_and_gradients(depth):
    models = pytest.importorskip("torchvision.models", reason="the reference is torchvision, extra `vision`")
    torch.manual_seed(0)
    theirs = getattr(models, f"resnet{depth}")(weights=None).double()
    ours = ResNet(depth).double()
    ours.load_state_dict(theirs.state_dict())
    images, gradients = torch.randn(2, 3, 64, 64, dtype=torch.double), []
    for network in (ours, theirs):
        network(images).logsumexp(1).sum().backward()
        gradients.append({name: p.grad for name, p in network.named_parameters()})
    torch.testing.assert_close(*gradients)
    torch.testing.assert_close(ours.eval()(images), theirs.eval()(images))


def test_shortcut_a_has_no_keys_and_b_a_convolution_and_a_norm():
    a, b = set(build(20, "A").state_dict()), set(build(20, "B").state_dict())
    assert a < b
    extra = {f"layer{i}.0.downsample.{leaf}" for i in (2, 3) for leaf in ("0.weight", *(f"1.{n}" for n in NORM))}
    assert b - a == extra


def test_shortcut_a_takes_every_second_pixel_and_pads_with_zeros():
    x = torch.randn(2, 16, 7, 8)
    y = ResNet(20).layer2[0].downsample(x)
    assert y.shape == (2, 32, 4, 4)
    assert torch.equal(y[:, :16], x[:, :, ::2, ::2])
    assert not y[:, 16:].any()


def test_zeros_on_both_sides_as_in_biotorch_are_the_same_network_numbered_otherwise():
    class Between(nn.Module):
        def forward(self, x):
            half = x.shape[1] // 2
            return nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, half))

    def order(channels):  # of ours in theirs: the first half lies in the middle
        half, quarter = channels // 2, channels // 4
        at = torch.arange(channels)
        return torch.cat([at[quarter : quarter + half], at[:quarter], at[quarter + half :]])

    torch.manual_seed(0)
    ours, theirs = ResNet(20).double(), ResNet(20).double()
    state = {key: value.clone() for key, value in ours.state_dict().items()}
    numbers = [torch.arange(16)]  # of a stage's channels: ours at each place of theirs
    for stage, channels in ((2, 32), (3, 64)):
        theirs.get_submodule(f"layer{stage}")[0].downsample = Between()
        before = numbers[-1]
        carried = torch.cat([before, torch.arange(channels // 2, channels)])
        numbers.append(torch.empty(channels, dtype=torch.long).index_copy(0, order(channels), carried))
        for block in range(3):
            prefix, incoming = f"layer{stage}.{block}", before if block == 0 else numbers[-1]
            state[f"{prefix}.conv1.weight"] = state[f"{prefix}.conv1.weight"][:, incoming]
            for key in ("conv2.weight", *(f"bn2.{leaf}" for leaf in NORM[:-1])):
                state[f"{prefix}.{key}"] = state[f"{prefix}.{key}"][numbers[-1]]
    state["fc.weight"] = state["fc.weight"][:, numbers[-1]]
    theirs.load_state_dict(state)
    images = torch.randn(3, 3, 16, 16, dtype=torch.double)
    torch.testing.assert_close(theirs(images), ours(images))


@pytest.mark.parametrize("depth", [20, 50])
def test_glorot_initialisation_is_uniform_by_fan_in_and_out_with_a_zero_bias(depth):
    torch.manual_seed(0)
    network = ResNet(depth, initialisation="glorot")
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            space = module.weight[0, 0].numel() if module.weight.ndim == 4 else 1
            bound = (6 / (space * sum(module.weight.shape[:2]))) ** 0.5
            assert 0.9 * bound < module.weight.abs().max() <= bound
    assert not network.fc.bias.any()


@pytest.mark.parametrize("depth", [20, 18, 50])
def test_block_with_a_silent_branch_puts_out_its_rectified_shortcut(depth):
    network = ResNet(depth, classes=3)
    block = network.layer2[0].eval()
    norm, relu = (block.bn3, block.relu3) if depth == 50 else (block.bn2, block.relu2)
    nn.init.zeros_(norm.weight)
    x = torch.randn(2, block.conv1.in_channels, 6, 6)
    torch.testing.assert_close(block(x), block.downsample(x).relu())
    assert isinstance(relu, nn.ReLU)


@pytest.mark.parametrize(
    ("depth", "size", "shapes"),
    [
        (20, 32, [(16, 32), (32, 16), (64, 8)]),
        (18, 224, [(64, 56), (128, 28), (256, 14), (512, 7)]),
        (50, 224, [(256, 56), (512, 28), (1024, 14), (2048, 7)]),
    ],
)
def test_stages_put_out_the_published_sizes(depth, size, shapes):
    network = build(depth)
    x = network.maxpool(network.relu(network.bn1(network.conv1(torch.empty(1, 3, size, size, device="meta")))))
    for i, (channels, side) in enumerate(shapes, start=1):
        x = network.get_submodule(f"layer{i}")(x)
        assert x.shape == (1, channels, side, side)


@pytest.mark.parametrize(("depth", "classes"), [(20, 10), (50, 1000)])
def test_classes_default_to_those_of_the_depths_data(depth, classes):
    assert build(depth).fc.out_features == classes


def test_convolutions_have_variance_two_over_fan_out():
    torch.manual_seed(0)
    weight = ResNet(20).layer3[1].conv1.weight.detach()  # 64 x 64 x 3 x 3, fan out 576
    assert weight.var() == pytest.approx(2 / 576, rel=0.05)  # 36,864 draws: relative sd of the variance .007


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 21}, "depth 21 asked; known ResNets have depth 18, 20, 32, 50, 56"),
        ({"shortcut": "C"}, "shortcut 'C' is unknown: known are A, B"),
        ({"initialisation": "xavier"}, "initialisation 'xavier' is unknown: known are default, glorot"),
        ({"size": 3}, "size 3 asked; ResNet-20 needs at least 4"),
        ({"depth": 18, "size": 31}, "size 31 asked; ResNet-18 needs at least 32"),
        ({"classes": 0}, "classes 0 asked; ResNet-20 needs at least 1"),
        ({"channels": 0}, "channels 0 asked"),
    ],
)
def test_impossible_sizes_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        ResNet(**options)

"""AugLocal: which units an auxiliary network is built from, in what form, and what it teaches (Ma et al. 2024)."""

from __future__ import annotations

import pytest
import torch
from networks import CASES, batch, perceptron, residual, routed
from refusing import refused
from torch import nn

from rfmodel.errors import InputError
from rfmodel.models import MLP, VGG13, LeNet, ResNet, SmallConv
from rfmodel.routing import Port, Routed, make_rule, trace
from rfmodel.routing.auglocal import depths, later
from rfmodel.routing.auxiliary import block_like, conv_like, fresh, units_of

PLAIN = dict(classes=3, channels=1)


def lay(network, size, **options):
    return Routed(network, {"*": make_rule("auglocal", **options)}, torch.zeros(2, 1, size, size))


def kinds(head):
    return [type(module) for module in head.network]


def convs(head):
    return [module for module in head.modules() if isinstance(module, nn.Conv2d)]


def test_depth_falls_linearly_to_the_least():
    # ResNet-32: a stem and 15 blocks, 15 of them with a head. (1 - r) 5 + r = 5 - i/7 with r = i/28.
    assert depths(16, 5, 0.5) == [round(5 - i / 7) for i in range(15)]
    assert depths(16, 5, 1.0)[0] == 5 and depths(16, 5, 1.0)[-1] == 1
    assert depths(16, 5, 1.0, 3)[-1] == 3
    assert depths(16, 2, 0.0) == [2] * 15
    assert depths(2, 4, 0.5) == [4]


def test_an_examples_values_do_not_matter():
    like = lay(MLP(8, 2, **PLAIN, size=4), 4)
    images = torch.full((2, 1, 4, 4), torch.nan)
    routed = Routed(MLP(8, 2, **PLAIN, size=4), {"*": make_rule("auglocal")}, images)
    assert [kinds(head) for head in routed.heads.values()] == [kinds(head) for head in like.heads.values()]


def test_units_are_spread_evenly_up_to_the_last():
    assert later(0, 16, 3) == [5, 10, 15]
    assert later(0, 16, 2) == [8, 15]  # round(7.5) is the even neighbour, in the authors' code as here
    assert later(12, 16, 3) == [13, 14, 15] == later(12, 16, 7)
    assert later(14, 16, 1) == [15] and later(3, 16, 1) == [15]
    for place in range(15):
        for depth in range(1, 16):
            chosen = later(place, 16, depth)
            assert chosen[-1] == 15 and len(set(chosen)) == len(chosen) == min(depth, 15 - place)
            gaps = [b - a for a, b in zip([place, *chosen], chosen, strict=False)]
            assert max(gaps) - min(gaps) <= 2  # each is rounded by half a unit at most


def test_gradients_are_those_of_cross_entropy_through_fresh_layers():
    images, labels = batch((7,), 3, 5)
    model = routed(perceptron(), {"*": make_rule("auglocal")}, images)
    model(images, labels).sum().backward()
    network, (first, second) = model.network, model.heads.values()
    layers = [[m for m in head.modules() if isinstance(m, nn.Linear)] for head in (first, second)]
    # Hidden layers one, two and three: two later ones after the first, one after the second, none after the third.
    assert [[tuple(layer.weight.shape) for layer in own] for own in layers] == [
        [(5, 6), (4, 5), (3, 4)],
        [(4, 5), (3, 4)],
    ]

    def cross_entropy(h, own):
        for layer in own[:-1]:
            h = torch.tanh(h @ layer.weight.T + layer.bias)
        logits = h @ own[-1].weight.T + own[-1].bias
        return -sum((row - row.exp().sum().log())[y] for row, y in zip(logits, labels, strict=True)) / len(labels)

    h1 = torch.tanh(network.one(images))
    h2 = torch.tanh(network.two(h1.detach()))
    output = network.out(torch.tanh(network.three(h2.detach()))).sum()
    total = cross_entropy(h1, layers[0]) + cross_entropy(h2, layers[1]) + output
    for p, expected in zip(model.parameters(), torch.autograd.grad(total, list(model.parameters())), strict=True):
        torch.testing.assert_close(p.grad, expected, rtol=1e-10, atol=1e-14)  # sums in another order


def test_the_last_hidden_unit_and_the_classifier_learn_from_the_loss():
    images, labels = batch((7,), 3)
    model = routed(perceptron(), {"*": make_rule("auglocal")}, images)
    assert model.cuts == [Port("f1"), Port("f2")]
    model.zero_grad()
    nn.functional.cross_entropy(model(images, labels), labels).backward()
    plain = perceptron()
    nn.functional.cross_entropy(plain(images), labels).backward()
    assert torch.equal(model.network.three.weight.grad, plain.three.weight.grad)
    assert not torch.equal(model.network.two.weight.grad, plain.two.weight.grad)


def test_a_chain_that_is_built_whole_has_the_form_of_what_comes_after():
    model = lay(SmallConv(1 / 24, size=16, **PLAIN), 16)
    head = model.heads["features/relu1/output"]
    pooled = [nn.MaxPool2d, nn.Conv2d, nn.ReLU]
    assert kinds(head) == [*pooled, *pooled, nn.MaxPool2d, nn.Flatten, nn.Linear, nn.ReLU, nn.Linear]
    own = [p.shape for p in model.network.parameters()][2:]  # but the first convolution's
    assert [p.shape for p in head.parameters()] == own
    state = zip(head.parameters(), list(model.network.parameters())[2:], strict=True)
    assert not any(torch.equal(p, q) for p, q in state if p.ndim > 1)  # fresh


def test_a_pool_that_is_left_out_is_made_up_for_and_a_dense_unit_reads_maps_of_its_own_size():
    model = lay(SmallConv(1 / 24, size=32, **PLAIN), 32, depth=1)
    head = model.heads["features/relu1/output"]
    # Only the dense unit: its own pool, then 4 x 4 places as in the network, of 4 channels in place of 21.
    assert kinds(head) == [nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.Flatten, nn.Linear, nn.ReLU, nn.Linear]
    assert head.network[1].output_size == (4, 4) and head.network[3].in_features == 4 * 16
    wide = lay(VGG13(width=1 / 16, **PLAIN), 32, depth=2, taper=0.0)
    head = wide.heads["features/2/output"]
    # Of units 2 ... 10 the 6th and the 10th: no pool begins either, two were left out before the one, two before the
    # other, and each gets one.
    unit = [nn.MaxPool2d, nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert kinds(head) == [*unit, *unit, nn.AdaptiveAvgPool2d, nn.Flatten, nn.Linear]
    assert [conv.in_channels for conv in convs(head)] == [4, 16]
    assert [conv.out_channels for conv in convs(head)] == [16, 32]


def test_residual_units_halve_by_their_stride_and_get_projections_where_their_shape_changes():
    model = lay(ResNet(32, size=32, **PLAIN), 32, depth=3, taper=0.0)
    assert len(model.cuts) == 15
    head = model.heads["relu/output"]  # blocks 5, 10 and 15 of 15, of 16, 32 and 64 channels
    blocks = list(head.network[:3])
    assert [(b.conv1.in_channels, b.conv1.out_channels, b.conv1.stride) for b in blocks] == [
        (16, 16, (1, 1)),
        (16, 32, (2, 2)),
        (32, 64, (2, 2)),
    ]
    assert isinstance(blocks[0].downsample, nn.Identity)
    for block in blocks[1:]:
        projection, norm = block.downsample
        assert (projection.kernel_size, projection.stride, projection.bias) == ((1, 1), (2, 2), None)
        assert isinstance(norm, nn.BatchNorm2d)
    assert all(block.conv2.stride == (1, 1) for block in blocks)
    # Two halvings are left out before the only block, and it makes up for one.
    short = lay(ResNet(20, size=32, **PLAIN), 32, depth=1).heads["relu/output"].network[0]
    assert (short.conv1.in_channels, short.conv1.out_channels, short.conv1.stride) == (16, 64, (2, 2))
    # A block that comes next has its own form, shortcut and all.
    next_one = lay(ResNet(20, size=32, **PLAIN), 32, depth=9, taper=0.0).heads["layer1/2/output"].network[0]
    assert type(next_one.downsample).__name__ == "Pad"


def test_a_bottleneck_halves_where_it_is_widest():
    block = block_like(ResNet(50).layer3[1], (1024, 4, 4), (512, 8, 8), stride=2)
    assert (block.conv1.in_channels, block.conv1.stride, block.conv2.stride) == (512, (1, 1), (2, 2))
    assert block.conv3.out_channels == block.downsample[0].out_channels == 1024
    assert block(torch.zeros(2, 512, 8, 8)).shape == (2, 1024, 4, 4)


def test_every_auxiliary_network_ends_in_one_number_a_class():
    networks = [
        (MLP(6, 4, size=6, **PLAIN), 6),
        (LeNet(1 / 4, size=19, **PLAIN), 19),
        (CASES["retina"][0]().float(), 6),
    ]
    for network, size in networks:
        model = lay(network, size, depth=2)
        record = trace(network, torch.zeros(2, 1, size, size))
        for port, head in zip(model.cuts, model.heads.values(), strict=True):
            h = torch.zeros(4, *record.shape(port))
            assert head.network(h).shape == (4, model.classes)


def test_grouped_layers_keep_the_groups_that_their_channels_allow():
    layer = nn.Conv2d(32, 32, 3, groups=32, padding=1)
    made = conv_like(layer, 4, stride=2)
    assert (made.groups, made.in_channels, made.out_channels, made.stride) == (4, 4, 32, (2, 2))
    assert conv_like(nn.Conv2d(4, 6, 3, padding="same"), 4, stride=2)(torch.zeros(1, 4, 8, 8)).shape == (1, 6, 4, 4)
    assert conv_like(nn.Conv2d(4, 6, 3, padding="same"), 4).padding == "same"


def test_fresh_weights_are_normal_by_fan_out_or_torchs_own():
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Conv2d(64, 128, 3), nn.BatchNorm2d(128))
    layer[1].weight.data.fill_(7)
    fresh(layer, "he")
    # 73728 draws: the standard deviation of their standard deviation is 0.3 %.
    assert layer[0].weight.std().item() == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.02)
    assert layer[0].weight.abs().max() > 3 * layer[0].weight.std() and not layer[0].bias.any()
    assert (layer[1].weight == 1).all()
    fresh(layer, "default")
    assert layer[0].weight.abs().max() <= (9 * 64) ** -0.5 and layer[0].bias.any()


def test_a_unit_is_what_its_modules_are_one_after_the_other():
    network = residual()
    images = batch((1, 8, 8), 3)[0]
    ends = [Port("relu"), Port("layer1.0"), Port("layer1.1"), Port("layer1.2"), Port("layer2.0")]
    found = units_of(trace(network, images), ends)
    assert found[0] is None
    assert [[name for name, _ in unit.modules] for unit in found[1:]] == [
        ["maxpool", "layer1.0"],
        ["layer1.1"],
        ["layer1.2"],
        ["layer2.0"],
    ]
    assert [unit.halvings for unit in found[1:]] == [0, 0, 0, 1]


def test_a_block_keeps_its_form_where_nothing_changes():
    block = residual().float().layer1[1]
    assert block_like(block, (16, 8, 8), (16, 4, 4)) is block
    assert isinstance(block.downsample, nn.Identity)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, "depth 0 of rule 'auglocal' is impossible"),
        ({"least": 4}, "least 4 of rule 'auglocal' is more than its depth 3; use 1 to 3"),
        ({"least": 0}, "least 0 of rule 'auglocal' is impossible"),
        ({"taper": -0.1}, "taper -0.1 of rule 'auglocal' is impossible; use 0 to 1"),
        ({"initialisation": "ones"}, "option initialisation of rule 'auglocal': 'ones'"),
    ],
    ids=str,
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        make_rule("auglocal", **options)


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.f, self.two = nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 6)
        self.g, self.three, self.k, self.out = nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3)

    def forward(self, x):
        return self.out(self.k(self.three(2 * self.g(self.two(self.f(self.one(x)))))))


class Own(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))

    def forward(self, x):
        return x * self.gain


def test_networks_without_a_usable_structure_are_refused():
    images = torch.zeros(2, 7)
    shallow = nn.Sequential(nn.Linear(7, 4), nn.Tanh(), nn.Linear(4, 3))
    refused(
        "leaves the last hidden unit to the loss itself, and the network has 1 hidden",
        shallow,
        {"*": "auglocal"},
        images,
    )
    named = perceptron().float()
    refused(
        "builds on all later units of a network, and 'two' names some; lay it over '\\*'",
        named,
        {"two": "auglocal"},
        images,
    )
    refused(
        r"between 'g.output' and 'k.output' is not its modules one after the other \(three, k\)",
        Functional(),
        {"*": "auglocal"},
        torch.ones(2, 7),
    )
    layers = [nn.Linear(7, 4), nn.Tanh(), nn.Linear(4, 4), Own(4), nn.Tanh(), nn.Linear(4, 3)]
    refused(
        r"\(Own\) of an auxiliary network has weights and no reset_parameters",
        nn.Sequential(*layers),
        {"*": "auglocal"},
        images,
    )
    widths = [
        nn.Linear(7, 9),
        nn.Tanh(),
        nn.Linear(9, 5),
        nn.Tanh(),
        Own(5),
        nn.Linear(5, 4),
        nn.Tanh(),
        nn.Linear(4, 3),
    ]
    rule = {"*": make_rule("auglocal", depth=1)}
    refused(r"a fresh Own cannot take \(9,\) in an auxiliary network", nn.Sequential(*widths), rule, images)

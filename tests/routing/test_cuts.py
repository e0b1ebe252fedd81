"""Direct errors in networks with skips: each weighted layer is taught by one delivered error and no other."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from networks import (
    ARCHITECTURES,
    CROSS_ENTROPY,
    batch,
    everywhere,
    gradients,
    images_of_eight,
    mlp,
    perceptron,
    port,
    residual,
    retina,
    routed,
    transformer,
    vgg,
)
from torch import nn

from rfmodel.routing import Port

BLOCKS = [f"layer{stage}.{index}" for stage in (1, 2, 3) for index in range(3)]


def pieces(cuts, error, model):
    """Send each target its own B e, by backward passes that never meet."""
    maps = {edge.target: feedback for edge, feedback in model.maps.items()}
    assert maps.keys() == cuts.keys()
    for target, activity in cuts.items():
        B = maps[target].effective()
        activity.backward((error.flatten(1) @ B).reshape(activity.shape))


def resnet_in_pieces(net, images, labels, model):
    """ResNet-20 written out with a cut before each block, before each second convolution and before the head."""
    cuts = {}
    x = net.relu(net.bn1(net.conv1(images)))
    cuts[port("relu.output")] = x
    for name in BLOCKS:
        block, x = net.get_submodule(name), x.detach()
        h = block.relu1(block.bn1(block.conv1(x)))
        cuts[port(f"{name}.conv2.input")] = h
        x = block.relu2(block.bn2(block.conv2(h.detach())) + block.downsample(x))
        if name != BLOCKS[-1]:
            cuts[port(f"{name}.output")] = x
    features = net.flatten(net.avgpool(x))
    cuts[port("fc.input")] = features
    logits = net.fc(features.detach())
    CROSS_ENTROPY(logits, labels).backward()
    error = torch.nn.functional.softmax(logits.detach(), 1) - nn.functional.one_hot(labels, 3)
    pieces(cuts, error / len(labels), model)


def vit_in_pieces(net, images, labels, model):
    """The transformer written out with a cut at each state of the residual stream and before each dense layer."""
    cuts = {}

    def cut(name, x):
        cuts[port(name)] = x
        return x.detach()

    patches = net.patch_embed(images)
    x = cut("pos_drop.output", torch.cat([net.cls_token.expand(len(patches), -1, -1), patches], 1) + net.pos_embed)
    for i, block in enumerate(net.blocks):
        at = f"blocks.{i}"
        q, k, v = block.attn.qkv(cut(f"{at}.attn.qkv.input", block.norm1(x))).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in (q, k, v))
        mixed = (q @ k.mT / 2).softmax(-1) @ v
        x = x + block.attn.proj(cut(f"{at}.attn.proj.input", mixed.transpose(1, 2).flatten(2)))
        x = cut(f"{at}.residual1.output", x)
        hidden = block.mlp.act(block.mlp.fc1(cut(f"{at}.mlp.fc1.input", block.norm2(x))))
        x = x + block.mlp.fc2(cut(f"{at}.mlp.fc2.input", hidden))
        x = cut(f"{at}.output", x) if i == 0 else x
    logits = net.head(cut("head.input", net.norm(x)[:, 0]))
    CROSS_ENTROPY(logits, labels).backward()
    error = torch.nn.functional.softmax(logits.detach(), 1) - nn.functional.one_hot(labels, 3)
    pieces(cuts, error / len(labels), model)


@pytest.mark.parametrize(("make", "in_pieces"), [(residual, resnet_in_pieces), (transformer, vit_in_pieces)])
def test_direct_feedback_in_a_network_with_skips_is_the_sum_of_pieces_that_never_meet(make, in_pieces):
    images, labels = images_of_eight()
    model = routed(make(), everywhere("dfa"), images)
    found = gradients(model, images, labels=labels)
    plain = make()
    in_pieces(plain, images, labels, model)
    for name, p in plain.named_parameters():
        torch.testing.assert_close(found[name], p.grad, rtol=1e-8, atol=1e-14)


@pytest.mark.parametrize("rule", ["dfa", "drtp"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_each_weighted_layer_is_taught_by_one_delivered_error_and_the_last_by_the_loss(name, rule):
    images, labels = images_of_eight()
    model = routed(ARCHITECTURES[name](), everywhere(rule), images)
    before = model.observe(images, labels).gradients
    teachers = Counter()
    for feedback in model.maps.values():
        kept = feedback.B.data.clone()
        feedback.B.data.mul_(1.5)
        now = model.observe(images, labels).gradients
        feedback.B.data.copy_(kept)
        for layer in model.weighted:
            if not torch.equal(now[f"{layer}.weight"], before[f"{layer}.weight"]):
                teachers[layer] += 1
    assert teachers == Counter(model.weighted[:-1])


@pytest.mark.parametrize("make", [residual, transformer])
def test_no_error_leaks_through_identity_skips(make):
    # Were it to, the error at the first skip would be the sum of those delivered further up.
    images, labels = images_of_eight()
    model = routed(make(), everywhere("dfa"), images)
    seen = model.observe(images, labels)
    for edge in model.edges:
        torch.testing.assert_close(seen.signals[edge.target], seen.delivered[edge], rtol=1e-12, atol=1e-18)


@pytest.mark.parametrize("make", [residual, transformer])
def test_the_gradient_of_the_first_layer_is_its_own_targets_alone(make):
    images, labels = images_of_eight()
    model = routed(make(), everywhere("dfa"), images)
    (first,) = (edge for edge in model.edges if edge.target in (port("relu.output"), port("pos_drop.output")))
    name = f"{model.weighted[0]}.weight"
    before = gradients(model, images, labels=labels)[name]
    for edge, feedback in model.maps.items():
        if edge != first:
            feedback.B.data.normal_()
    assert torch.equal(gradients(model, images, labels=labels)[name], before)
    model.maps[first].B.data.mul_(2)
    torch.testing.assert_close(gradients(model, images, labels=labels)[name], 2 * before, rtol=1e-12, atol=0)


class Spread(nn.Module):
    """An activation whose operations read their input twice: no skip, though the graph forks."""

    def forward(self, x):
        return x * torch.sigmoid(x) + x.tanh()


@pytest.mark.parametrize("activation", [nn.Tanh, nn.Softsign, nn.Tanhshrink, nn.Softplus, Spread])
def test_a_chain_has_the_inputs_of_its_weighted_layers_for_targets(activation):
    images, _ = batch((7,), 3)
    model = routed(perceptron(activation), everywhere("dfa"), images)
    assert [edge.target for edge in model.edges] == [Port(name, "input") for name in ("two", "three", "out")]


@pytest.mark.parametrize("make", [mlp, vgg, lambda: retina().eval()], ids=["mlp", "vgg", "retina"])
def test_a_sequential_network_has_the_inputs_of_its_weighted_layers_for_targets(make):
    network = make()
    images = torch.zeros(2, 1, 6, 6).double() if hasattr(network, "retina") else images_of_eight()[0]
    model = routed(network, everywhere("dfa"), images)
    assert [edge.target for edge in model.edges] == [Port(name, "input") for name in model.weighted[1:]]


def test_layers_that_read_one_tensor_are_taught_each_at_its_own_input():
    # queries, keys and values: three inputs of one tensor, none of which is a skip
    images, _ = images_of_eight()
    model = routed(transformer(fused=False), everywhere("dfa"), images)
    targets = {str(edge.target) for edge in model.edges}
    assert {f"blocks.0.attn.{part}.input" for part in "qkv"} <= targets
    assert "blocks.0.norm1.output" not in targets


class Gated(nn.Module):
    """A skip inside a skip, one of them past two layers, and a skip around a layer alone."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Linear(7, 6), nn.Tanh())
        self.a, self.b, self.c = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.mid, self.last = nn.Tanh(), nn.Identity()
        self.out = nn.Linear(6, 3)

    def forward(self, x):
        x = self.stem(x)
        inner = self.mid(self.a(x))
        inner = inner + self.b(inner)
        x = self.last(x + self.c(inner))
        return self.out(x)


def test_nested_skips_teach_every_layer_once():
    images, labels = batch((7,), 3)
    model = routed(Gated().double(), everywhere("dfa"), images)
    before = model.observe(images, labels).gradients
    teachers = {layer: [] for layer in model.weighted}
    for edge, feedback in model.maps.items():
        kept = feedback.B.data.clone()
        feedback.B.data.mul_(1.5)
        now = model.observe(images, labels).gradients
        feedback.B.data.copy_(kept)
        for layer in model.weighted:
            if not torch.equal(now[f"{layer}.weight"], before[f"{layer}.weight"]):
                teachers[layer].append(str(edge.target))
    assert {layer: len(found) for layer, found in teachers.items()} == {"stem.0": 1, "a": 1, "b": 1, "c": 1, "out": 0}

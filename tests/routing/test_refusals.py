"""What cannot be routed is refused before training, by name, in one line: sites, ports, edges and layers."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from networks import everywhere, into, perceptron, retina
from refusing import along, refused
from torch import nn

from rfmodel.errors import InputError
from rfmodel.routing import Edge, Fixed, Port, Routed, Rule


def test_unknown_site_names_the_nearest():
    refused(
        "site 'vvs.conv9' is not in the network.*did you mean 'vvs.conv",
        retina().float(),
        into("vvs.conv9", "fa"),
    )


def test_glob_that_fits_nothing():
    refused(r"pattern 'lgn\.\*' fits no weighted layer", retina().float(), into("lgn.*", "fa"))


def test_site_named_twice():
    rules = into("retina", "fa") | into("vvs.conv1", "fa")
    refused("site 'vvs.conv1' is named by \"retina\" too", retina().float(), rules)


def test_first_layer_has_nothing_upstream_that_learns():
    refused(
        "'retina.conv1.output->retina.conv1.input' delivers an error where nothing upstream learns",
        retina().float(),
        into("retina.conv1", "fa"),
    )


def test_site_without_a_layer_after_it():
    refused("site 'head' has no weighted layer after it", retina().float(), into("head", "fa"))


def test_edge_that_points_forward():
    edge = Edge(Port("retina.conv2", "output"), Port("vvs.conv2", "input"))
    refused(
        "edge 'retina.conv2.output->vvs.conv2.input' points forward",
        retina().float(),
        {"vvs.conv2": along(edge)},
    )


def test_port_of_a_module_that_is_not_there():
    edge = Edge(Port("vvs.conv7", "output"), Port("vvs.conv1", "input"))
    refused(
        "'vvs.conv7' is not in the network; did you mean 'vvs.conv",
        retina().float(),
        {"vvs.conv1": along(edge)},
    )


def test_module_used_twice():
    shared = nn.Linear(4, 4)
    network = nn.Sequential(OrderedDict(first=nn.Linear(3, 4), again=shared, relu=nn.ReLU(), more=shared))
    refused("port 'again.* fired 2 times in one forward pass", network, into("again", "fa"), torch.zeros(2, 3))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.attend = nn.Linear(3, 4), nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        h = self.embed(x)
        return self.attend(h, h, h)[0].mean(1)


def test_silent_port_is_refused_by_name():
    refused(
        "port 'attend.out_proj.*' never fired",
        Attention(),
        into("attend.out_proj", "fa"),
        torch.zeros(2, 5, 3),
    )


def test_a_layer_that_can_be_routed_by_no_reciprocal_edge():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ConvTranspose2d(4, 4, 3), nn.Flatten(), nn.Linear(144, 2))
    edge = Edge(Port("1", "output"), Port("1", "input"))
    rule = Rule("custom", lambda record, sites: [edge], lambda p: Fixed(p.geometry, p.std, p.generator))
    refused("site '1' is a ConvTranspose2d: a reciprocal edge needs a Linear or a Conv2d", network, {"3": rule})


def test_a_glob_over_a_layer_with_no_routable_form():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ConvTranspose2d(4, 4, 3), nn.Flatten(), nn.Linear(144, 2))
    refused(
        "covers '1' .ConvTranspose2d., whose error cannot be routed: write it with nn.Linear", network, everywhere("fa")
    )


def test_feature_maps_of_sizes_that_do_not_fit():
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 2), nn.Flatten()
    )
    refused("joins feature maps of .* pixels", network, into("1", "dldfa", rank=2, source="2"))


def test_side_of_a_port():
    with pytest.raises(InputError, match="port side 'top' of 'one' is unknown"):
        Port("one", "top")


class InPlace(nn.Module):
    """A residual network that adds what it skips in place, after or before the layer beside it."""

    def __init__(self, forward):
        super().__init__()
        self.stem, self.inner, self.act, self.out = nn.Linear(3, 4), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2)
        self.way = forward

    def forward(self, x):
        return self.out(self.act(self.way(self, self.stem(x))))


def after(net, x):
    h = net.inner(x)
    h += x
    return h


def before(net, x):
    h = net.inner(x)
    x += h
    return x


@pytest.mark.parametrize(("way", "port"), [(after, "inner.output"), (before, "inner.input")])
def test_a_tensor_that_is_overwritten_in_place(way, port):
    refused(
        f"edge 'inner.output->inner.input': what '{port}' carries is overwritten in place later on, and its error",
        InPlace(way),
        into("inner", "fa"),
        torch.zeros(2, 3),
    )


class Named(nn.Module):
    """Calls a layer with its input as a keyword, which hooks do not see."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.two(input=self.one(x).tanh())


@pytest.mark.parametrize("name", ["fa", "dfa"])
def test_a_layer_whose_input_is_given_by_keyword(name):
    refused(
        "port 'two.input' does not carry one tensor; route a module that takes and returns one",
        Named(),
        everywhere(name),
        torch.zeros(2, 3),
    )


@pytest.mark.parametrize("name", ["fa", "dfa", "skip"])
def test_a_layer_used_twice_under_a_glob(name):
    shared = nn.Linear(4, 4)
    network = nn.Sequential(
        OrderedDict(first=nn.Linear(3, 4), again=shared, relu=nn.ReLU(), more=shared, out=nn.Linear(4, 2))
    )
    refused("port 'again.* fired 2 times in one forward pass", network, everywhere(name), torch.zeros(2, 3))


def test_a_site_before_which_everything_is_frozen():
    network = perceptron().float()
    network.one.requires_grad_(False)
    refused(
        "delivers an error where nothing upstream learns; leave 'two' out", network, everywhere("fa"), torch.zeros(2, 7)
    )


def test_a_direct_rule_leaves_out_what_is_frozen():
    network = perceptron().float()
    network.one.requires_grad_(False)
    model = Routed(network, everywhere("dfa"), torch.zeros(2, 7))
    assert [edge.target.module for edge in model.edges] == ["three", "out"]

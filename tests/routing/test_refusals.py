"""What cannot be routed is refused before training, by name, in one line."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from networks import batch, everywhere, into, perceptron, retina, routed
from torch import nn

from rfmodel.errors import InputError
from rfmodel.routing import Edge, Port, Routed, Rule, make_rule, register_rule
from rfmodel.routing.feedback import Fixed

IMAGES = torch.zeros(2, 1, 6, 6)


def refused(message, network, rules, example=IMAGES):
    with pytest.raises(InputError, match=message) as caught:
        Routed(network, rules, example)
    assert "\n" not in str(caught.value)


def along(*edges):
    return Rule("custom", lambda record, sites: list(edges), lambda p: Fixed(p.geometry, p.std, p.generator))


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


def test_rank_above_the_channels_of_the_error():
    refused(
        "rank 5 is impossible on 'vvs.conv1.output->vvs.conv1.input': the error there has 4 channels; use 1 to 4",
        retina().float(),
        into("retina", "ldfa", rank=5),
    )


@pytest.mark.parametrize("rank", [0, -1, 2.5, True, "4"])
def test_rank_that_is_no_rank(rank):
    with pytest.raises(InputError, match="rank .* of rule 'ldfa' is impossible; use a whole number from 1"):
        make_rule("ldfa", rank=rank)


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


def test_functional_attention_is_refused_by_name():
    refused(
        "covers 'attend' .MultiheadAttention., whose error cannot be routed",
        Attention(),
        everywhere("fa"),
        torch.zeros(2, 5, 3),
    )


def test_silent_port_is_refused_by_name():
    refused(
        "port 'attend.out_proj.*' never fired",
        Attention(),
        into("attend.out_proj", "fa"),
        torch.zeros(2, 5, 3),
    )


def test_module_that_works_in_place():
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))
    refused("module '1' works in place", network, everywhere("fa"), torch.zeros(2, 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": 2}, "groups=2"),
        ({"padding": 1, "padding_mode": "circular"}, "padding_mode='circular'"),
    ],
)
def test_convolution_without_a_feedback_map(options, message):
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, **options), nn.Flatten())
    refused(message, network, into("1", "fa"))


@pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel")
def test_even_kernel_with_same_padding():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 2, padding="same"), nn.Flatten())
    refused("pads an even kernel unevenly", network, into("1", "fa"))


def test_feature_maps_of_sizes_that_do_not_fit():
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 2), nn.Flatten()
    )
    refused("joins feature maps of .* pixels", network, into("1", "dldfa", rank=2, source="2"))


def test_targets_where_the_error_is_not_the_outputs():
    refused(
        "use_targets on 'three.output->three.input': labels drive P only where the error is the output's",
        perceptron().float(),
        into("three", "ldfa", rank=2, use_targets=True),
        torch.zeros(2, 7),
    )


def test_labels_must_be_given_where_they_are_used():
    images, _ = batch((7,), 3)
    model = routed(perceptron(), into("out", "ldfa", rank=2, use_targets=True), images)
    with pytest.raises(InputError, match="needs the labels: call routed"):
        model(images)
    assert torch.equal(model.network(images), perceptron()(images))  # the failed pass left no hook behind


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("fb", {}, "rule 'fb' is unknown: known are .*did you mean 'fa'"),
        ("ldfa", {}, "rule 'ldfa' needs rank"),
        ("ldfa", {"rnk": 2}, "rule 'ldfa' has no option 'rnk': .*did you mean 'rank'"),
        ("ldfa", {"rank": 2, "q": "fix"}, "option q of rule 'ldfa': 'fix' is unknown"),
        ("ldfa", {"rank": 2, "p": "sanger"}, "option p of rule 'ldfa': 'sanger' is unknown"),
        ("ldfa", {"rank": 2, "normalise": "mean"}, "option normalise of rule 'ldfa': 'mean' is unknown"),
        ("fa", {"scale": 0}, "scale 0 of rule 'fa' is impossible; use a number above 0"),
        ("dfa", {"scale": "big"}, "scale 'big' of rule 'dfa' is impossible"),
    ],
)
def test_options_of_rules(name, options, message):
    with pytest.raises(InputError, match=message):
        make_rule(name, **options)


def test_source_that_is_not_there():
    refused(
        "source 'vvs.conv8' is not in the network.*did you mean",
        retina().float(),
        into("retina", "dfa", source="vvs.conv8"),
    )


def test_penultimate_layer_of_a_single_layer():
    refused(
        "source 'penultimate' asked of a network with one weighted layer",
        nn.Sequential(nn.Linear(3, 2), nn.Tanh()),
        into("0", "dfa", source="penultimate"),
        torch.zeros(2, 3),
    )


def test_side_of_a_port():
    with pytest.raises(InputError, match="port side 'top' of 'one' is unknown"):
        Port("one", "top")


def test_a_rule_is_registered_once():
    with pytest.raises(InputError, match="rule 'fa' is registered already"):
        register_rule("fa")(lambda: None)

"""What a rule cannot do on an edge is refused before training, by name, in one line."""

from __future__ import annotations

import pytest
import torch
from networks import batch, everywhere, into, perceptron, retina, routed
from refusing import refused
from torch import nn

from rfmodel.errors import InputError
from rfmodel.routing import Edge, Port, Rule, make_rule, register_rule


def test_rank_above_the_channels_of_the_error():
    refused(
        "rank 5 is impossible on 'vvs.conv1.output->vvs.conv1.input': the error there has 4 channels and the map is "
        "4 x 27; use 1 to 4, capped = true, or name sites that leave this one out",
        retina().float(),
        into("retina", "ldfa", rank=5),
    )


def test_rank_above_the_width_of_what_the_error_is_delivered_to():
    network = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 6))
    refused(
        "the error there has 6 channels and the map is 6 x 2; use 1 to 2",
        network,
        into("2", "ldfa", rank=3),
        torch.zeros(2, 3),
    )


@pytest.mark.parametrize("site", ["three", "t*"])
def test_targets_where_no_error_is_the_outputs(site):
    refused(
        "use_targets of rule 'ldfa': labels drive P only where the error is the output's, and none of .*"
        "three.output->three.input reads it; name the output layer too",
        perceptron().float(),
        into(site, "ldfa", rank=2, use_targets=True),
        torch.zeros(2, 7),
    )


def test_targets_of_a_direct_rule_whose_source_is_not_the_output():
    refused(
        "use_targets of rule 'dldfa': labels drive P only where the error is the output's",
        perceptron().float(),
        into("two", "dldfa", rank=2, use_targets=True, source="penultimate"),
        torch.zeros(2, 7),
    )


@pytest.mark.parametrize("name", ["usf", "brsf", "frsf", "kolen_pollack", "weight_mirror"])
def test_a_rule_that_follows_weights_on_an_edge_that_runs_against_none(name):
    edge = Edge(Port("", "output"), Port("two", "input"))
    feedback = make_rule(name).feedback
    refused(
        f"rule '{name}' follows a layer's weight, and '{edge}' runs against none; use it on edges from a Linear's",
        perceptron().float(),
        {"two": Rule("custom", lambda record, sites: [edge], feedback)},
        torch.zeros(2, 7),
    )


@pytest.mark.parametrize("options", [{"init": "svd"}, {"refactor_every": 2}])
def test_decompositions_on_an_edge_that_runs_against_no_weight(options):
    refused(
        "init 'svd' and refactor_every of rule 'dldfa' decompose a layer's weight, and "
        "'network.output->two.input' runs against none; use init = 'random'",
        perceptron().float(),
        into("two", "dldfa", rank=2, **options),
        torch.zeros(2, 7),
    )


def test_normative_feedback_on_an_edge_that_runs_against_no_weight():
    edge = Edge(Port("", "output"), Port("two", "input"))
    refused(
        "follows a layer's weight, and .* runs against none",
        perceptron().float(),
        {"two": Rule("custom", lambda record, sites: [edge], make_rule("ldfa_normative", rank=2).feedback)},
        torch.zeros(2, 7),
    )


def test_labels_projected_from_elsewhere_than_the_output():
    edge = Edge(Port("two", "output"), Port("two", "input"))
    refused(
        "rule 'drtp' projects labels, and 'two.output->two.input' does not read the output's 3 classes",
        perceptron().float(),
        {"two": Rule("custom", lambda record, sites: [edge], make_rule("drtp").feedback)},
        torch.zeros(2, 7),
    )


def test_backpropagation_laid_along_an_edge():
    edge = Edge(Port("two", "output"), Port("two", "input"))
    refused(
        "backpropagation has no feedback map for 'two.output->two.input'",
        perceptron().float(),
        {"two": Rule("custom", lambda record, sites: [edge], make_rule("bp").feedback)},
        torch.zeros(2, 7),
    )


def test_a_site_given_by_itself_and_in_a_partition():
    rules = {"two": make_rule("fa"), "*": make_rule("partition", parts={"two": "fa"})}
    refused('rules."two" is given twice, by itself and in a partition', perceptron().float(), rules, torch.zeros(2, 7))


def test_a_part_of_a_partition_that_is_not_in_the_network():
    rules = everywhere("partition", parts={"tow": "fa"})
    refused(
        "rules.\"tow\": site 'tow' is not in the network.*did you mean 'two'",
        perceptron().float(),
        rules,
        torch.zeros(2, 7),
    )


def test_a_glob_with_no_site_before_its_source():
    rules = {"t*": make_rule("dfa", source="one")}
    refused(
        "no site lies before the source 'one.output'; name a later source",
        perceptron().float(),
        rules,
        torch.zeros(2, 7),
    )


def test_labels_must_be_given_where_they_are_used():
    images, _ = batch((7,), 3)
    model = routed(perceptron(), into("out", "ldfa", rank=2, use_targets=True), images)
    with pytest.raises(InputError, match="learns from labels needs them: call routed"):
        model(images)
    assert torch.equal(model.network(images), perceptron()(images))  # the failed pass left no hook behind


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


def test_a_rule_is_registered_once():
    with pytest.raises(InputError, match="rule 'fa' is registered already"):
        register_rule("fa")(lambda: None)

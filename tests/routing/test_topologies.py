"""Topologies: where a rule reads and delivers errors for the sites that it is given."""

from __future__ import annotations

import pytest
import torch
from networks import (
    assert_equal,
    batch,
    everywhere,
    gradients,
    images_of_eight,
    into,
    perceptron,
    port,
    residual,
    retina,
    routed,
    transformer,
)

from rfmodel.errors import InputError
from rfmodel.routing import Edge, Fixed, Routed, Rule, make_rule


def ends(model):
    return [(str(edge.source), str(edge.target)) for edge in model.edges]


@pytest.mark.parametrize("options", [{}, {"rule": "ldfa", "rank": 2, "q": "hebbian"}])
def test_skipping_no_layer_is_layerwise_bit_for_bit(options):
    images, labels = batch((1, 6, 6), 5)
    skip = routed(retina(), everywhere("skip", k=0, **options), images)
    own = dict(options)
    layerwise = routed(retina(), everywhere(own.pop("rule", "fa"), **own), images)
    assert skip.edges == layerwise.edges
    assert_equal(gradients(skip, images, labels=labels), gradients(layerwise, images, labels=labels))
    for a, b in zip(skip.feedback_parameters(), layerwise.feedback_parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)


@pytest.mark.parametrize("k", [1, 2, 3, 9])
def test_errors_are_read_so_many_layers_further_up_and_never_beyond_the_last(k):
    images, _ = batch((7,), 3)
    model = routed(perceptron(), everywhere("skip", k=k), images)
    layers = ["one", "two", "three", "out"]
    above = {site: layers[min(i + k, 3)] for i, site in enumerate(layers)}
    assert ends(model) == [(f"{above[site]}.output", f"{site}.input") for site in layers[1:]]


def test_an_error_read_at_the_last_layer_is_the_outputs_own():
    # there the skip rule delivers what direct feedback delivers, by maps of its own
    images, labels = batch((7,), 3)
    skip = routed(perceptron(), everywhere("skip", k=9), images)
    dfa = routed(perceptron(), everywhere("dfa"), images)
    for a, b in zip(skip.maps.values(), dfa.maps.values(), strict=True):
        assert a.B.shape == b.B.shape
        a.B.data.copy_(b.B.data)
    assert_equal(gradients(skip, images, labels=labels), gradients(dfa, images, labels=labels))


def test_a_partition_is_the_table_of_its_rules():
    images, labels = batch((1, 6, 6), 5)
    parts = {"retina": {"name": "ldfa", "rank": 2}, "vvs.*": "fa", "head.dense": make_rule("dfa")}
    one = routed(retina(), everywhere("partition", parts=parts), images)
    table = {"retina": make_rule("ldfa", rank=2), "vvs.*": make_rule("fa"), "head.dense": make_rule("dfa")}
    other = routed(retina(), table, images)
    assert one.edges == other.edges
    assert_equal(gradients(one, images, labels=labels), gradients(other, images, labels=labels))
    assert_equal(dict(one.feedback.state_dict()), dict(other.feedback.state_dict()))


def test_partitions_lie_within_partitions():
    images, _ = batch((7,), 3)
    inner = {"name": "partition", "parts": {"two": "fa", "three": "dfa"}}
    nested = routed(perceptron(), everywhere("partition", parts={"*": inner}), images)
    assert nested.edges == routed(perceptron(), into("two", "fa") | into("three", "dfa"), images).edges


def test_a_name_wins_over_a_glob():
    images, _ = batch((7,), 3)
    model = routed(perceptron(), {"*": make_rule("fa"), "three": make_rule("bp")}, images)
    assert ends(model) == [("two.output", "two.input"), ("out.output", "out.input")]


def test_a_container_stands_for_the_layer_after_it():
    images, _ = batch((1, 6, 6), 5)
    assert ends(routed(retina(), into("retina", "fa"), images)) == [("vvs.conv1.output", "vvs.conv1.input")]
    assert ends(routed(retina(), into("retina", "dfa"), images)) == [("network.output", "vvs.conv1.input")]


def test_a_residual_block_hears_a_direct_error_at_its_output_before_the_skip():
    images, labels = images_of_eight()
    model = routed(residual(), into("layer1.0", "dfa"), images)
    assert ends(model) == [("network.output", "layer1.0.output")]
    seen = model.observe(images, labels)
    assert torch.equal(seen.signals[port("layer1.0.output")], seen.delivered[model.edges[0]])


def test_a_state_of_the_residual_stream_hears_a_direct_error():
    images, _ = images_of_eight()
    for name in ("blocks.0", "blocks.0.residual1", "pos_drop"):
        assert ends(routed(transformer(), into(name, "dfa"), images)) == [("network.output", f"{name}.output")]


def test_the_layer_that_a_block_stands_for_along_a_reciprocal_edge_is_the_next_one():
    images, _ = images_of_eight()
    model = routed(residual(), into("layer1.0", "fa"), images)
    assert ends(model) == [("layer1.1.conv1.output", "layer1.1.conv1.input")]


@pytest.mark.parametrize("name", ["layer1.1.conv1", "layer2.0.conv1"])
def test_a_layer_where_a_skip_begins_is_refused_for_a_direct_rule_with_advice(name):
    images, _ = images_of_eight()
    advice = "through a skip beside it; name the residual block, whose output comes before the skip, or use '*'"
    with pytest.raises(InputError, match=f"site '{name}': the error of .* would arrive by '{name}.input' and {advice}"):
        routed(residual(), into(name, "dfa"), images)


def test_a_glob_over_some_blocks_leaves_the_others_to_backpropagation():
    images, labels = images_of_eight()
    model = routed(residual(), into("layer3.*", "dfa"), images)
    assert {edge.target.module.split(".")[0] for edge in model.edges} == {"layer3"}
    found = model.observe(images, labels).gradients
    with model.exact():
        true = model.observe(images, labels).gradients
    assert torch.equal(found["layer3.2.conv2.weight"], true["layer3.2.conv2.weight"])  # the head is the loss's own
    assert not torch.allclose(found["layer3.0.conv1.weight"], true["layer3.0.conv1.weight"])


def test_sources_in_the_middle_leave_what_comes_after_to_backpropagation():
    images, labels = batch((1, 6, 6), 5)
    model = routed(retina(), everywhere("dfa", source="vvs.conv1"), images)
    assert ends(model) == [("vvs.conv1.output", "retina.conv2.input"), ("vvs.conv1.output", "vvs.conv1.input")]
    found, true = gradients(model, images, labels=labels), gradients(retina(), images, labels=labels)
    assert all(torch.equal(found[name], true[name]) for name in true if name.startswith(("vvs", "head")))


def test_feedback_by_hand_laid_along_any_edge_adds_up_at_a_target():
    images, labels = batch((7,), 3)
    edges = [Edge(port("three.output"), port("two.input")), Edge(port("out.output"), port("two.input"))]
    rule = Rule("both", lambda record, sites: edges, lambda plan: Fixed(plan.geometry, plan.std, plan.generator))
    model = Routed(perceptron(), {"two": rule}, images).double()
    seen = model.observe(images, labels)
    total = sum(seen.arriving[edge] @ model.maps[edge].B for edge in edges)
    torch.testing.assert_close(seen.signals[port("two.input")], total, rtol=1e-12, atol=1e-16)

"""Calibration: once, on the first batches, what each edge delivers is brought to the size of the true error."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from networks import (
    ARCHITECTURES,
    CROSS_ENTROPY,
    batch,
    everywhere,
    gradients,
    images_of_eight,
    into,
    perceptron,
    port,
    retina,
    routed,
)

from rfmodel.errors import InputError
from rfmodel.routing import Edge, Fixed, Routed, Rule, calibrate, make_rule

RULES = {
    "fa": ("fa", {}),
    "fa, a thousand times too small": ("fa", {"scale": 1e-3}),
    "dfa": ("dfa", {}),
    "sparse_dfa": ("sparse_dfa", {"density": 0.4}),
    "drtp": ("drtp", {}),
    "usf": ("usf", {}),
    "brsf": ("brsf", {}),
    "frsf": ("frsf", {}),
    "kolen_pollack": ("kolen_pollack", {}),
    "weight_mirror": ("weight_mirror", {}),
    "ldfa": ("ldfa", {"rank": 2, "q": "hebbian"}),
    "ldfa_normative": ("ldfa_normative", {"rank": 2, "init": "svd"}),
    "dldfa": ("dldfa", {"rank": 2}),
    "skip": ("skip", {"k": 1}),
}


def norms(model, images, labels):
    return {target: float(delta.norm()) for target, delta in model.observe(images, labels).signals.items()}


def assert_calibrated(model, images, labels):
    found = norms(model, images, labels)
    with model.exact():
        true = norms(model, images, labels)
    assert found.keys() == {edge.target for edge in model.edges}
    for target, size in found.items():
        assert size == pytest.approx(true[target], rel=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_calibrated_errors_have_the_norms_of_the_true_ones(rule):
    images, labels = batch((1, 6, 6), 5)
    name, options = RULES[rule]
    model = routed(retina(), everywhere(name, **options), images)
    factors = calibrate(model, [(images, labels)])
    assert_calibrated(model, images, labels)
    assert list(factors) == model.edges
    for edge, feedback in model.maps.items():
        assert float(feedback.gain) == pytest.approx(factors[edge], rel=1e-12)


@pytest.mark.parametrize("rule", ["fa", "dfa", "ldfa"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_errors_in_any_architecture_can_be_calibrated(name, rule):
    images, labels = images_of_eight()
    kind, options = RULES[rule]
    model = routed(ARCHITECTURES[name](), everywhere(kind, **options), images).eval()
    calibrate(model, [(images, labels)])
    assert_calibrated(model, images, labels)


def test_the_factor_is_the_ratio_of_norms_over_all_the_batches():
    images, labels = batch((7,), 3)
    model = routed(perceptron(), into("out", "fa"), images)
    parts = [(images[:4], labels[:4]), (images[4:], labels[4:])]
    target = port("out.input")
    energy = {True: 0.0, False: 0.0}
    for exact in (True, False):
        for part in parts:
            if exact:
                with model.exact():
                    seen = model.observe(*part)
            else:
                seen = model.observe(*part)
            energy[exact] += float(seen.signals[target].square().sum())
    (factor,) = calibrate(model, parts).values()
    assert factor == pytest.approx(math.sqrt(energy[True] / energy[False]), rel=1e-9)


def test_calibrating_again_changes_nothing():
    images, labels = batch((7,), 3)
    model = routed(perceptron(), everywhere("fa"), images)
    first = calibrate(model, [(images, labels)])
    for factor in calibrate(model, [(images, labels)]).values():
        assert factor == pytest.approx(1, rel=1e-6)
    for edge, feedback in model.maps.items():
        assert float(feedback.gain) == pytest.approx(first[edge], rel=1e-6)


def test_the_direction_of_an_error_is_not_calibrated():
    images, labels = batch((7,), 3)
    model = routed(perceptron(), everywhere("dfa"), images)
    before = {edge: feedback.effective().clone() for edge, feedback in model.maps.items()}
    for edge, factor in calibrate(model, [(images, labels)]).items():
        torch.testing.assert_close(model.maps[edge].effective(), factor * before[edge], rtol=1e-10, atol=0)


def test_the_edges_of_one_target_get_one_factor():
    images, labels = batch((7,), 3)
    edges = [Edge(port("three.output"), port("two.input")), Edge(port("out.output"), port("two.input"))]
    rule = Rule("both", lambda record, sites: edges, lambda plan: Fixed(plan.geometry, plan.std, plan.generator))
    model = Routed(perceptron(), {"two": rule}, images).double()
    first, second = calibrate(model, [(images, labels)]).values()
    assert first == second
    assert_calibrated(model, images, labels)


def test_the_gain_outlives_the_next_draw_and_the_file():
    images, labels = batch((7,), 3)
    model = routed(perceptron(), everywhere("brsf"), images)
    factors = calibrate(model, [(images, labels)])
    plain = routed(perceptron(), everywhere("brsf"), images)
    for one in (model, plain):
        one.advance()
    for edge, factor in factors.items():
        torch.testing.assert_close(model.maps[edge].M, factor * plain.maps[edge].M, rtol=1e-6, atol=0)
    restored = routed(perceptron(), everywhere("brsf"), images)
    restored.load_state_dict(model.state_dict())
    assert [float(f.gain) for f in restored.maps.values()] == pytest.approx(list(factors.values()))


def test_calibrating_leaves_network_gradients_buffers_and_random_state():
    images, labels = images_of_eight()
    model = routed(ARCHITECTURES["resnet of depth 20"](), everywhere("fa"), images)
    model.train()
    CROSS_ENTROPY(model(images, labels), labels).backward()
    kept, state = copy.deepcopy(model.network.state_dict()), torch.get_rng_state()
    grads = [p.grad.clone() for p in model.network.parameters()]
    calibrate(model, [(images, labels)])
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(kept[name], value) for name, value in model.network.state_dict().items())
    assert all(torch.equal(a, p.grad) for a, p in zip(grads, model.network.parameters(), strict=True))
    assert model.network.training


def test_a_network_that_learns_by_backpropagation_has_nothing_to_calibrate():
    images, labels = batch((7,), 3)
    model = routed(perceptron(), {}, images)
    before = gradients(model, images, labels=labels)
    assert calibrate(model, [(images, labels)]) == {}
    assert all(
        torch.equal(a, b)
        for a, b in zip(before.values(), gradients(model, images, labels=labels).values(), strict=True)
    )


def test_no_batch_is_refused():
    model = routed(perceptron(), everywhere("fa"), torch.zeros(2, 7).double())
    with pytest.raises(InputError, match="calibration was given no batch of images; give it at least one"):
        calibrate(model, [])


@pytest.mark.parametrize("bad", [0.0, math.nan, math.inf])
def test_an_error_without_a_norm_is_refused_and_no_map_is_scaled(bad):
    images, labels = batch((7,), 3)
    model = routed(perceptron(), everywhere("fa"), images)
    maps = {edge.target.module: feedback for edge, feedback in model.maps.items()}
    maps["two"].B.data.fill_(bad)
    before = {name: feedback.B.clone() for name, feedback in maps.items()}
    with pytest.raises(
        InputError, match="the error at 'two.input' cannot be calibrated: its norm or backpropagation's"
    ):
        calibrate(model, [(images, labels)])
    for name in ("three", "out"):
        torch.testing.assert_close(maps[name].B, before[name], rtol=1e-12, atol=0)
        assert float(maps[name].gain) == pytest.approx(1)


def test_a_partition_of_rules_is_calibrated_target_by_target():
    images, labels = batch((1, 6, 6), 5)
    rules = {"retina": make_rule("dldfa", rank=2), "vvs.conv2": make_rule("usf"), "head.*": make_rule("fa")}
    model = routed(retina(), rules, images)
    calibrate(model, [(images, labels)])
    assert_calibrated(model, images, labels)

"""Oja's rule (Hanut & Kadmon, eqs. 15 and 16, Algorithm 2): what it is, and where it goes."""

from __future__ import annotations

import math

import pytest
import torch
from networks import CASES, CROSS_ENTROPY, batch, everywhere, into, perceptron, routed
from oracles import algorithm_2, oja_sample_by_sample
from torch import nn

from rfmodel.routing import Convolution, Linear, make_rule, plasticity


def test_oja_is_equation_15_averaged_over_samples():
    torch.manual_seed(0)
    P, errors = torch.randn(2, 5).double(), torch.randn(11, 5).double()
    weight = 1 / 11
    torch.testing.assert_close(-plasticity.oja(P, errors * weight, weight), oja_sample_by_sample(P, errors))


def test_normalised_oja_is_algorithm_2():
    torch.manual_seed(0)
    P, errors = torch.randn(2, 5).double(), torch.randn(11, 5).double() + 1
    torch.testing.assert_close(-plasticity.oja(P, errors * 0.03, 0.03, "max"), algorithm_2(P, errors))


def test_oja_of_the_released_code_is_algorithm_2_times_the_samples_less_one():
    torch.manual_seed(0)
    P, errors = torch.randn(2, 5).double(), torch.randn(11, 5).double()
    torch.testing.assert_close(plasticity.oja(P, errors, 1.0, "std"), 10 * plasticity.oja(P, errors, 1.0, "max"))


def test_an_error_without_variance_moves_no_projection():
    assert not plasticity.oja(torch.randn(2, 5), torch.zeros(4, 5), 1.0, "max").any()


@pytest.mark.parametrize("normalise", ["none", "max"])
def test_oja_reaches_the_principal_subspace_of_a_stationary_error(normalise):
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(8, 8).double()).Q
    errors = torch.randn(4000, 8).double() @ torch.diag(torch.tensor([3.0, 2.5, 2, 0.8, 0.6, 0.5, 0.4, 0.3]).double())
    errors = errors @ basis.T
    errors = errors - errors.mean(0)
    P = 0.1 * torch.randn(3, 8).double()
    for _ in range(3000):
        P = P - (0.02 if normalise == "none" else 0.2) * plasticity.oja(P, errors / 4000, 1 / 4000, normalise)
    principal = torch.linalg.eigh(errors.T @ errors).eigenvectors[:, -3:]
    cosines = torch.linalg.svdvals(torch.linalg.qr(P.T).Q.T @ principal)
    assert math.degrees(math.acos(min(1.0, float(cosines.min())))) < 2
    torch.testing.assert_close(P @ P.T, torch.eye(3).double(), rtol=0, atol=1e-6)


def test_oja_with_decay_has_the_fixed_point_of_its_equation():
    # s_i^2 = 1 - lambda / c_i, and directions with c_i <= lambda vanish
    variances, decay = torch.tensor([4.0, 2.0, 1.0, 0.25]).double(), 0.5
    errors = torch.diag(variances.sqrt()) * 2  # <delta delta^T> over these four samples is diag(variances)
    P = 0.3 * torch.eye(4).double() + 0.01
    for _ in range(20000):
        P = P - 0.02 * (plasticity.oja(P, errors / 4, 1 / 4) + decay * P)
    expected = (1 - decay / variances).clamp_min(0).sqrt()
    torch.testing.assert_close(torch.linalg.svdvals(P), expected, rtol=0, atol=1e-6)


def test_labels_drive_the_projection_where_targets_are_used():
    images, labels = batch((7,), 3)
    model = routed(perceptron(), into("out", "ldfa", rank=2, use_targets=True), images)
    model.zero_grad()
    CROSS_ENTROPY(model(images, labels), labels).backward()
    (feedback,) = model.feedback.values()
    onehot = nn.functional.one_hot(labels, 3).double()
    torch.testing.assert_close(-feedback.P.grad, algorithm_2(feedback.P.data, onehot))


def test_labels_given_to_a_glob_drive_only_the_projection_that_reads_the_output():
    images, labels = batch((7,), 3)
    model = routed(perceptron(), everywhere("ldfa", rank=2, use_targets=True), images)
    errors = routed(perceptron(), everywhere("ldfa", rank=2), images)
    for one in (model, errors):
        CROSS_ENTROPY(one(images, labels), labels).backward()
    onehot = nn.functional.one_hot(labels, 3).double()
    for edge, feedback in model.maps.items():
        if edge.target.module == "out":
            torch.testing.assert_close(-feedback.P.grad, algorithm_2(feedback.P.data, onehot))
        else:
            assert torch.equal(feedback.P.grad, errors.maps[edge].P.grad)


def test_labels_drive_every_projection_of_the_direct_rule():
    images, labels = batch((1, 6, 6), 5)
    model = routed(CASES["retina"][0](), everywhere("dldfa", rank=2, use_targets=True), images)
    CROSS_ENTROPY(model(images, labels), labels).backward()
    onehot = nn.functional.one_hot(labels, 5).double()
    for feedback in model.maps.values():
        torch.testing.assert_close(-feedback.P.grad, algorithm_2(feedback.P.data, onehot))


def test_labels_by_equation_15_are_averaged_over_samples():
    images, labels = batch((7,), 3)
    model = routed(perceptron(), into("out", "ldfa", rank=2, use_targets=True, normalise="none"), images)
    CROSS_ENTROPY(model(images, labels), labels).backward()
    (feedback,) = model.maps.values()
    onehot = nn.functional.one_hot(labels, 3).double()
    torch.testing.assert_close(-feedback.P.grad, oja_sample_by_sample(feedback.P.data, onehot))


@pytest.mark.parametrize("normalise", ["none", "max", "std"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_moments_of_feature_maps_give_the_rule_of_their_pixels(layout, normalise):
    torch.manual_seed(0)
    delta = (torch.randn(6, 5, 4, 3).double() + 0.3).contiguous(memory_format=layout)
    P, geometry = torch.randn(2, 5).double(), Convolution(5, 4, (3, 3))
    moments = plasticity.Moments(geometry.correlate(geometry.project(P, delta), delta), *geometry.spread(delta))
    by_moments = plasticity.oja_from(P, moments, 1 / 6, normalise)
    pixels = torch.stack([delta[b, :, i, j] for b in range(6) for i in range(4) for j in range(3)])
    torch.testing.assert_close(by_moments, plasticity.oja(P, pixels, 1 / 6, normalise), rtol=1e-12, atol=1e-13)
    literal = {
        # the sum over places, the average over samples of a loss that weights each by 1/6
        "none": 6 * len(pixels) * oja_sample_by_sample(P, pixels),
        "max": algorithm_2(P, pixels),
        "std": (len(pixels) - 1) * algorithm_2(P, pixels),
    }
    torch.testing.assert_close(-by_moments, literal[normalise], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_oja_along_a_convolution_is_algorithm_2_on_its_error(layout):
    images, labels = batch((1, 6, 6), 5)
    rules = into("vvs.conv2", "ldfa", rank=2)
    model = routed(CASES["retina"][0](), rules, images).to(memory_format=layout)
    images = images.contiguous(memory_format=layout)
    (edge,) = model.edges
    delta = model.observe(images, labels).arriving[edge]
    CROSS_ENTROPY(model(images, labels), labels).backward()
    (feedback,) = model.maps.values()
    pixels = delta.movedim(1, -1).reshape(-1, 4)
    torch.testing.assert_close(-feedback.P.grad, algorithm_2(feedback.P.data, pixels), rtol=1e-9, atol=1e-12)


def angle_to(subspace, P):
    cosines = torch.linalg.svdvals(torch.linalg.qr(P.T).Q.T @ subspace)
    return math.degrees(math.acos(min(1.0, float(cosines.min()))))


@pytest.mark.parametrize("normalise", ["none", "max"])
@pytest.mark.parametrize(("kind", "site"), [("perceptron", "three"), ("retina", "vvs.conv2")])
def test_training_the_feedback_of_a_frozen_network_finds_the_principal_subspace_of_its_error(kind, site, normalise):
    make, data = CASES[kind]
    images, labels = data(40)
    model = routed(make(), into(site, "ldfa", rank=2, normalise=normalise), images)
    (edge,), (feedback,) = model.edges, model.maps.values()
    delta = feedback.geometry.rows(model.observe(images, labels).arriving[edge]) * len(images)
    centred = delta - delta.mean(0) if normalise == "max" else delta
    variances, directions = torch.linalg.eigh(centred.T @ centred / len(images))
    assert variances[-2] > 1.5 * variances[-3]  # the two directions are determined
    rate = 0.5 if normalise == "max" else 0.5 / float(variances[-1])
    before = {name: p.clone() for name, p in model.network.named_parameters()}
    optimiser = torch.optim.SGD(model.feedback_parameters(), lr=rate)
    for _ in range(400):
        optimiser.zero_grad()
        CROSS_ENTROPY(model(images, labels), labels).backward()
        optimiser.step()
    assert angle_to(directions[:, -2:], feedback.P.data) < 2
    torch.testing.assert_close(feedback.P @ feedback.P.T, torch.eye(2).double(), rtol=0, atol=1e-6)
    assert all(torch.equal(before[name], p) for name, p in model.network.named_parameters())


def test_the_error_of_one_sample_moves_no_projection_that_centres_it():
    images, labels = batch((7,), 3, n=1)
    model = routed(perceptron(), into("three", "ldfa", rank=2), images)
    CROSS_ENTROPY(model(images, labels), labels).backward()
    assert not model.feedback_parameters()[0].grad.any()


def test_fixed_projections_and_spreads_do_not_learn():
    images, labels = batch((7,), 3)
    model = routed(perceptron(), {"*": make_rule("ldfa", rank=2, p="fixed", q="fixed")}, images)
    CROSS_ENTROPY(model(images, labels), labels).backward()
    assert model.feedback_parameters() == []
    assert all(p.grad is None for p in model.feedback.parameters())
    assert isinstance(next(iter(model.maps.values())).geometry, Linear)

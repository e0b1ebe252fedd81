"""Training: reproducible, honest about its splits, and the plain loop where no rule is laid."""

from __future__ import annotations

import math

import pytest
import torch
from studies import TINY
from torch import nn

from rfmodel import building, datasets, history, protocols, training
from rfmodel.errors import InputError
from rfmodel.settings import Settings


@pytest.fixture(scope="module")
def data():
    return datasets.load("natural_patches", size=8, train_per_class=20, test_per_class=5)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    path = tmp_path_factory.mktemp("protocol") / "tiny.toml"
    path.write_text(TINY)
    return {run.condition: run.settings for run in protocols.load(path, only=["seed=0"]).runs}


def settings(runs, condition="BP, wide", **train) -> Settings:
    chosen = runs[condition]
    return chosen.model_copy(update={"train": chosen.train.model_copy(update=train)})


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("condition", ["BP, wide", "LDFA, r = 2"])
def test_a_seed_reproduces_a_run_exactly(data, runs, condition, precision):
    chosen = settings(runs, condition, precision=precision)
    torch.manual_seed(1)
    a = training.train(chosen, data)
    torch.manual_seed(2)  # the global state outside a run is nobody's input
    b = training.train(chosen, data)
    assert all(torch.equal(p, q) for p, q in zip(a.routed.parameters(), b.routed.parameters(), strict=True))
    assert a.history["loss_test"] == b.history["loss_test"]


def test_training_leaves_the_global_random_state_as_it_was(data, runs):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    training.train(settings(runs, epochs=1), data)
    assert torch.equal(torch.rand(1), expected)


def test_other_seeds_give_other_networks_and_conditions_of_one_seed_the_same_one(data, runs):
    shape, classes = data.image_shape, len(data.classes)
    one = building.build(runs["BP, wide"], shape, classes).network
    two = building.build(runs["LDFA, r = 2"], shape, classes).network
    other = building.build(runs["BP, wide"].model_copy(update={"seed": 1}), shape, classes).network
    assert torch.equal(one.retina.conv1.weight, two.retina.conv1.weight)
    assert not torch.equal(one.retina.conv1.weight, other.retina.conv1.weight)


def test_loop_is_plain_stochastic_gradient_descent_where_no_rule_is_laid(data, runs):
    chosen = runs["BP, wide"]
    sgd = chosen.train.optimiser.model_copy(update={"name": "sgd", "learning_rate": 0.1})
    off = chosen.train.augment.model_copy(update={"flip": False, "shift": 0.0})
    chosen = settings(runs, optimiser=sgd, augment=off, epochs=2, precision="fp32", channels_last=False)
    chosen = chosen.model_copy(update={"network": chosen.network.model_copy(update={"dropout": 0.0})})
    result = training.train(chosen, data)

    network = building.build(chosen, data.image_shape, len(data.classes)).network.train()
    generator = torch.Generator().manual_seed(chosen.seed)
    for _ in range(2):
        order = torch.randperm(len(data.train), generator=generator)
        for rows in order.split(32):
            images = (data.train.images[rows].float() / 255 - 0.5) / 0.5
            network.zero_grad()
            nn.functional.cross_entropy(network(images), data.train.labels[rows]).backward()
            with torch.no_grad():
                for p in network.parameters():
                    p -= 0.1 * p.grad
    for a, b in zip(result.routed.network.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)  # fp32, other order of sums


def test_history_has_a_row_before_training_and_one_an_epoch(data, runs):
    result = training.train(settings(runs, "LDFA, r = 2"), data)
    assert {len(rows) for rows in result.history.values()} == {3}
    assert math.isnan(result.history["loss_train"][0])
    assert result.epochs == 2
    (edge,) = result.history["angle"][0]
    assert edge == "vvs.conv1.output->vvs.conv1.input"
    assert all(0 <= row[edge] <= 180 for row in result.history["angle"])


def test_test_and_validation_images_do_not_influence_training(data, runs):
    chosen = settings(runs, epochs=1)
    empty = datasets.Dataset(data.name, data.train, data.validation[:0], data.test[:0], data.classes, "", "")
    a, b = training.train(chosen, data), training.train(chosen, empty)
    assert all(torch.equal(p, q) for p, q in zip(a.routed.parameters(), b.routed.parameters(), strict=True))
    assert math.isnan(b.history["accuracy_test"][-1])


def test_true_feedback_has_no_angle_to_backpropagation(data, runs):
    chosen = runs["BP, wide"]
    rules = Settings(rules={"*": "fa"}).rules
    chosen = chosen.model_copy(update={"rules": rules})
    routed = building.build(chosen, data.image_shape, len(data.classes))
    for edge, feedback in zip(routed.edges, routed.feedback.values(), strict=True):
        feedback.B.data.copy_(routed.network.get_submodule(edge.target.module).weight.data)
    angles = history.alignment_angles(routed, data.validation, chosen)
    assert max(angles.values()) < 0.1
    for feedback in routed.feedback.values():
        feedback.B.data.neg_()
    last = history.alignment_angles(routed, data.validation, chosen)["head.logits.output->head.logits.input"]
    assert last > 179.9


def test_a_loss_that_is_not_finite_ends_the_run_as_diverged_with_its_epoch(data, runs):
    sgd = runs["BP, wide"].train.optimiser.model_copy(update={"name": "sgd", "learning_rate": 1e12})
    result = training.train(settings(runs, optimiser=sgd, epochs=5, precision="fp32"), data)
    assert result.state == "diverged"
    assert result.epochs < 5
    assert len(result.history["loss_test"]) == result.epochs + 1


def test_an_untrained_run_is_its_own_start(data, runs):
    result = training.train(settings(runs, epochs=0), data)
    start = building.build(runs["BP, wide"], data.image_shape, len(data.classes))
    assert all(torch.equal(p, q) for p, q in zip(result.routed.parameters(), start.parameters(), strict=True))


def test_feedback_maps_have_an_optimiser_of_their_own(data, runs):
    still = runs["BP, wide"].train.optimiser.model_copy(update={"name": "sgd", "learning_rate": 1e-12})
    result = training.train(settings(runs, "LDFA, r = 2", feedback=still, epochs=1), data)
    start = building.build(runs["LDFA, r = 2"], data.image_shape, len(data.classes))
    for a, b in zip(result.routed.feedback.parameters(), start.feedback.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)
    assert not torch.equal(result.routed.network.retina.conv1.weight, start.network.retina.conv1.weight)


def test_progress_ends_at_the_last_step_of_each_epoch(data, runs):
    seen = []
    training.train(settings(runs), data, progress=lambda epoch, step, loss: seen.append((epoch, step)))
    steps = -(-len(data.train) // 32)
    assert (1, steps) in seen
    assert seen[-1] == (2, steps)


def test_images_must_be_square(runs):
    with pytest.raises(InputError, match="takes square images; found 8 x 9 pixels"):
        building.build(runs["BP, wide"], (1, 8, 9), 10)

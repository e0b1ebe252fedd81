"""Training by rule: what the loop does for rules that calibrate, clip, change their rank or work between steps."""

from __future__ import annotations

import math
from contextlib import nullcontext

import pytest
import torch
from studies import TINY

from rfmodel import building, datasets, protocols, training
from rfmodel.errors import InputError
from rfmodel.labelling import labelled
from rfmodel.loop import Loop
from rfmodel.routing import Routed
from rfmodel.routing.heads import HeadHere
from rfmodel.settings import OptimiserSettings, Settings

EVERYWHERE = {  # one of each mechanism; the head's error has fewer channels than most ranks
    "usf": {},
    "brsf": {},
    "kolen_pollack": {},
    "weight_mirror": {"every": 2, "samples": 8},
    "sparse_dfa": {"density": 0.2},
    "drtp": {},
    "ldfa": {"rank": 0.5, "q": "hebbian", "use_targets": True},
    "ldfa_normative": {"rank": 0.5, "init": "svd", "refactor_every": 2},
    "skip": {"k": 1},
    "predsim": {},
    "auglocal": {"depth": 1},
    "pepita": {},
    "partition": {"parts": {"vvs.*": "fa", "retina": {"name": "ldfa", "rank": 2}}},
}


@pytest.fixture(scope="module")
def data():
    return datasets.load("natural_patches", size=8, train_per_class=20, test_per_class=5)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("protocol") / "tiny.toml"
    path.write_text(TINY)
    return {run.condition: run.settings for run in protocols.load(path, only=["seed=0"]).runs}["BP, wide"]


def ruled(tiny, rules, **train) -> Settings:
    chosen = tiny.model_copy(update={"rules": Settings(rules=rules).rules})
    return chosen.model_copy(update={"train": chosen.train.model_copy(update={"epochs": 1, **train})})


@pytest.mark.parametrize("name", EVERYWHERE)
def test_every_rule_trains_reproducibly(tiny, data, name):
    chosen = ruled(tiny, {"*": {"name": name, **EVERYWHERE[name]}}, calibrate=1)
    a, b = training.train(chosen, data), training.train(chosen, data)
    assert a.state == "done"
    assert all(torch.equal(p, q) for p, q in zip(a.routed.parameters(), b.routed.parameters(), strict=True))
    assert a.routed.steps == math.ceil(len(data.train) / chosen.train.batch)


def test_calibration_starts_from_the_error_norm_of_backpropagation_and_is_recorded(tiny, data):
    chosen = ruled(tiny, {"*": "dfa"}, epochs=0, calibrate=1, batch=len(data.train), std=0.5)
    result = training.train(chosen, data)
    gains = labelled(result)["feedback_gain"]
    assert (gains > 0).all() and (gains != 1).all()
    images, labels = next(training.batches_of(data.train, chosen, None))
    size = len(images)
    assert size == len(data.train)  # one batch: the images that calibration saw
    delivered = result.routed.teaching_signals(images, labels)
    with result.routed.exact():
        true = result.routed.teaching_signals(images, labels)
    for port, delta in delivered.items():
        torch.testing.assert_close(delta.norm(), true[port].norm(), rtol=1e-4, atol=0)


def test_without_calibration_the_gain_is_one(tiny, data):
    assert (labelled(training.train(ruled(tiny, {"*": "fa"}, epochs=0), data))["feedback_gain"] == 1).all()


def test_kolen_pollack_feedback_is_updated_by_the_optimiser_of_the_weights(tiny, data):
    decay, rate = 0.1, 0.05
    sgd = OptimiserSettings(name="sgd", learning_rate=rate, weight_decay=decay)
    still = OptimiserSettings(name="sgd", learning_rate=1e-12)  # what feedback of its own would get
    chosen = ruled(tiny, {"*": "kolen_pollack"}, optimiser=sgd, feedback=still, precision="fp32")
    start = building.build(chosen, data.image_shape, len(data.classes))
    result = training.train(chosen, data)
    shrunk = (1 - rate * decay) ** result.routed.steps
    for before, after in zip(start.maps.values(), result.routed.maps.values(), strict=True):
        first, last = (f.effective() - f.layer.weight.detach().flatten(1) for f in (before, after))
        torch.testing.assert_close(last, shrunk * first, rtol=1e-3, atol=1e-6)  # fp32: rounding of each update


def test_a_schedule_of_the_rank_is_followed_and_recorded(tiny, data):
    rules = {"retina": {"name": "ldfa", "rank": 4, "schedule": [[2, 2], [3, 3]]}}
    result = training.train(ruled(tiny, rules, epochs=3), data)
    assert labelled(result)["feedback_rank"].values.ravel().tolist() == [4, 4, 2, 3]


def test_full_rank_feedback_has_no_rank(tiny, data):
    assert labelled(training.train(ruled(tiny, {"*": "fa"}, epochs=0), data))["feedback_rank"].isnull().all()


def test_clipping_bounds_what_a_step_of_sgd_moves(tiny, data):
    sgd = OptimiserSettings(name="sgd", learning_rate=1.0)
    chosen = ruled(tiny, {}, optimiser=sgd, clip=1e-4, precision="fp32")
    start, result = building.build(chosen, data.image_shape, len(data.classes)), training.train(chosen, data)
    bound = 1e-4 * result.routed.steps
    moved = [
        (p - q).abs().max() for p, q in zip(start.network.parameters(), result.routed.network.parameters(), strict=True)
    ]
    assert 0.5e-4 < max(moved) <= bound * (1 + 1e-3)


def test_clipping_holds_for_kolen_pollack_feedback_as_for_the_weights(tiny, data):
    sgd = OptimiserSettings(name="sgd", learning_rate=1.0)
    chosen = ruled(tiny, {"*": "kolen_pollack"}, optimiser=sgd, clip=1e-4, precision="fp32")
    start = building.build(chosen, data.image_shape, len(data.classes))
    result = training.train(chosen, data)
    for before, after in zip(start.maps.values(), result.routed.maps.values(), strict=True):
        first, last = (f.effective() - f.layer.weight.detach().flatten(1) for f in (before, after))
        torch.testing.assert_close(last, first, rtol=1e-3, atol=1e-6)  # one update for both: the difference stays


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"*": {"name": "ldfa", "rank": [2, 2]}}, r"rank \[2, 2\] of rule 'ldfa' is a list of 2, and the rule has"),
        ({"*": {"name": "ldfa", "rank": 99}}, "rank 99 is impossible on"),
        ({"*": {"name": "skip", "k": 1, "rank": 2}}, "rule 'fa' has no option 'rank'"),
        ({"*": {"name": "partition", "parts": {"vvs.*": "fb"}}}, "rule 'fb' is unknown: .*did you mean 'fa'"),
    ],
)
def test_rules_that_cannot_be_are_refused_before_training(tiny, data, rules, message):
    with pytest.raises(InputError, match=message):
        building.check(ruled(tiny, rules), data.image_shape, len(data.classes))


def test_a_charge_on_activity_is_refused_where_activities_have_no_gradient(tiny, data):
    chosen = ruled(tiny, {"*": "pepita"}, activity_l1={"retina.relu1": 0.1})
    with pytest.raises(InputError, match="train.activity_l1: TwoPasses teaches without gradients of activities"):
        building.check(chosen, data.image_shape, len(data.classes))
    building.check(ruled(tiny, {"*": "predsim"}, activity_l1={"retina.relu1": 0.1}), data.image_shape, 5)


@pytest.mark.parametrize(("change", "frees"), [({}, True), ({"activity_l1": {"retina.relu1": 0.1}}, False)])
def test_units_are_freed_where_nothing_else_needs_them_and_no_number_changes(tiny, data, monkeypatch, change, frees):
    chosen, freed = ruled(tiny, {"*": "predsim"}, **change), []
    learn = HeadHere.seen

    def noting(head, value, passed):
        learn(head, value, passed)
        freed.append(passed.frees)

    monkeypatch.setattr(HeadHere, "seen", noting)
    found = training.train(chosen, data)
    assert any(freed) == frees
    monkeypatch.setattr(Routed, "freeing_units", nullcontext)
    expected = training.train(chosen, data)
    assert all(torch.equal(p, q) for p, q in zip(found.routed.parameters(), expected.routed.parameters(), strict=True))
    assert found.history["loss_train"] == expected.history["loss_train"]


def test_a_training_through_a_wrapper_frees_no_units(tiny, data, monkeypatch):
    monkeypatch.setattr("rfmodel.loop.compiled", lambda network, device: torch.nn.ModuleList([network]))
    chosen = ruled(tiny, {"*": "predsim"}, compile=True)
    loop = Loop(building.build(chosen, data.image_shape, len(data.classes)), chosen, data.train, torch.device("cpu"))
    with loop.freeing():
        assert not loop.routed._frees

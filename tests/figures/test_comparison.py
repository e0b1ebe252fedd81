"""Ours beside the published values: every difference is named, and only then are they like for like."""

import json

import numpy as np
import pytest
import xarray as xr
from figures.synthetic_networks import all_rank, make_network_study
from scipy import stats

from rfmodel.figures import compare
from rfmodel.published import Published, Value

ALIKE = {"train.epochs": 6, "train.batch": 256, "train.optimiser.learning_rate": 6e-4}


@pytest.fixture(scope="module")
def study():
    return make_network_study(all_rank(), seeds=3, diverged=(("LDFA, r = 16", 0),))


def one(study, condition="BP", accuracy=0.6, score="last epoch", runs=3, settings=ALIKE):
    value = Value(condition, accuracy, score=score, runs=runs, settings=settings)
    (row,) = compare(study, Published(values=(value,)))
    return row


def test_nothing_different_is_like_for_like(study):
    row = one(study)
    assert row.differs == () and row.like_for_like


def test_ours_is_the_mean_at_the_last_epoch_with_students_interval(study):
    row = one(study)
    values = 0.62 + np.array([0.0, 0.001, 0.002])
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    np.testing.assert_allclose(row.ours, (values.mean(), expected.low, expected.high))
    assert row.difference == pytest.approx(0.621 - 0.6)
    assert row.runs == 3


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"settings": ALIKE | {"train.epochs": 160}}, "train.epochs 6, theirs 160"),
        ({"settings": ALIKE | {"data.name": "cifar100"}}, "data.name cifar10, theirs cifar100"),
        ({"settings": ALIKE | {"train.augment.flip": True}}, "train.augment.flip not set, theirs true"),
        ({"settings": {}}, "their settings are not stated"),
        ({"score": "best test epoch"}, "last epoch, theirs best test epoch"),
        ({"score": ""}, "their score is not stated"),
        ({"runs": 10}, "3 runs, theirs 10"),
        ({"condition": "LDFA, r = 16", "runs": 2}, "1 of 3 runs diverged"),
    ],
)
def test_each_difference_is_named(study, given, said):
    row = one(study, **given)
    assert row.differs == (said,)
    assert not row.like_for_like


def test_more_seeds_than_theirs_are_no_difference(study):
    assert one(study, runs=1).like_for_like


def test_equal_numbers_are_equal_however_they_are_written(study):
    assert one(study, settings={"train.epochs": 6.0, "train.optimiser.learning_rate": 0.0006}).like_for_like


def test_condition_that_has_not_been_run_is_listed_as_such(study):
    row = one(study, "LDFA, r = 2")
    assert (row.condition, row.runs, row.diverged, row.differs) == ("LDFA, r = 2", 0, 0, ())
    assert np.isnan(row.difference) and not row.like_for_like


def test_condition_all_of_whose_runs_diverged_is_no_comparison():
    lost = make_network_study(all_rank(), seeds=1, diverged=(("BP", 0),))
    row = one(lost, runs=1)
    assert (row.runs, row.diverged) == (0, 1)
    assert "1 of 1 run diverged" in row.differs and not row.like_for_like


def test_runs_of_one_label_with_other_settings_are_compared_apart(study):
    texts = [json.loads(text) for text in study["settings"].values]
    for settings in texts:
        settings["train"]["epochs"] = 2
    again = study.assign_coords(settings=("run", [json.dumps(settings) for settings in texts]))
    value = Value("BP", 0.6, score="last epoch", settings={"train.epochs": 6})
    rows = compare(xr.concat([study, again], "run"), Published(values=(value,)))
    assert [row.condition for row in rows] == ["BP (train.epochs 6)", "BP (train.epochs 2)"]
    assert [row.like_for_like for row in rows] == [True, False]

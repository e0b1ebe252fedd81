"""The table of numbers and its intervals."""

import csv
import io

import numpy as np
import pytest
from figures.synthetic import make_study
from scipy import stats

from rfmodel.figures import intervals, numbers, numbers_csv
from rfmodel.figures.selection import pooled


@pytest.fixture(scope="module")
def study():
    return make_study(("BP, wide", "BP, bottleneck 4"), seeds=2)


@pytest.fixture(scope="module", autouse=True)
def few_draws():
    patch = pytest.MonkeyPatch()
    patch.setattr("rfmodel.figures.intervals.DRAWS", 100)
    yield
    patch.undo()


def test_interval_over_runs_is_students():
    values = np.array([0.5, 0.6, 0.7])
    mean, low, high = intervals.over_runs(values)
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    np.testing.assert_allclose([mean, low, high], [0.6, expected.low, expected.high])


def test_one_run_has_a_mean_and_no_interval():
    mean, low, high = intervals.over_runs(np.array([0.5]))
    assert mean == 0.5
    assert np.isnan([low, high]).all()


def test_nothing_has_no_estimate():
    assert np.isnan(intervals.over_runs(np.empty(0))).all()
    assert np.isnan(intervals.over_units(np.empty(0), np.empty(0, int))).all()
    assert intervals.null_band(np.empty(0)) is None


def test_interval_of_equal_units_is_their_value():
    assert intervals.over_units(np.full(8, 0.25), np.repeat([0, 1], 4)) == (0.25, 0.25, 0.25)


@pytest.mark.parametrize(("members", "span"), [(0, (0.0, 1 - 0.025**0.1)), (10, (0.025**0.1, 1.0))])
def test_fraction_of_none_or_all_has_clopper_and_pearsons_interval(members, span):
    found = intervals.fraction(np.arange(10) < members, np.repeat([0, 1], 5))
    np.testing.assert_allclose(found, (members / 10, *span))
    exact = stats.binomtest(members, 10).proportion_ci(0.95, "exact")
    np.testing.assert_allclose(found[1:], (exact.low, exact.high))


def test_fraction_between_has_the_bootstraps_interval():
    members, runs = np.arange(10) < 4, np.repeat([0, 1], 5)
    assert intervals.fraction(members, runs) == intervals.over_units(members.astype(float), runs, np.mean)
    assert np.isnan(intervals.fraction(np.empty(0, bool), np.empty(0, int))).all()


def test_class_that_no_unit_has_keeps_an_interval_in_the_table(study):
    row = next(r for r in numbers(study.assign(kind=study["kind"].where(study["kind"] != "oriented", "mixed"))))
    assert row.estimates["oriented_fraction"] == pytest.approx((0, 0, 1 - 0.025 ** (1 / row.units)))


def test_null_band_holds_the_central_ninety_five_percent():
    low, high = intervals.null_band(np.linspace(0, 1, 1001))
    np.testing.assert_allclose([low, high], [0.025, 0.975])


def test_rows_hold_medians_of_live_units_and_counts_of_all(study):
    row = next(r for r in numbers(study) if (r.condition, r.layer, r.stage) == ("BP, wide", "retina.conv2", "trained"))
    values, _ = pooled(study, "p0", "BP, wide", "retina.conv2")
    assert (row.runs, row.units) == (2, 64)
    assert row.dead == 64 - values.size
    assert row.estimates["p0"][0] == np.median(values)
    assert row.estimates["p0"][1] <= row.estimates["p0"][0] <= row.estimates["p0"][2]


def test_class_fractions_are_of_all_units_dead_ones_included(study):
    for row in numbers(study):
        kinds, _ = pooled(study, "kind", row.condition, row.layer, row.stage)
        assert row.estimates["oriented_fraction"][0] == pytest.approx(
            (kinds.astype(str) == "oriented").sum() / row.units
        )


def test_csv_has_three_columns_an_estimate_and_empty_cells_for_what_is_not_there(study):
    alone = study.isel(run=[0])
    table = list(csv.DictReader(io.StringIO(numbers_csv(numbers(alone)))))
    trained = [r for r in table if r["stage"] == "trained"]
    assert [r["layer"] for r in trained] == ["retina.conv1", "retina.conv2", "vvs.conv1"]
    assert all(r["test_accuracy"] and r["test_accuracy_low"] == "" for r in trained)
    assert all(r["test_accuracy"] == "" for r in table if r["stage"] == "untrained")

"""FLOPs until a fraction of the final accuracy."""

from __future__ import annotations

import numpy as np
import pytest

from rfmodel.costs import to_fraction
from rfmodel.errors import InputError


def test_a_straight_line_reaches_its_fraction_after_that_fraction_of_the_epochs():
    line = np.linspace(0, 0.8, 11)
    for fraction in (0.05, 0.33, 0.9, 1.0):
        assert to_fraction(line, 7.0, fraction) == pytest.approx(7 * 10 * fraction)


def test_an_epoch_that_hits_the_target_is_where_it_is_reached_first():
    assert to_fraction([0.0, 0.25, 0.5, 0.9, 0.4, 0.5], 3.0, 1.0) == 6.0
    assert to_fraction([0.0, 0.9, 0.5, 1.0], 3.0, 0.9) == 3.0


def test_a_run_that_starts_at_its_target_costs_nothing():
    assert to_fraction([0.1, 0.1, 0.1], 5.0) == 0.0
    assert to_fraction([0.7], 5.0) == 0.0


def test_the_unit_of_accuracy_does_not_matter_and_cost_scales():
    a = [0.1, 0.4, 0.55, 0.6]
    assert to_fraction(np.multiply(a, 100), 2.0) == pytest.approx(to_fraction(a, 1.0) * 2)


def test_runs_are_answered_one_by_one_with_their_own_cost():
    a = np.array([[0.0, 0.5, 1.0], [0.0, 1.0, 1.0]])
    np.testing.assert_allclose(to_fraction(a, [10.0, 100.0], 0.5), [10.0, 50.0])
    np.testing.assert_allclose(to_fraction(a[None], 1.0, 0.5), [[1.0, 0.5]])


@pytest.mark.parametrize("run", [[0.1, np.nan, np.nan], [0.1, np.nan, 0.5], [0.1, np.inf, 0.5], [0.1, 0.3, 0.0]])
def test_a_run_that_diverged_or_learnt_nothing_has_no_answer(run):
    found = to_fraction([run, [0.0, 0.5, 0.5]], 1.0, 1.0)
    assert np.isnan(found[0]) and found[1] == 1.0


@pytest.mark.parametrize("fraction", [0, -0.1, 1.1, float("nan"), True])
def test_impossible_fractions_are_refused(fraction):
    with pytest.raises(InputError, match=f"fraction {fraction!r} is impossible; use above 0 to 1"):
        to_fraction([0.1, 0.2], 1.0, fraction)


@pytest.mark.parametrize("accuracy", [0.5, np.zeros((3, 0))])
def test_accuracies_without_epochs_are_refused(accuracy):
    with pytest.raises(InputError, match="has no epochs; give epochs along the last axis"):
        to_fraction(accuracy, 1.0)

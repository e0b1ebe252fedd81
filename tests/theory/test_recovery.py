"""Recovery: crossings between points, and the rules for curves that come and go."""

from __future__ import annotations

import numpy as np
import pytest

from rfmodel.errors import InputError
from rfmodel.theory.recovery import leading_and_rest, recovered, recovered_modes, recovery_time
from rfmodel.theory.saxe import saxe_overlap, saxe_time

TIME = np.array([0.0, 1.0, 3.0, 4.0])


def curve(*values):
    return np.array(values, float)[:, None]


def test_a_straight_line_is_crossed_where_it_is():
    assert recovery_time(TIME, curve(*TIME / 4), 0.9)[0] == pytest.approx(3.6)
    assert recovery_time(TIME, curve(0.0, 0.5, 1.0, 1.0), 0.75)[0] == pytest.approx(2.0)


def test_a_point_at_the_level_is_the_crossing():
    assert recovery_time(TIME, curve(0.0, 0.9, 0.95, 1.0))[0] == 1.0


def test_a_mode_never_there_has_no_time():
    assert np.isnan(recovery_time(TIME, curve(0.0, 0.5, 0.89, 0.2)))


def test_a_mode_there_from_the_start_has_the_first_time():
    assert recovery_time(TIME + 5, curve(0.95, 0.1, 0.95, 1.0))[0] == 5.0


def test_a_mode_that_comes_and_goes_counts_from_the_first_time_and_is_not_recovered():
    overlap = curve(0.0, 1.0, 0.0, 0.5)
    assert recovery_time(TIME, overlap, 0.5)[0] == 0.5
    assert not recovered_modes(overlap[-1], 0.5)[0]


def test_a_crossing_beside_what_is_no_number_is_not_seen():
    assert np.isnan(recovery_time(TIME, curve(0.0, np.nan, 1.0, 1.0)))
    assert recovery_time(TIME, curve(np.nan, 0.0, 0.8, 1.0))[0] == pytest.approx(3.5)
    assert not recovered_modes(np.array([np.nan]))[0]


def test_leading_axes_are_apart():
    overlap = np.random.default_rng(0).uniform(size=(3, 2, 9, 4))
    time = np.arange(9.0)
    together = recovery_time(time, overlap, 0.7)
    assert together.shape == (3, 2, 4)
    for i in np.ndindex(3, 2):
        for j in range(4):
            alone = recovery_time(time, overlap[i][:, j : j + 1], 0.7)
            np.testing.assert_array_equal(together[i][j], alone[0])


def test_saxes_curve_is_recovered_when_it_says():
    s, time = np.array([2.0, 1.0, 0.5]), np.linspace(0, 40, 4001)
    found = recovery_time(time, saxe_overlap(s, 1e-4, time))
    # A line for a curve errs by h^2 / 8 times its curvature, over its slope: here h^2 s / 4, with h = .01.
    np.testing.assert_allclose(found, saxe_time(s, 1e-4), atol=1e-4 * 2 / 4)


def test_what_is_recovered_is_strictly_above_the_level():
    overlap = np.array([[1.0, 0.9, 0.2], [0.95, 0.91, 0.901]])
    np.testing.assert_array_equal(recovered_modes(overlap), [[True, False, False], [True, True, True]])
    np.testing.assert_array_equal(recovered(overlap), [1, 3])


def test_the_worst_of_the_leading_and_of_the_rest_are_found():
    overlap = np.array([[0.99, 1.0, 0.01, -0.2], [0.5, 1.0, 0.3, 0.1]])
    leading, rest = leading_and_rest(overlap, 2)
    np.testing.assert_array_equal(leading, [0.99, 0.5])
    np.testing.assert_array_equal(rest, [0.2, 0.3])


def test_where_all_modes_lead_there_is_no_rest():
    leading, rest = leading_and_rest(np.ones((3, 4)), 4)
    assert (leading == 1).all() and np.isnan(rest).all()


def test_what_is_no_number_is_not_passed_over():
    leading, rest = leading_and_rest(np.array([1.0, np.nan, 0.0, np.nan]), 2)
    assert np.isnan(leading) and np.isnan(rest)


def test_a_rank_that_leads_nothing_is_refused():
    with pytest.raises(InputError, match="rank = 0"):
        leading_and_rest(np.ones(3), 0)


@pytest.mark.parametrize("points", [1, 3])
def test_times_that_are_not_the_points_are_refused(points):
    time = TIME if points == 3 else TIME[:1]
    with pytest.raises(InputError, match=f"{len(time)} times for {points} points"):
        recovery_time(time, np.zeros((points, 2)))

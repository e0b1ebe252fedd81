"""Dependence on rank: r / d for a flat spectrum, the trace for any, and the law of many modes for the draws' mean."""

from __future__ import annotations

import numpy as np
import pytest

from rfmodel.errors import InputError
from rfmodel.theory.dependence import dependence, drawn_overlap, expected_overlap, random_feedback
from rfmodel.theory.stationary import stationary_overlap

FLAT, POWER = np.full(8, 1.7), np.arange(1, 41.0) ** -0.5


def test_a_flat_spectrum_is_recovered_by_r_over_d_in_the_mean():
    """The projector on the rows of a Gaussian matrix is uniform: E[Pi] commutes with every rotation."""
    found = dependence(FLAT, [1, 2, 5, 8], seeds=400)
    np.testing.assert_array_equal(found["ratio"], [1 / 8, 2 / 8, 5 / 8, 1])
    np.testing.assert_allclose(found["expected"], found["ratio"].values[:, None] * np.ones(8), rtol=1e-12)
    off = np.abs(found["mean"] - found["expected"])
    assert (off <= 4 * found["error"] + 1e-12).all()  # 4 standard errors, of 32 means; 1e-12 where nothing varies


@pytest.mark.parametrize("s", [FLAT, POWER])
def test_the_overlaps_of_a_draw_add_up_to_the_rank(s):
    ranks = [1, 3, 7, len(s), len(s) + 4]
    drawn = drawn_overlap(s, ranks, 5, outputs=len(s) + 4)
    assert drawn.shape == (5, 5, len(s))
    np.testing.assert_allclose(drawn.sum(-1), np.minimum(ranks, len(s)) * np.ones((5, 1)), rtol=1e-10)


@pytest.mark.parametrize("s", [FLAT, POWER, np.r_[np.full(3, 2.0), np.full(30, 0.1)], np.array([1.0, 1e-6])])
@pytest.mark.parametrize("rank", [1, 2, 7])
def test_the_expected_overlaps_add_up_to_the_rank_and_fall_with_the_mode(s, rank):
    expected = expected_overlap(s, rank)
    assert expected.sum() == pytest.approx(min(rank, len(s)), rel=1e-10)
    assert (np.diff(expected) <= 1e-15).all() and (expected <= 1).all() and (expected > 0).all()


def test_at_a_rank_of_all_modes_all_are_recovered():
    np.testing.assert_array_equal(expected_overlap(POWER, 40), 1.0)
    np.testing.assert_allclose(drawn_overlap(POWER, [40], 3), 1.0, rtol=1e-10)


def test_the_expected_overlaps_do_not_depend_on_the_scale():
    np.testing.assert_allclose(expected_overlap(POWER, 9), expected_overlap(1e6 * POWER, 9), rtol=1e-10)


def test_the_draws_follow_the_law_of_many_modes():
    found = dependence(POWER, [8, 20], seeds=400)
    # The law leaves out terms of order 1 / r, of which the largest overlaps keep less; with 4 standard errors.
    bound = 0.25 / found["rank"] + 4 * found["error"]
    assert (np.abs(found["mean"] - found["expected"]) < bound).all()


def test_a_draws_overlaps_rise_with_its_rank():
    """Feedback of a higher rank holds the rows of the lower, so one projector is within the other."""
    drawn = drawn_overlap(POWER, [2, 5, 11, 30], 4)
    assert (np.diff(drawn, axis=1) >= -1e-12).all()
    np.testing.assert_array_equal(random_feedback(7, 2, 3), random_feedback(7, 5, 3)[:, :2])


def test_more_seeds_leave_the_first_as_they_were():
    np.testing.assert_array_equal(drawn_overlap(POWER, [3], 2), drawn_overlap(POWER, [3], 6)[:2])


def test_the_draws_are_stationary_points_of_fixed_feedback():
    s, outputs = np.array([2.0, 1.0, 0.5]), 5
    S = np.zeros((2, outputs, 7))
    S[:, [0, 1, 2], [0, 1, 2]] = s
    expected = stationary_overlap("fa", "targets", False, S, random_feedback(outputs, 2, 2), 2, 6)
    np.testing.assert_allclose(drawn_overlap(s, [2], 2, outputs)[:, 0], expected[:, :3], rtol=1e-10)


@pytest.mark.parametrize("call", [lambda s, r: drawn_overlap(s, [r], 2), expected_overlap])
def test_what_has_no_overlap_is_refused(call):
    with pytest.raises(InputError, match="singular value 0 is no mode"):
        call(np.array([1.0, 0.0]), 1)
    with pytest.raises(InputError, match="rank = 0 transmits nothing"):
        call(FLAT, 0)


def test_one_seed_has_no_standard_error():
    with pytest.raises(InputError, match="seeds = 1"):
        dependence(FLAT, [2], seeds=1)

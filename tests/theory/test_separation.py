"""How far feedback alignment ends from the optimum: closed forms, bounds and limits."""

from __future__ import annotations

import numpy as np
import pytest

from rfmodel.theory.separation import (
    eckart_young,
    error_by_width,
    expected_bound,
    feedback_draws,
    median_interval,
    separation,
    stationary_error,
    step_limit,
    upper_bound,
    width_for,
)
from rfmodel.theory.spectra import orthogonal

LINEAR = np.linspace(2, 0.2, 12)


def draws(count=50, width=4, modes=12, seed=0):
    return feedback_draws(count, width, modes, np.random.default_rng(seed))


def step(head, modes, tail):
    return np.where(np.arange(modes) < head, 1.0, tail)


def test_the_optimum_is_what_the_other_singular_values_hold():
    assert eckart_young(np.array([3.0, 2.0, 2.0, 1.0]), 1) == 3
    assert eckart_young(np.array([3.0, 2.0]), 2) == 0


def test_the_end_is_what_the_rows_of_c_y_leave():
    rng = np.random.default_rng(0)
    C, Y = rng.normal(size=(5, 3, 7)), rng.normal(size=(5, 7, 9))
    Pi = np.linalg.pinv(C @ Y) @ (C @ Y)
    np.testing.assert_allclose(stationary_error(C, Y), np.linalg.norm(Y - Y @ Pi, axis=(1, 2)), rtol=1e-10)


@pytest.mark.parametrize("width", [3, 4])
def test_feedback_alignment_is_exact_from_the_rank_on(width):
    rng = np.random.default_rng(0)
    Y = rng.normal(size=(7, 3)) @ rng.normal(size=(3, 9))
    assert stationary_error(rng.normal(size=(width, 7)), Y) < 1e-12


def test_the_separation_does_not_know_the_bases_of_y():
    rng = np.random.default_rng(0)
    U, V, C = orthogonal(rng, 12), orthogonal(rng, 14, 12), draws(6)
    found = stationary_error(C @ U.T, np.broadcast_to((U * LINEAR) @ V.T, (6, 12, 14))) / eckart_young(LINEAR, 4)
    np.testing.assert_allclose(separation(LINEAR, C), found, rtol=1e-10)


def test_the_error_is_that_of_the_formula_in_the_basis_of_y():
    C, r = draws(), 4
    S1, S2, H = np.diag(LINEAR[:r]), np.diag(LINEAR[r:]), np.linalg.solve(C[..., :r], C[..., r:])
    Ht, eye = H.swapaxes(1, 2), np.eye(8)
    shrunk = np.linalg.inv(eye + S2 @ Ht @ np.linalg.inv(S1 @ S1) @ H @ S2)
    expected = np.sqrt(np.trace(shrunk @ S2 @ (eye + Ht @ H) @ S2, axis1=1, axis2=2))
    np.testing.assert_allclose(separation(LINEAR, C) * eckart_young(LINEAR, r), expected, rtol=1e-9)


@pytest.mark.parametrize("values", [LINEAR, step(4, 12, 0.1), 0.5 ** np.arange(12)])
def test_the_separation_is_between_one_and_its_bound(values):
    found = separation(values, draws())
    assert (found >= 1).all()
    assert (found <= upper_bound(draws())).all()


def test_a_flat_spectrum_separates_nothing():
    np.testing.assert_allclose(separation(np.full(12, 3.0), draws()), 1, rtol=1e-12)


def test_no_separation_is_told_where_both_are_exact():
    assert np.isnan(separation(LINEAR[:4], draws(modes=4))).all()


def test_a_step_nears_its_limit_as_its_tail_vanishes():
    away = [np.abs(separation(step(4, 12, tail), draws()) / step_limit(draws()) - 1).max() for tail in (1e-5, 1e-6)]
    assert away[1] < 1e-4
    np.testing.assert_allclose(away[0] / away[1], 100, rtol=0.1)  # it goes as the tail squared


def test_a_y_is_constructed_where_the_error_is_more_than_twice_the_optimum():
    # C = [I, 2 I] in the basis of Y, and a vanishing tail: 1 + |C_1^{-1} C_2|^2 / r = 5.
    C = np.concatenate([np.eye(4), 2 * np.eye(4)], axis=1)[None]
    np.testing.assert_allclose(separation(step(4, 8, 1e-4), C), np.sqrt(5), rtol=1e-6)


def test_the_median_separation_of_a_step_grows_as_the_root_of_the_width():
    found = [np.median(step_limit(draws(4000, width, 8 * width))) for width in (4, 16)]
    # A median over 4000 of a law this broad is good to 3 %.
    np.testing.assert_allclose(found[1] / found[0], 2, rtol=0.1)
    np.testing.assert_allclose(found[1], 1.95 * 4, rtol=0.05)


@pytest.mark.parametrize("width", [3, 5, 8])
def test_the_bound_of_the_random_range_finder_holds_in_the_mean(width):
    for values in (LINEAR, 0.6 ** np.arange(12), step(2, 12, 0.1)):
        found = separation(values, draws(400, width)) * eckart_young(values, width)
        assert found.mean() + 3 * found.std() / 20 <= expected_bound(values, width)


def test_the_bound_spares_what_is_least():
    # k = 0: all of it; k = 1: one found, one to spare, sqrt(2) of the rest.
    assert expected_bound(np.array([1.0, 1.0, 1.0]), 3) == pytest.approx(np.sqrt(3))
    assert expected_bound(np.array([100.0, 1.0, 1.0]), 3) == pytest.approx(np.sqrt(1 + 1) * np.sqrt(2))


def test_the_errors_of_all_widths_are_those_of_each():
    C = draws(20, 12)
    found = error_by_width(LINEAR, C)
    for width in (1, 5, 12):
        expected = stationary_error(C[:, :width], np.diag(LINEAR))
        np.testing.assert_allclose(found[:, width - 1], expected, rtol=1e-9, atol=1e-12)
    assert (np.diff(found) <= 0).all()


def test_feedback_alignment_is_as_wide_as_gradient_descent_where_the_spectrum_is_flat_and_wider_elsewhere():
    C = draws(101, 12)
    assert width_for(np.full(12, 2.0), 4, C) == 4
    assert 4 < width_for(LINEAR, 4, C) <= 12
    assert width_for(LINEAR, 4, C, 1.5) <= width_for(LINEAR, 4, C)
    # Only the exact one is as good as none: as many as there are values above nought.
    assert width_for(np.append(LINEAR[:6], 0), 6, C) == 6


def test_the_interval_of_the_median_is_between_two_of_the_ratios():
    # Of 20, the 6th and the 15th: 1 - 2 P(X <= 5) = .959 for X binomial of 20 and 1/2, and the 7th's is .885.
    assert median_interval(np.arange(1.0, 21)) == (10.5, 6, 15)
    assert median_interval(np.arange(5.0)) == (2, -np.inf, np.inf)

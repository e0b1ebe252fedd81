"""The family of eq. 6: its members, those that rest, and how many dimensions each has."""

from __future__ import annotations

import numpy as np
import pytest

from rfmodel.errors import InputError
from rfmodel.theory.family import Freedom, family, freedom, stationary_family
from rfmodel.theory.stationary import stationary_overlap

n, m, d, r = 12, 6, 4, 2
S = np.zeros((m, n))
np.fill_diagonal(S[:d, :d], [2.0, 1.5, 1.0, 0.6])
RNG = np.random.default_rng(0)
P, X = RNG.normal(size=(r, m)), RNG.normal(size=(5, m, n))
ROUNDING = 1e-12  # of products of a few matrices of order one


@pytest.mark.parametrize("hidden", [8, 6, 4, 3, 2])
def test_members_satisfy_eq_6_and_are_not_the_task(hidden):
    found = family(S, P, hidden, X)
    product = found.W2 @ found.W1
    np.testing.assert_allclose(P @ product, np.broadcast_to(P @ S, (5, r, n)), atol=ROUNDING)
    assert (found.defect.feedback < ROUNDING).all()
    assert (np.linalg.matrix_rank(product) == min(hidden, m)).all()
    assert (np.linalg.norm(product - S, axis=(-2, -1)) > 0.1).all()


def test_where_units_suffice_the_member_is_the_one_asked_for():
    Pi = np.linalg.pinv(P) @ P
    np.testing.assert_allclose(
        (lambda one: one.W2 @ one.W1)(family(S, P, 6, X)), S - (np.eye(m) - Pi) @ X, atol=ROUNDING
    )


@pytest.mark.parametrize("hidden", [8, 3])
def test_almost_none_of_them_rests(hidden):
    found = family(S, P, hidden, X)
    assert not found.stationary.any() and (found.defect.forward > 0.1).all()


@pytest.mark.parametrize("hidden", [8, 3])
def test_those_of_least_squares_on_rows_that_hold_PS_do(hidden):
    found = stationary_family(S, P, hidden, RNG.normal(size=(5, hidden - r, n)))
    assert found.stationary.all() and (found.defect.feedback < ROUNDING).all()
    assert (np.linalg.norm(found.W2 @ found.W1 - S, axis=(-2, -1)) > 0.01).all()
    assert (found.overlap[:, :d] <= 1).all() and (found.overlap[:, :d] >= 0).all()
    assert np.isnan(found.overlap[:, d:]).all()


def test_least_squares_on_rows_that_do_not_hold_PS_is_no_member():
    V = np.linalg.qr(RNG.normal(size=(n, 3)))[0]
    assert np.linalg.norm(P @ (S - S @ V @ V.T)) > 0.1


def test_the_task_itself_is_a_member_and_rests():
    found = family(S, P, 8, np.zeros((1, m, n)))
    assert found.stationary.all()
    np.testing.assert_allclose(found.overlap[0, :d], 1.0, atol=ROUNDING)


def test_of_those_that_rest_vanishing_weights_choose_the_one_without_other_rows():
    found = stationary_family(S, P, 8, np.zeros((1, 1, n)))
    expected = stationary_overlap("fa", "targets", False, S, P, r, 8)
    np.testing.assert_allclose(found.overlap[0], expected, atol=ROUNDING)


def test_more_rows_never_lower_an_overlap():
    few, more = (stationary_family(S, P, 8, X[:, :rows]).overlap[:, :d] for rows in (1, 4))
    assert (more >= few - ROUNDING).all()


def dimensions(product_of, size, seed=0):
    """Return the rank of a product's derivative by its parameters, at a point like any other."""
    at, step = np.random.default_rng(seed).normal(size=size), 1e-6
    columns = [(product_of(at + h) - product_of(at - h)).ravel() / (2 * step) for h in step * np.eye(size)]
    s = np.linalg.svd(np.stack(columns, -1), compute_uv=False)
    return int((s > 1e-6 * s[0]).sum())  # differences of order step^2 and 1e-16 / step are below 1e-9


SIZES = [(7, 5, 5, 3, 2), (7, 3, 5, 4, 2), (6, 2, 5, 3, 2), (6, 4, 5, 2, 3), (5, 4, 4, 4, 1), (6, 3, 5, 3, 1)]


@pytest.mark.parametrize(("n", "k", "m", "d", "r"), SIZES)
def test_eq_6_leaves_as_many_dimensions_as_are_counted(n, k, m, d, r):
    """Every product of rank k that agrees with S in P's rows: those rows, and m - r others of rank k with them."""
    rng = np.random.default_rng(1)
    S, P = np.eye(m, n) * np.r_[np.linspace(2, 1, d), np.zeros(m - d)][:, None], rng.normal(size=(r, m))
    fixed, (_, _, Vh) = P @ S, np.linalg.svd(P)
    rho = min(r, d)
    along = np.linalg.svd(fixed)[2][:rho]
    across, spare = np.linalg.svd(fixed)[2][rho:], k - rho

    def product_of(flat):
        own, flat = flat[: (m - r) * rho].reshape(m - r, rho), flat[(m - r) * rho :]
        left, right = flat[: (m - r) * spare].reshape(m - r, spare), flat[(m - r) * spare :].reshape(spare, n - rho)
        return Vh[r:].T @ (own @ along + left @ right @ across)

    size = (m - r) * rho + spare * (m - r + n - rho)
    assert dimensions(product_of, size) == freedom(n, k, m, d, r).feedback


@pytest.mark.parametrize(("n", "k", "m", "d", "r"), SIZES)
def test_both_conditions_leave_as_many_as_are_counted(n, k, m, d, r):
    """Every S Pi_V with V of k dimensions that holds the rows of P S."""
    rng = np.random.default_rng(1)
    S, P = np.eye(m, n) * np.r_[np.linspace(2, 1, d), np.zeros(m - d)][:, None], rng.normal(size=(r, m))
    asked = np.linalg.svd(P @ S)[2][: min(r, d)]
    spare = k - len(asked)

    def product_of(flat):
        rows = np.concatenate([asked, flat.reshape(spare, n)])
        return S @ np.linalg.pinv(rows) @ rows

    counted = freedom(n, k, m, d, r).both
    if not spare:
        assert counted == 0
    elif counted:
        assert dimensions(product_of, spare * n) == counted
    else:  # the product is S whatever the rows
        np.testing.assert_allclose(product_of(rng.normal(size=spare * n)), S, atol=ROUNDING)


def test_at_the_published_sizes_eq_6_leaves_nearly_everything():
    """Fig. 2c: n, k, m = 128, 64, 64 and r = 8, all modes there: (m - r) n by eq. 6, (k - r)(n - k) by both."""
    assert freedom(128, 64, 64, 64, 8) == Freedom(56 * 128, 56 * 64)


def test_full_rank_feedback_leaves_nothing():
    assert freedom(12, 8, 6, 4, 6) == Freedom(0, 0)


def test_rows_that_the_hidden_layer_cannot_hold_are_refused():
    with pytest.raises(InputError, match="hidden = 1 cannot express the 2 rows"):
        family(S, P, 1, X)
    with pytest.raises(InputError, match="rows of 7 dimensions with those of P S; 4 hidden"):
        stationary_family(S, P, 4, X[:, :5])

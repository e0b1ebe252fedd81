"""Stationary points: the flows end where the closed forms say, and the closed forms are projectors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from rfmodel.errors import InputError
from rfmodel.theory.family import stationary_family
from rfmodel.theory.stationary import capture, residual_split, row_basis, stationary_defect, stationary_overlap

n, k, m = 12, 8, 6
VALUES = np.array([2.0, 1.5, 1.0, 0.6])


def task(values=VALUES):
    S = np.zeros((m, n))
    np.fill_diagonal(S[: len(values), : len(values)], values)
    return S


def feedback(rank, seed=0, hidden=k):
    rng = np.random.default_rng([seed, 1])
    return rng.normal(size=(hidden, rank)) / np.sqrt(hidden), rng.normal(size=(rank, m)) / np.sqrt(m)


def ends(name, S, Q, P, duration, forward=1e-4, learn_q=False, decay=0.0, C=None, seed=0):
    """Follow the equations as the paper has them; return W1, W2, B at the end."""
    rng = np.random.default_rng([seed, 2])
    start = [rng.normal(size=(len(Q), n)) * forward, rng.normal(size=(m, len(Q))) * forward, Q, P]
    cuts = np.cumsum([one.size for one in start])[:-1]
    C, moves_q = S @ S.T if C is None else C, name == "adaptive_q" or learn_q

    def parts(flat):
        return [part.reshape(one.shape) for part, one in zip(np.split(flat, cuts), start, strict=True)]

    def flow(t, flat):
        W1, W2, Q, P = parts(flat)
        E = S - W2 @ W1
        B = W2.T if name == "gd" else Q @ P
        dQ = (W1 @ E.T @ P.T - decay * Q) * moves_q
        dP = (P @ C @ (np.eye(m) - P.T @ P) - decay * P) * (name == "oja")
        return np.concatenate([one.ravel() for one in (B @ E, E @ W1.T, dQ, dP)])

    flat = np.concatenate([one.ravel() for one in start])
    last = solve_ivp(flow, (0, duration), flat, method="LSODA", rtol=1e-8, atol=1e-11).y[:, -1]
    W1, W2, Q, P = parts(last)
    return W1, W2, W2.T if name == "gd" else Q @ P


def overlap_of(W1, W2, S):
    s = np.diagonal(S)
    return np.diagonal(W2 @ W1)[s > 0] / s[s > 0]


CASES = [
    ("gd", 6, {}),
    ("fa", 1, {}),
    ("fa", 2, {}),
    ("fa", 4, {}),
    ("fa", 5, {}),
    ("adaptive_q", 2, {}),
    ("adaptive_q", 3, {"decay": 0.05}),
    ("oja", 1, {}),
    ("oja", 3, {}),
    ("oja", 5, {}),
    ("oja", 2, {"decay": 0.2}),
]


@pytest.mark.parametrize(("name", "rank", "more"), CASES)
def test_the_flow_ends_at_the_closed_form(name, rank, more):
    S, (Q, P) = task(), feedback(rank)
    W1, W2, B = ends(name, S, Q, P, 150.0, **more)
    expected = stationary_overlap(name, "targets", False, S, P, rank, k, decay=more.get("decay", 0.0))
    assert np.isfinite(expected[:4]).all() and np.isnan(expected[4:]).all()
    # Weights of 1e-4 move the end by their size over the learned weights'; n of them add up.
    np.testing.assert_allclose(overlap_of(W1, W2, S), expected[:4], atol=2e-3)
    defect = stationary_defect(W1, W2, B, S)
    assert defect.feedback < 1e-6 and defect.forward < 1e-3  # the second by E times the rows of size 1e-4


def test_gradient_descent_through_a_narrow_layer_learns_the_leading_modes():
    S, (Q, P) = task(), feedback(2, hidden=2)
    W1, W2, _ = ends("gd", S, Q, P, 150.0)
    np.testing.assert_allclose(overlap_of(W1, W2, S), [1, 1, 0, 0], atol=2e-3)
    np.testing.assert_array_equal(stationary_overlap("gd", "targets", False, S, None, 2, 2)[:4], [1, 1, 0, 0])


def test_fixed_feedback_through_a_narrow_layer_misses_them():
    """Hanut & Kadmon, section 3.1: with k < m FA fails even if the rank of B is not restricted."""
    S, (Q, P) = task(), feedback(2, hidden=2)
    W1, W2, _ = ends("fa", S, Q, P, 150.0)
    expected = stationary_overlap("fa", "targets", False, S, P, 2, 2)
    np.testing.assert_allclose(overlap_of(W1, W2, S), expected[:4], atol=2e-3)
    assert expected[0] < 0.99


def test_oja_by_targets_that_are_noisy_learns_the_rows_of_their_leading_eigenvectors():
    """Sampled noise turns the eigenvectors of Sigma_oo out of the task's modes."""
    S, (Q, P) = task([2.0, 1.5, 1.0, 0.6, 0.4, 0.2]), feedback(2)
    noise = np.random.default_rng(5).normal(size=(m, 20)) * 2.0
    C = S @ S.T + noise @ noise.T / 20
    W1, W2, _ = ends("oja", S, Q, P, 150.0, C=C)
    expected = stationary_overlap("oja", "targets", False, S, P, 2, k, C=C)
    assert expected[1] < 0.95  # or the case would be one of the above
    np.testing.assert_allclose(overlap_of(W1, W2, S), expected, atol=2e-3)


def test_oja_forgets_what_the_decay_exceeds_and_what_was_learned_from_it_has_no_closed_form():
    S, (Q, P) = task(), feedback(2)
    expected = stationary_overlap("oja", "targets", False, S, P, 2, k, decay=3.0)  # between 1.5^2 and 2^2
    np.testing.assert_array_equal(expected[:4], [1.0, np.nan, np.nan, np.nan])
    W1, W2, _ = ends("oja", S, Q, P, 150.0, decay=3.0)
    overlap = overlap_of(W1, W2, S)
    assert overlap[0] == pytest.approx(1.0, abs=2e-3) and 0.05 < overlap[1] < 0.99


def test_weights_of_finite_size_end_elsewhere_after_long_enough():
    """The limits do not commute: (I - Q Q^+) W1 stays as drawn, and W2 learns from its rows too in the end."""
    S, (Q, P) = task(), feedback(2, hidden=4)
    drawn = np.random.default_rng([0, 2]).normal(size=(4, n)) * 0.1
    kept = (np.eye(4) - Q @ np.linalg.pinv(Q)) @ drawn
    W1, W2, _ = ends("fa", S, Q, P, 5e4, forward=0.1)
    np.testing.assert_allclose((np.eye(4) - Q @ np.linalg.pinv(Q)) @ W1, kept, atol=1e-9)  # the integrator's, added up
    member = stationary_family(S, P, 4, kept[None])
    # Slowest: E W1^T falls with the smallest eigenvalue of W1 W1^T, here above n (0.1)^2 / 20, over 5e4 tau.
    np.testing.assert_allclose(overlap_of(W1, W2, S), member.overlap[0, :4], atol=1e-5)
    assert (
        np.nansum(member.overlap)
        > 2.2
        > 2.0
        == pytest.approx(np.nansum(stationary_overlap("fa", "targets", False, S, P, 2, 4)))
    )


@pytest.mark.parametrize("rank", [1, 2, 3, 4, 6])
def test_the_overlaps_of_fixed_feedback_add_up_to_the_rank(rank):
    P = np.random.default_rng(0).normal(size=(20, rank, m))
    overlap = stationary_overlap("fa", "targets", False, np.tile(task(), (20, 1, 1)), P, rank, k)
    assert overlap.shape == (20, m)
    np.testing.assert_allclose(np.nansum(overlap, -1), min(rank, 4), rtol=1e-12)
    assert (overlap[:, :4] <= 1 + 1e-12).all() and (overlap[:, :4] >= 0).all()
    if rank >= 4:
        np.testing.assert_allclose(overlap[:, :4], 1.0, rtol=1e-12)


def test_one_direction_shares_itself_out_by_its_own_energies():
    """r = 1: Pi = p p^T / |p|^2 with p = P S."""
    P = np.random.default_rng(0).normal(size=(1, m))
    p = (P @ task())[0, :4]
    expected = p**2 / (p @ p)
    np.testing.assert_allclose(stationary_overlap("fa", "targets", False, task(), P, 1, k)[:4], expected, rtol=1e-12)


def test_only_the_row_space_of_the_feedback_counts():
    rng = np.random.default_rng(0)
    P, mixed = rng.normal(size=(3, m)), rng.normal(size=(3, 3))
    found = [stationary_overlap("adaptive_q", "targets", False, task(), one, 3, k)[:4] for one in (P, mixed @ P)]
    np.testing.assert_allclose(*found, rtol=1e-10)


@pytest.mark.parametrize(
    ("name", "drive", "learn_q"),
    [("normative", "targets", False), ("oja", "residual", False), ("oja", "targets", True)],
)
def test_where_there_is_no_closed_form_none_is_given(name, drive, learn_q):
    assert np.isnan(stationary_overlap(name, drive, learn_q, task(), np.ones((2, m)), 2, k)).all()


@pytest.mark.parametrize("name", ["gd", "oja"])
def test_modes_tied_at_the_cut_are_left_open(name):
    S = task([2.0, 1.0, 1.0, 0.5])
    expected = stationary_overlap(name, "targets", False, S, None, 2, 2)
    np.testing.assert_allclose(expected[:4], [1.0, np.nan, np.nan, 0.0], atol=1e-12)
    whole = stationary_overlap(name, "targets", False, S, None, 3, 3)
    np.testing.assert_allclose(whole[:4], [1.0, 1.0, 1.0, 0.0], atol=1e-12)


def test_noise_alike_in_all_outputs_does_not_change_what_oja_learns():
    S = task()
    plain, noisy = (
        stationary_overlap("oja", "targets", False, S, None, 5, k, C=S @ S.T + x * np.eye(m)) for x in (0, 1)
    )
    np.testing.assert_allclose(plain[:4], noisy[:4], atol=1e-12)


def test_the_residuals_parts_add_up_and_the_first_is_what_feedback_sees():
    rng = np.random.default_rng(0)
    Q, P, E = rng.normal(size=(5, k, 2)), rng.normal(size=(5, 2, m)), rng.normal(size=(5, m, n))
    inside, outside = residual_split(E, Q @ P)
    np.testing.assert_allclose(inside + outside, (E**2).sum((-2, -1)), rtol=1e-12)
    unseen = E - np.linalg.pinv(P) @ P @ E
    np.testing.assert_allclose(outside, (unseen**2).sum((-2, -1)), rtol=1e-12)
    again = residual_split(unseen, Q @ P)
    np.testing.assert_allclose(again[0], 0.0, atol=1e-24)
    np.testing.assert_allclose(again[1], outside, rtol=1e-12)


def test_full_rank_feedback_sees_all_of_the_residual_and_none_sees_nothing():
    rng = np.random.default_rng(0)
    E, B = rng.normal(size=(m, n)), rng.normal(size=(k, m))
    inside, outside = residual_split(E, B)
    assert inside == pytest.approx((E**2).sum()) and outside == pytest.approx(0.0, abs=1e-24)
    assert residual_split(E, 0 * B)[0] == 0.0


def test_the_basis_of_rows_has_as_many_as_the_rank():
    A = np.random.default_rng(0).normal(size=(7, 2)) @ np.random.default_rng(1).normal(size=(2, 5))
    basis = row_basis(A)
    assert np.linalg.matrix_rank(basis) == 2 == (np.abs(basis).sum(-1) > 0).sum()
    np.testing.assert_allclose(A @ basis.T @ basis, A, atol=1e-12)


def test_capture_is_one_for_the_leading_modes_nought_for_others_and_half_for_half():
    P = np.eye(m)
    assert capture(3 * P[[1, 0]], 2) == pytest.approx(1.0)
    assert capture(P[2:4], 2) == 0.0
    assert capture(P[[0, 4]], 2) == pytest.approx(0.5)


def test_random_feedback_captures_its_share_in_the_mean():
    found = capture(np.random.default_rng(0).normal(size=(4000, 2, m)), 2)
    assert abs(found.mean() - 2 / m) < 4 * found.std() / np.sqrt(4000)  # 4 standard errors


def test_small_weights_are_not_taken_for_learned_ones():
    rng = np.random.default_rng(0)
    W1, W2, B = rng.normal(size=(k, n)), rng.normal(size=(m, k)), rng.normal(size=(k, m))
    near, nearer = (stationary_defect(x * W1, x * W2, B, task()) for x in (1e-4, 1e-8))
    np.testing.assert_allclose(near.forward, nearer.forward, rtol=1e-6)  # E = S but for 1e-8
    assert near.forward > 0.1 and near.feedback > 0.1


def test_weights_of_nought_are_stationary_for_what_they_carry():
    defect = stationary_defect(np.zeros((k, n)), np.zeros((m, k)), np.zeros((k, m)), task())
    assert defect.feedback == 0.0 == defect.forward


def test_what_has_no_stationary_point_to_give_is_refused():
    S, P = task(), np.ones((2, m))
    with pytest.raises(InputError, match="feedback rule 'fb' is unknown"):
        stationary_overlap("fb", "targets", False, S, P, 2, k)
    with pytest.raises(InputError, match="P is 2 x 6; rank 3 and 6 outputs need 3 x 6"):
        stationary_overlap("fa", "targets", False, S, P, 3, k)
    with pytest.raises(InputError, match="P is none; rank 3"):
        stationary_overlap("fa", "targets", False, S, None, 3, k)
    with pytest.raises(InputError, match="rank = 5: B = Q P of 4 x 6 has rank 4 at most"):
        stationary_overlap("oja", "targets", False, S, None, 5, 4)
    for wrong in (S[:, ::-1], S[::-1, ::-1][::-1], task([1.0, 2.0]), -S):
        with pytest.raises(InputError, match="S is not in the task's own basis"):
            stationary_overlap("fa", "targets", False, wrong, P, 2, k)

"""Angles between feedback and weights, and between subspaces, on cases whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from rfmodel.theory.angles import alignment, principal_angles, random_angles
from rfmodel.theory.spectra import orthogonal


def test_feedback_is_aligned_with_its_own_transpose_and_opposed_to_its_negative():
    C = np.random.default_rng(0).normal(size=(3, 4, 9))
    np.testing.assert_allclose(alignment(C, 2 * C.swapaxes(1, 2)), 0, atol=1e-5)  # of the root of the last digit
    np.testing.assert_allclose(alignment(C, -C.swapaxes(1, 2)), 180, atol=1e-5)


def test_vectors_at_right_angles_are_so_and_nothing_has_no_angle():
    C, Z = np.zeros((2, 1, 3)), np.zeros((2, 3, 1))
    C[:, 0, 0], Z[0, 1, 0] = 1, 1
    np.testing.assert_array_equal(alignment(C, Z), [90, np.nan])


@pytest.mark.parametrize("turn", [1e-9, 1e-3, 0.5, 1.5])
def test_a_plane_that_is_turned_has_one_angle_of_nought_and_the_turn(turn):
    # Of the cosine, 1e-9 would be lost.
    W = np.eye(4)[None, :2]
    V = W.copy()
    V[0, 1] = np.cos(turn) * np.eye(4)[1] + np.sin(turn) * np.eye(4)[2]
    np.testing.assert_allclose(principal_angles(W, V)[0], [0, np.degrees(turn)], rtol=1e-6, atol=1e-14)


def test_principal_angles_do_not_depend_on_the_rows_that_span_a_space():
    rng = np.random.default_rng(1)
    W, V, mix = rng.normal(size=(2, 3, 8)), rng.normal(size=(2, 3, 8)), rng.normal(size=(2, 3, 3))
    np.testing.assert_allclose(principal_angles(mix @ W, V), principal_angles(W, V), rtol=1e-9)


def test_rows_that_depend_on_each_other_have_as_many_angles_as_there_are_rows():
    rng = np.random.default_rng(3)
    W = rng.normal(size=(1, 3, 8))
    V = W.copy()
    V[0, 2] = V[0, 0] + V[0, 1]
    found = principal_angles(W, V)[0]
    assert found.shape == (3,)
    # Two directions are common to both; the sine of the root of the last digit at most.
    np.testing.assert_allclose(found[:2], 0, atol=1e-6)


def test_spaces_in_each_other_s_complement_are_at_right_angles():
    Q = orthogonal(np.random.default_rng(2), 6).T
    np.testing.assert_allclose(principal_angles(Q[None, :3], Q[None, 3:])[0], 90, rtol=1e-12)


def test_random_subspaces_have_their_width_s_share_in_common():
    width, columns, count = 3, 12, 400
    found = random_angles([np.random.default_rng(seed) for seed in range(count)], width, columns)
    assert (np.diff(found) >= 0).all()
    common = (np.cos(np.radians(found)) ** 2).sum(1)
    # Of two projectors: mean r^2 / N, variance 2 r^2 (N - r)^2 / N^2 (N - 1) (N + 2); four standard errors.
    variance = 2 * width**2 * (columns - width) ** 2 / (columns**2 * (columns - 1) * (columns + 2))
    np.testing.assert_allclose(common.mean(), width**2 / columns, atol=4 * np.sqrt(variance / count))

"""Weights begin as they are asked to, seed by seed, in either basis."""

from __future__ import annotations

import numpy as np
import pytest
from linear_cases import drawn, small

from rfmodel.errors import InputError
from rfmodel.theory.equations import overlap
from rfmodel.theory.initial import resolved_rank, rotated, unrotated
from rfmodel.theory.tasks import transposed


def same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-14)


def test_weights_have_the_shapes_of_the_network():
    _, weights = drawn(small("fa"))
    assert [one.shape for one in weights] == [(2, 8, 12), (2, 6, 8), (2, 8, 2), (2, 2, 6)]


def test_forward_weights_have_the_deviation_that_is_asked_for():
    _, weights = drawn(small(seeds=50, initial={"forward": 0.25}))
    for one in weights[:2]:
        # A standard deviation of N normal numbers deviates by a share of 1 / sqrt(2 N); five times that.
        np.testing.assert_allclose(one.std(), 0.25, rtol=5 / np.sqrt(2 * one.size))


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_directions_of_the_feedback_have_gain_one_at_any_rank(rank):
    _, weights = drawn(small("fa", seeds=100, rank=rank))
    for squares, entries in ((np.square(weights.P).sum(-1), 6), (np.square(weights.Q).sum(1), 8)):
        # The sum of squares of N normal numbers of variance 1/N has variance 2/N; five standard errors.
        np.testing.assert_allclose(squares.mean(), 1.0, atol=5 * np.sqrt(2 / entries / squares.size))
    _, weights = drawn(small("fa", rank=rank, initial={"feedback": "orthonormal"}))
    for gram in (weights.P @ transposed(weights.P), transposed(weights.Q) @ weights.Q):
        np.testing.assert_allclose(gram, np.tile(np.eye(rank), (2, 1, 1)), atol=1e-14)


@pytest.mark.parametrize(("hidden", "outputs"), [(8, 6), (3, 6), (8, 4)])
def test_balanced_weights_are_balanced_and_in_the_modes_of_the_task(hidden, outputs):
    settings = small(task={"hidden": hidden, "outputs": outputs}, initial={"forward": 0.1, "balanced": True})
    task, weights = drawn(settings)
    np.testing.assert_allclose(weights.W1 @ transposed(weights.W1), transposed(weights.W2) @ weights.W2, atol=1e-15)
    bar = rotated(weights, task)
    modes = min(4, hidden)  # those that the network has room for
    np.testing.assert_allclose(overlap(task.S, bar.W2, bar.W1, modes), 0.01 / task.values[:, :modes], atol=1e-14)
    product = bar.W2 @ bar.W1
    np.testing.assert_allclose(np.square(product).sum((1, 2)), min(hidden, outputs) * 1e-4, rtol=1e-12)


def test_rotating_back_undoes_rotating():
    task, weights = drawn(small("fa"))
    same(unrotated(rotated(weights, task), task), weights)


def test_rotation_is_that_of_equation_a14():
    task, weights = drawn(small("fa"))
    bar = rotated(weights, task)
    same((bar.W1 @ transposed(task.V), task.U @ bar.W2, bar.P @ transposed(task.U)),
         (weights.W1, weights.W2, weights.P))  # fmt: skip
    np.testing.assert_array_equal(bar.Q, weights.Q)


def test_another_rank_leaves_the_task_the_forward_weights_and_the_first_directions_as_they_were():
    for feedback in ("gaussian", "orthonormal"):
        (task, low), (other, high) = (drawn(small("fa", rank=r, initial={"feedback": feedback})) for r in (2, 5))
        np.testing.assert_array_equal(task.A, other.A)
        np.testing.assert_array_equal(low.W1, high.W1)
        np.testing.assert_array_equal(low.W2, high.W2)
        np.testing.assert_array_equal(low.Q, high.Q[:, :, :2])
        np.testing.assert_array_equal(low.P, high.P[:, :2])


def test_more_seeds_leave_the_first_as_they_were():
    (_, few), (_, many) = (drawn(small("fa", seeds=seeds)) for seeds in (2, 4))
    for a, b in zip(few, many.of_seeds(slice(2)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_highest_rank_is_that_of_the_smaller_layer():
    assert resolved_rank(small("fa", rank=None)) == 6
    assert resolved_rank(small("fa", rank=None, task={"hidden": 5})) == 5
    assert resolved_rank(small("fa", rank=6)) == 6


@pytest.mark.parametrize("name", ["gd", "fa"])
def test_a_rank_that_no_map_has_is_refused(name):
    with pytest.raises(InputError, match="feedback.rank = 7 is impossible: B is 8 x 6; use 6 or fewer"):
        drawn(small(name, rank=7))

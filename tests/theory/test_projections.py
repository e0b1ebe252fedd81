"""The Johnson-Lindenstrauss argument: what a projection keeps, and that it is neither enough nor needed."""

from __future__ import annotations

import numpy as np
import pytest

from rfmodel.errors import InputError
from rfmodel.theory.projections import (
    argued_ranks,
    argument,
    by_number,
    distortion,
    effective_modes,
    promised_distortion,
    sufficient_rank,
)

RNG = np.random.default_rng(0)
m = 12
VECTORS = RNG.normal(size=(m, 9))
EXACT = np.linspace(2.0, 0.5, 8)  # a task of rank 8
TAIL = np.r_[np.linspace(2.0, 1.0, 8), np.full(56, 0.3)]  # 8 modes lead, all 64 are there


def test_a_rotation_distorts_nothing_whatever_its_gain():
    rotation = np.linalg.qr(RNG.normal(size=(m, m)))[0]
    found = distortion(7 * rotation, VECTORS)
    for value in (found.largest, found.median, found.cosine_largest, found.cosine_median):
        assert value < 1e-13


def test_rotating_what_is_projected_changes_no_pair():
    P, turn = RNG.normal(size=(4, m)), np.linalg.qr(RNG.normal(size=(4, 4)))[0]
    one, other = distortion(P, VECTORS), distortion(3 * turn @ P, VECTORS)
    assert one.largest == pytest.approx(float(other.largest)) and one.median == pytest.approx(float(other.median))
    assert one.cosine_largest == pytest.approx(float(other.cosine_largest))


def test_two_pairs_are_told_by_hand():
    """P keeps e1 of two outputs: its mean gain is 1/2, so e1's length doubles (squared) and e2's is lost."""
    P, vectors = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 3.0]])
    found = distortion(P, vectors)  # differences: e1 (2 - 1), 3 e2 (0 - 1), e1 - 3 e2 of 10 (2 / 10 - 1)
    assert found.largest == pytest.approx(1.0) and found.median == pytest.approx(1.0)
    assert np.isnan(found.cosine_largest)  # with 0, or 3 e2 that is taken to 0, there is none


def test_cosines_are_those_of_the_projected():
    P, vectors = np.array([[1.0, 0.0]]), np.array([[1.0, 1.0, -1.0], [0.0, 1.0, 0.0]])
    found = distortion(P, vectors)  # before: 1/sqrt 2, -1, -1/sqrt 2; after: 1, -1, -1
    assert found.cosine_largest == pytest.approx(1 - 0.5**0.5) == found.cosine_median


def test_pairs_that_coincide_are_left_out():
    twice = np.concatenate([VECTORS, VECTORS[:, :1]], 1)
    P = RNG.normal(size=(3, m))
    assert distortion(P, twice).largest == distortion(P, VECTORS).largest
    assert np.isnan(distortion(P, np.ones((m, 3))).median)


def test_seeds_are_a_leading_axis():
    P, vectors = RNG.normal(size=(5, 4, m)), RNG.normal(size=(5, m, 6))
    found = distortion(P, vectors)
    alone = [distortion(P[i], vectors[i]) for i in range(5)]
    np.testing.assert_allclose(found.median, [one.median for one in alone], rtol=1e-12)
    np.testing.assert_allclose(found.cosine_largest, [one.cosine_largest for one in alone], rtol=1e-12)


def test_a_single_distance_is_distorted_as_chi_squared():
    """||P x||^2 / (r |x|^2) of Gaussian P has variance 2 / r; the gain, over m outputs, adds 2 / (r m)."""
    r, wide, draws = 5, 2000, 400
    P = np.random.default_rng(1).normal(size=(draws, r, wide))
    pair = np.zeros((wide, 2))
    pair[0, 1] = 1.0
    squared = distortion(P, pair).largest ** 2
    assert abs(squared.mean() - 2 / r) < 4 * squared.std() / np.sqrt(draws) + 2 / (r * wide)  # 4 standard errors


def test_the_lemmas_rank_keeps_its_promise():
    points, eps = 20, 0.5
    rank = sufficient_rank(points, eps)
    assert rank == 144  # 4 ln 20 / (1/8 - 1/24) = 143.8
    P = np.random.default_rng(0).normal(size=(40, rank, 200))
    found = distortion(P, np.random.default_rng(1).normal(size=(200, points))).largest
    # A draw keeps all distances with a probability of 1 / N at least; nearly every one does.
    assert (found < eps).mean() > 1 / points


def test_what_the_lemma_promises_is_the_inverse_of_what_it_asks():
    for eps in (0.1, 0.5, 0.9):
        assert promised_distortion(64, sufficient_rank(64, eps)) == pytest.approx(eps, abs=0.01)
        assert promised_distortion(64, sufficient_rank(64, eps)) <= eps
    assert np.isnan(promised_distortion(64, 10))


def test_d_log_m_directions_are_promised_nothing_below_24_modes():
    """r = d ln m for m points asks eps^2 / 2 - eps^3 / 3 = 4 / d, which is 1/6 at most."""
    m = 1000
    assert np.isnan(promised_distortion(m, int(23 * np.log(m))))
    assert promised_distortion(m, int(26 * np.log(m))) < 1


def test_the_leading_modes_hold_the_share():
    assert effective_modes(np.sqrt([5.0, 4.0, 0.5, 0.5])) == 2
    assert effective_modes(np.sqrt([5.0, 4.0, 0.5, 0.5]), 0.91) == 3
    assert effective_modes(np.ones(10)) == 9
    assert effective_modes(EXACT, 1.0) == 8


def test_the_argued_ranks_are_within_the_outputs():
    assert argued_ranks(8, 64) == [4, 8, 16, 34]  # 8 ln 64 = 33.3
    assert argued_ranks(40, 64) == [20, 40, 64]


@pytest.fixture(scope="module")
def tables():
    return {name: argument(s, 64, argued_ranks(8, 64), seeds=10, dimension=8) for name, s in
            (("exact", EXACT), ("tail", TAIL))}  # fmt: skip


def test_a_task_of_rank_d_is_recovered_from_r_of_d_on_without_log_m(tables):
    exact = tables["exact"]
    np.testing.assert_allclose(exact["overlap"].sel(rank=[8, 16, 34]), 1.0, rtol=1e-9)
    assert (exact["overlap"].sel(rank=4).min("mode") < 0.9).all()


def test_a_kept_structure_is_not_needed(tables):
    """At r = d distances change by more than their own size, and every mode is recovered all the same."""
    at = tables["exact"].sel(rank=8)
    assert (at["distortion_largest"].median() > 1) and (at["overlap"] > 0.999).all()


def test_a_kept_structure_is_not_enough(tables):
    """At every rank pairs are kept as well under the tail as without, and its leading modes fall short."""
    exact, tail = tables["exact"], tables["tail"]
    for rank in (8, 16, 34):
        kept, there = (one["distortion_median"].sel(rank=rank).median() for one in (exact, tail))
        assert abs(kept - there) < 0.05
        assert (tail["overlap"].sel(rank=rank).min("mode") < 0.95).all()
    assert (tail["overlap"].sum("mode") < tail["rank"]).all()  # the tail has its share of the projector's trace


def test_the_table_has_a_row_a_rank(tables):
    rows = by_number(tables["tail"])
    assert [row["rank"] for row in rows] == [4, 8, 16, 34]
    assert rows[-1]["ratio"] == pytest.approx(34 / (8 * np.log(64)))
    for row, (_, found) in zip(rows, tables["tail"].groupby("rank"), strict=True):
        assert row["overlap_first"] == pytest.approx(float(found["overlap"].isel(mode=0).median()))
        assert row["short"] == pytest.approx(float((found["overlap"] <= 0.9).sum() / 10))
        assert row["distortion_median"] <= row["distortion_largest"]
    assert all(one["overlap_mean"] < other["overlap_mean"] for one, other in zip(rows[:-1], rows[1:], strict=True))


def test_more_seeds_and_ranks_leave_the_first_as_they_were(tables):
    few = argument(TAIL, 64, [8], seeds=3, dimension=8)
    np.testing.assert_array_equal(few["overlap"].sel(rank=8), tables["tail"]["overlap"].sel(rank=8)[:3])
    np.testing.assert_array_equal(few["cosine_median"].sel(rank=8), tables["tail"]["cosine_median"].sel(rank=8)[:3])


def test_what_cannot_be_argued_is_refused():
    with pytest.raises(InputError, match="1 vectors have no pairs"):
        distortion(np.ones((2, m)), VECTORS[:, :1])
    for eps in (0.0, 1.0):
        with pytest.raises(InputError, match=f"distortion = {eps:g}"):
            sufficient_rank(10, eps)
    with pytest.raises(InputError, match="8 leading of 8 modes at rank 70: 64 outputs"):
        argument(EXACT, 64, [70], dimension=8)
    with pytest.raises(InputError, match="9 leading of 8 modes"):
        argument(EXACT, 64, [4], dimension=9)

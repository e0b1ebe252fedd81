"""Every class keeps its share, whatever is taken or held out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rfmodel.datasets.stratify import first_rows, hold_out, rank_within_class
from rfmodel.errors import InputError

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(lambda values: np.array(values, np.int64))


@given(LABELS)
@settings(deadline=None)
def test_rank_counts_the_earlier_rows_of_the_same_class(labels):
    expected = [int((labels[:row] == label).sum()) for row, label in enumerate(labels)]
    assert rank_within_class(labels).tolist() == expected


@given(LABELS, st.floats(0, 0.99), st.integers(0, 5))
@settings(deadline=None)
def test_held_out_and_kept_rows_share_none_and_make_up_all(labels, fraction, seed):
    kept, held = hold_out(labels, fraction, seed)
    assert np.array_equal(np.sort(np.concatenate([kept, held])), np.arange(len(labels)))
    counts, taken = (np.bincount(part, minlength=5) for part in (labels, labels[held]))
    assert np.array_equal(taken, np.round(fraction * counts))


def test_held_out_rows_depend_on_the_seed_alone():
    labels = np.arange(500) % 10
    assert np.array_equal(hold_out(labels, 0.2, 3)[1], hold_out(labels, 0.2, 3)[1])
    assert not np.array_equal(hold_out(labels, 0.2, 3)[1], hold_out(labels, 0.2, 4)[1])


@given(LABELS, st.data())
@settings(deadline=None)
def test_first_rows_take_the_classes_in_turn(labels, data):
    count = data.draw(st.integers(1, len(labels)))
    rows = first_rows(labels, count)
    assert len(rows) == count
    assert (np.diff(rows) > 0).all()
    taken, there = np.bincount(labels[rows], minlength=5), np.bincount(labels, minlength=5)
    # a class may lag behind another by more than one only when it has no more rows
    short = taken < there
    assert not short.any() or taken.max() - taken[short].min() <= 1


def test_first_rows_of_a_larger_count_contain_those_of_a_smaller():
    labels = np.random.default_rng(0).integers(0, 10, 300)
    assert set(first_rows(labels, 50)) <= set(first_rows(labels, 120))


@pytest.mark.parametrize("count", [0, 6, -1, 2.5])
def test_impossible_count_names_what_is_there(count):
    with pytest.raises(InputError, match=rf"train={count} .* 1 to 5"):
        first_rows(np.zeros(5, np.int64), count)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 1.5, float("nan")])
def test_fraction_that_leaves_nothing_is_refused(fraction):
    with pytest.raises(InputError, match=f"validation={fraction}"):
        hold_out(np.zeros(5, np.int64), fraction, 0)

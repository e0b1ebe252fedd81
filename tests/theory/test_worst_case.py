"""The worst spectrum is the step that the closed form says, and the search finds it but for the chance of its draws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import check_grad

from rfmodel.errors import InputError
from rfmodel.theory.separation import feedback_draws, separation, step_limit
from rfmodel.theory.worst_case import log_median, of_families, worst_spectrum

MODES, WIDTH, LARGEST, FLOOR = 12, 4, 2.0, 0.1
STEP = np.where(np.arange(MODES) < WIDTH, LARGEST, FLOOR)


def search(seed=0, **changed):
    return worst_spectrum(
        **{"modes": MODES, "width": WIDTH, "largest": LARGEST, "smallest": FLOOR, **changed}, seed=seed
    )


def others(count=4000):
    return feedback_draws(count, WIDTH, MODES, np.random.default_rng(99))


@pytest.mark.parametrize("seed", [0, 1])
def test_the_worst_spectrum_is_a_step_after_the_width_down_to_the_floor(seed):
    found = search(seed)
    np.testing.assert_allclose(found.values, STEP, rtol=0.15)  # the tail follows the chance of the draws a little
    # Over other draws it is no worse than the step but for that chance.
    np.testing.assert_allclose(np.median(separation(found.values, others())),
                               np.median(separation(STEP, others())), rtol=0.01)  # fmt: skip


def test_no_family_is_worse_and_every_start_leads_there():
    found = search()
    C = feedback_draws(512, WIDTH, MODES, np.random.default_rng(0))  # those of the search: common random numbers
    families = {name: np.median(ratios) for name, ratios in of_families(MODES, WIDTH, LARGEST, FLOOR, C).items()}
    assert max(families, key=families.get) == f"step({WIDTH})"
    assert families["flat"] == pytest.approx(1)
    assert found.ratio >= (1 - 1e-6) * max(families.values())
    assert found.ratio <= np.median(step_limit(C)) * 1.01
    assert min(found.starts.values()) >= 0.98 * found.ratio
    assert len(found.starts) == 5


def test_the_way_goes_up_through_spectra_that_are_allowed():
    found = search()
    assert found.way_values.shape == (len(found.way_ratios), MODES)
    assert found.way_ratios[-1] == found.way_ratios.max() == found.ratio > found.way_ratios[0]
    np.testing.assert_array_equal(found.way_values[-1], found.values)
    np.testing.assert_allclose(found.way_values[:, 0], LARGEST)
    assert (np.diff(found.way_values) <= 1e-12).all()
    assert found.way_values.min() >= FLOOR * (1 - 1e-12)


def test_a_search_is_the_same_again():
    one, other = search(3, draws=64), search(3, draws=64)
    np.testing.assert_array_equal(one.way_values, other.way_values)
    assert one.evaluations == other.evaluations


@pytest.mark.parametrize("mode", range(WIDTH))
def test_every_draw_s_separation_rises_with_each_of_the_top_values(mode):
    values = np.linspace(2, 0.5, MODES)
    higher = values.copy()
    higher[: mode + 1] += 0.3
    assert (separation(higher, others(200)) > separation(values, others(200))).all()


def test_every_draw_s_separation_rises_as_the_tail_is_made_smaller():
    values = np.linspace(2, 0.5, MODES)
    lower = np.where(np.arange(MODES) < WIDTH, values, 0.5 * values)
    assert (separation(lower, others(200)) > separation(values, others(200))).all()


def test_an_even_tail_has_the_highest_median():
    found = []
    for count in (1, 3, 8):
        values = np.where(np.arange(MODES) < WIDTH, 1.0, 1e-5)
        values[WIDTH : WIDTH + count] = 1e-3
        found.append(np.median(separation(values, others(20_000))))
    assert found == sorted(found)


def test_the_gradient_is_that_of_the_smoothed_median():
    C = feedback_draws(16, 3, 8, np.random.default_rng(0))
    gaps = np.random.default_rng(1).random(7) * 0.4
    away = check_grad(lambda g: log_median(g, C)[0], lambda g: log_median(g, C)[1], gaps)
    assert away < 1e-6 * np.linalg.norm(log_median(gaps, C)[1])  # forward differences are good to 1e-8 of it all


def test_the_smoothed_median_of_like_draws_is_their_own():
    C = np.repeat(feedback_draws(1, 3, 8, np.random.default_rng(0)), 5, axis=0)
    gaps = np.full(7, 0.2)
    ratio = separation(np.exp(-0.2 * np.arange(8)), C)[0]
    assert log_median(gaps, C)[0] == pytest.approx(np.log(ratio))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"modes": 4}, "worst spectrum of 4 modes for width 4: feedback alignment is exact; use modes = 5 or more"),
        ({"smallest": 2.0}, "spectrum.smallest = 2 leaves no room below spectrum.largest = 2; a smaller one would do"),
    ],
)
def test_a_search_that_has_nothing_to_seek_is_refused(changed, told):
    with pytest.raises(InputError, match=told):
        search(**changed)


@pytest.mark.slow
def test_at_the_default_size_too_the_worst_is_the_step():
    found, step = worst_spectrum(32, 8, 2.0, 0.04, seed=0), np.where(np.arange(32) < 8, 2.0, 0.04)
    np.testing.assert_allclose(found.values[:8], 2.0, rtol=1e-3)
    np.testing.assert_allclose(np.median(found.values[8:]), 0.04, rtol=1e-3)
    C = feedback_draws(4000, 8, 32, np.random.default_rng(99))
    np.testing.assert_allclose(np.median(separation(found.values, C)), np.median(separation(step, C)), rtol=0.01)

"""One condition of matrix factorisation is what its parts and the mathematics say."""

from __future__ import annotations

import numpy as np
import pytest
from factoring import RULES, VALUES, settings

from rfmodel.errors import InputError
from rfmodel.theory import matrix_factorisation
from rfmodel.theory.factor_network import VARIABLES

WORST = {"law": "worst", "modes": 9, "smallest": 0.1}
DIMS = {"manner": 2, "seed": 3, "point": 21, "mode": 6, "angle": 4}


def found(rule="gd", progress=None, **options):
    return matrix_factorisation(settings(rule, **options), progress)


@pytest.mark.parametrize("rule", RULES)
def test_a_condition_holds_every_variable_over_its_dimensions(rule):
    data = found(rule)
    assert dict(data.sizes) == DIMS
    for name, (dims, _, units) in VARIABLES.items():
        if name.startswith("search"):
            assert name not in data
            continue
        assert data[name].dims == dims, name
        assert data[name].dtype == np.float64, name
        assert data[name].attrs["units"] == units
        lacking = rule == "gd" and name in ("alignment", "principal_angle", "equal_error", "equality")
        assert np.isfinite(data[name]).all() != lacking, name
    assert data.attrs["model"] == "matrix_factorisation"
    assert data.attrs["width"] == 4
    assert (data.attrs["steps"], data.attrs["step"]) == (2000, pytest.approx(0.02))
    assert data.attrs["evaluations"] > 0
    assert list(data["manner"].values) == ["flow", "full_batch"]


@pytest.mark.parametrize("rule", RULES)
def test_a_condition_ends_at_its_closed_form_in_both_manners(rule):
    data = found(rule, forward=1e-1, how={"duration": 80.0, "points": 41})
    for manner in (0, 1):
        np.testing.assert_allclose(data["error"].isel(manner=manner, point=-1), data["stationary"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(data["ratio"], data["stationary"] / data["optimum"], rtol=1e-5)
    np.testing.assert_allclose(data["excess"], data["stationary"] - data["optimum"], atol=1e-6)
    size = np.linalg.norm(VALUES)
    np.testing.assert_allclose(data["optimum"], np.linalg.norm(VALUES[4:]) / size, rtol=1e-12)
    assert (data["drift"] < 1e-6).all()
    assert (data["ratio"] > 1.05).all() == (rule != "gd")


def test_the_difference_of_the_steps_from_the_flow_halves_with_the_step():
    coarse, fine = (found("fa", how={"duration": 10.0, "step": step})["difference"] for step in (0.02, 0.01))
    assert (coarse.isel(manner=0) == 0).all()
    assert (coarse.isel(manner=1) < 0.02).all()
    np.testing.assert_allclose(coarse.isel(manner=1) / fine.isel(manner=1), 2, rtol=0.05)


def test_feedback_and_weights_align_from_right_angles_as_they_learn():
    data = found("fa", forward=1e-3, seeds=10)
    first, last = data["alignment"].isel(point=0), data["alignment"].isel(point=-1)
    # Of 36 random numbers: the cosine's standard deviation is a sixth, 9.6 degrees, over ten seeds a third of that.
    assert abs(float(first.mean()) - 90) < 4 * 9.6 / np.sqrt(10)
    assert (last < 90).all()
    assert float(last.mean()) < 65


def test_in_a_flat_spectrum_the_rules_err_alike_and_find_spaces_that_are_no_nearer_than_random_ones():
    data = found("fa", seeds=20, rows=16, columns=16, width=4, law={"law": "flat", "modes": 16}, forward=1e-2)
    np.testing.assert_allclose(data["ratio"], 1, rtol=1e-8)
    common = (np.cos(np.radians(data["principal_angle"])) ** 2).sum("angle")
    # Of two random projectors: mean r^2 / N, variance 2 r^2 (N - r)^2 / N^2 (N - 1) (N + 2); four standard errors.
    variance = 2 * 16 * 144 / (256 * 15 * 18)
    assert abs(float(common.mean()) - 1) < 4 * np.sqrt(variance / 20)


def test_principal_angles_are_taken_at_equal_error():
    data = found("fa")
    assert (data["equality"] < 1e-8).all()
    np.testing.assert_array_equal(data["equal_error"], data["error"].isel(manner=0, point=-1))
    assert (np.diff(data["principal_angle"]) >= 0).all()


def test_gradient_descent_is_not_compared_with_itself():
    data = found("gd")
    for name in ("alignment", "principal_angle", "equal_error"):
        assert np.isnan(data[name]).all()
    assert np.isfinite(data["principal_angle_random"]).all()


def test_an_optimum_of_nought_has_no_ratio():
    data = found("fa", values=VALUES[:3])
    assert (data["optimum"] == 0).all()
    assert np.isnan(data["ratio"]).all()
    assert np.isfinite(data["excess"]).all()


def test_the_worst_law_searches_and_then_factorises_what_it_found():
    data = found("fa", law=WORST, width=3, forward=1e-2)
    assert data["search_values"].dims == ("candidate", "mode")
    np.testing.assert_array_equal(data["singular_values"].isel(seed=0), data["search_values"].isel(candidate=-1))
    assert float(data["search_ratio"][-1]) == float(data["search_ratio"].max())
    np.testing.assert_allclose(data["singular_values"][0], np.where(np.arange(9) < 3, 2.0, 0.1), rtol=0.2)


def test_the_spectrum_s_own_floor_is_a_quarter_where_none_is_given():
    data = found("gd", law={"law": "worst", "modes": 6, "largest": 4.0}, width=3)
    np.testing.assert_allclose(data["singular_values"].min(), 1.0, rtol=1e-6)


def test_more_seeds_leave_the_first_ones_as_they_were():
    few, many = (found("fa", seeds=seeds, how={"manners": ("flow",), "tolerance": 1e-10}) for seeds in (2, 3))
    assert few.sizes["manner"] == 1
    assert few.attrs["steps"] == 0
    for name in ("singular_values", "stationary", "principal_angle_random"):
        np.testing.assert_array_equal(few[name], many[name].isel(seed=slice(2)))
    np.testing.assert_allclose(few["error"], many["error"].isel(seed=slice(2)), atol=1e-7)


def test_progress_rises_from_nought_to_one():
    told = []
    found("fa", progress=told.append, how={"duration": 5.0})
    assert told == sorted(told)
    assert (told[0], told[-1]) == (0, 1)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"how": {"manners": ("flow", "online")}}, "'online' has no samples to draw from a matrix; use flow and full"),
        ({"width": 10}, "rule.width = 10 is above the 9 that a matrix of 9 x 11 has use for; use 9 or fewer"),
        ({"law": {"law": "flat", "modes": 10}}, "spectrum of 10 modes: a matrix of 9 x 11 has 9 singular values"),
        ({"law": {**WORST, "modes": 10}}, "spectrum of 10 modes: a matrix of 9 x 11 has 9 singular values; use modes"),
        ({"law": WORST, "width": 9}, "the worst spectrum of 9 modes for width 9"),
        (
            {"how": {"step": 2.0}},
            "step = 2 is too large: full_batch of seed 0 diverged .* largest stable step is about",
        ),
        ({"how": {"step": 3.0}}, "step = 3 is longer than the 2 tau between two points"),
        ({"forward": 1e200}, r"initial.forward = 1e\+200 is beyond what can be computed; use 1e-12 to 1000"),
        (
            {"law": {"law": "flat", "modes": 3, "largest": 1e-200}},
            "largest = 1e-200 is beyond what can be computed; use",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(options, told):
    with pytest.raises(InputError, match=told) as refused:
        found("fa", **options)
    assert "\n" not in str(refused.value)


def test_a_step_that_is_too_large_but_stays_bounded_is_refused():
    # Above 1 / s_1 = .5 gradient descent goes round its end.
    with pytest.raises(InputError, match=r"step = 0.54 is too large: full_batch of seed 0 left its flow at time"):
        found("gd", forward=1e-2, how={"step": 0.54, "duration": 40.5, "points": 76})


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_at_the_default_size_twenty_seeds_end_at_the_closed_form(rule):
    law = {"law": "linear", "modes": 32}
    data = found(rule, seeds=20, rows=32, columns=32, width=8, law=law, forward=1e-2, how={"duration": 200.0})
    np.testing.assert_allclose(data["error"].isel(manner=0, point=-1), data["stationary"], rtol=0, atol=1e-6)

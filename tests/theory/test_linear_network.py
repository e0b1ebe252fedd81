"""Linear dynamics: the Dataset is what it says, and shows what each rule learns."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from linear_cases import RULES, drawn, small

from rfmodel.errors import InputError
from rfmodel.theory.batching import gain_of_batching
from rfmodel.theory.initial import rotated
from rfmodel.theory.linear_network import VARIABLES, linear_dynamics
from rfmodel.theory.saxe import saxe_overlap, saxe_time
from rfmodel.theory.tasks import transposed

BOTH = {"manners": ("flow", "full_batch"), "duration": 5.0, "points": 11, "step": 0.05}
LONG = {"duration": 80.0, "points": 41}
TINY = {"forward": 1e-4}


@pytest.mark.parametrize("name", RULES)
def test_the_dataset_holds_what_is_promised(name):
    manners = ("online", "full_batch", "flow", "online")  # the flow comes first, and each once
    found = linear_dynamics(small(name, seeds=3, integration=BOTH | {"manners": manners}))
    sizes = {"manner": 3, "seed": 3, "point": 11, "mode": 4}
    assert dict(found.sizes) == sizes
    assert list(found.manner.values) == ["flow", "online", "full_batch"]
    assert set(found.data_vars) == set(VARIABLES)
    for one, (dims, long_name, units) in VARIABLES.items():
        assert found[one].dims == dims
        assert found[one].dtype == np.float64
        assert found[one].attrs == {"long_name": long_name, "units": units}
    np.testing.assert_array_equal(found.time, np.linspace(0, 5, 11))
    np.testing.assert_array_equal(found.seed, [0, 1, 2])
    np.testing.assert_array_equal(found.mode, [1, 2, 3, 4])
    assert set(found.attrs) == {"model", "rank", "evaluations", "steps", "step", "largest_step"}
    assert (found.model, found.attrs["rank"], found.steps, found.step) == ("linear_dynamics", 2, 100, 0.05)
    assert 0 < found.largest_step < 1 < found.evaluations
    for finite in ("singular_values", "overlap", "error", "residual_inside", "residual_outside", "difference"):
        assert np.isfinite(found[finite]).all()


def test_a_dataset_can_be_written_to_netcdf(tmp_path):
    found = linear_dynamics(small(integration=BOTH))
    found.to_netcdf(tmp_path / "one.nc")
    with xr.open_dataset(tmp_path / "one.nc") as read:
        xr.testing.assert_equal(read.load(), found)


@pytest.mark.parametrize("name", RULES)
def test_what_is_inside_and_outside_of_the_feedback_is_the_error(name):
    found = linear_dynamics(small(name, task={"noise": 0.3, "samples": 15}, initial={"forward": 0.3}))
    both = found.residual_inside + found.residual_outside
    np.testing.assert_allclose(both, found.error[0], rtol=1e-12)


def test_of_orthogonal_tasks_the_error_is_what_the_overlaps_leave():
    # From balanced weights W2 W1 stays diagonal in the task's basis: the error is sum s_i^2 (1 - overlap_i)^2 / |S|^2,
    # and what the two modes without a singular value keep, 0.05^2 at most.
    found = linear_dynamics(small("gd", initial={"forward": 0.05, "balanced": True}))
    s = found.singular_values
    expected = (s**2 * (1 - found.overlap) ** 2).sum("mode") / (s**2).sum("mode")
    np.testing.assert_allclose(found.error, expected.transpose(*found.error.dims), atol=2 * 0.05**4)


def test_gradient_descent_is_saxes_solution_and_learns_all_modes_in_their_order():
    found = linear_dynamics(small("gd", initial={"forward": 0.05, "balanced": True}, integration={"points": 401}))
    s = found.singular_values.values
    expected = saxe_overlap(s, np.full_like(s, 0.05**2), found.time.values)
    np.testing.assert_allclose(found.overlap[0], expected, atol=1e-6)
    # On straight lines between points 0.05 apart, of a curve that bends by at most s^2 / 2 a tau^2.
    np.testing.assert_allclose(found.recovery_time, saxe_time(s, np.full_like(s, 0.05**2)), atol=5e-3)
    np.testing.assert_allclose(found.recovery_time, found.recovery_time_closed, atol=5e-3)
    np.testing.assert_array_equal(found.recovered, [4, 4])
    np.testing.assert_array_equal(found.overlap_stationary, np.ones((2, 4)))
    assert np.isnan(found.capture).all()


def test_closed_forms_are_told_only_where_they_hold():
    for name in RULES:
        found = linear_dynamics(small(name, integration={"duration": 0.1, "points": 2}))
        assert found.recovery_time_closed.isnull().all()
        assert found.critical_rate.notnull().all() == (name == "oja by the residual")
    for moving in ({"learn_q": True}, {"decay": 0.1}):  # eq. 16 with a Q or a gain that does not stay as it was
        short = {"duration": 0.1, "points": 2}
        found = linear_dynamics(small("oja by the residual", integration=short, **moving))
        assert found.critical_rate.isnull().all()
    narrow = small("gd", task={"hidden": 3}, initial={"balanced": True}, integration={"duration": 0.1, "points": 2})
    found = linear_dynamics(narrow.model_copy(update={"feedback": narrow.feedback.model_copy(update={"rank": None})}))
    assert found.recovery_time_closed.notnull().sel(seed=0).values.tolist() == [True, True, True, False]


def test_below_the_critical_rate_orthogonal_feedback_keeps_what_it_has_learnt():
    values = (2.0, 1.8, 0.4, 0.3)
    settings = small(
        "oja by the residual", seeds=3, task={"spectrum": {"law": "given", "modes": 4, "values": values}},
        initial={"feedback": "orthonormal"}, integration={"duration": 60.0},
    )  # fmt: skip
    found = linear_dynamics(settings)
    # (1.8^2 / 2)^(1/3) / 0.4^2
    np.testing.assert_allclose(found.critical_rate, 1.62 ** (1 / 3) / 0.16)
    assert (found.overlap.isel(manner=0, point=-1, mode=slice(2)) > 0.99).all()


@pytest.mark.parametrize("name", ["fa", "adaptive_q"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_fixed_projections_spread_their_rank_over_all_modes(name, rank):
    settings = small(name, rank=rank, initial=TINY, integration=LONG)
    found = linear_dynamics(settings)
    task, weights = drawn(settings)
    rows = rotated(weights, task).P @ task.S
    projector = transposed(rows) @ np.linalg.solve(rows @ transposed(rows), rows)
    expected = np.einsum("sii->si", projector)[:, :4]
    np.testing.assert_allclose(found.overlap_stationary, expected, atol=1e-12)
    # Weights of 1e-4 leave their own size in W1 beyond the rows of P S, and W2 slowly learns from that.
    np.testing.assert_allclose(found.overlap[0, :, -1], expected, atol=2e-4)
    np.testing.assert_allclose(found.overlap[0, :, -1].sum("mode"), rank, atol=2e-4)
    # What is left lies outside of B's row space, and there the rule does not look.
    assert (found.residual_inside[:, -1] < 1e-6).all()
    assert (found.residual_outside[:, -1] > 0.01).all()
    np.testing.assert_allclose(found.capture, found.capture[:, :1] * np.ones(41))


def test_fixed_projections_of_the_tasks_rank_recover_all_modes():
    found = linear_dynamics(small("fa", rank=4, initial=TINY, integration=LONG | {"duration": 400.0}))
    np.testing.assert_allclose(found.overlap_stationary, 1.0, atol=1e-12)
    np.testing.assert_array_equal(found.recovered, [4, 4])


@pytest.mark.parametrize("name", ["oja by targets", "oja, Q Hebbian"])
@pytest.mark.parametrize("rank", [1, 3])
def test_oja_by_targets_recovers_the_leading_modes_and_no_other(name, rank):
    found = linear_dynamics(small(name, rank=rank, initial=TINY, integration=LONG))
    expected = np.tile(np.arange(4) < rank, (2, 1))
    np.testing.assert_allclose(found.overlap[0, :, -1], expected, atol=0.02)
    np.testing.assert_allclose(found.capture[:, -1], 1.0, atol=1e-6)
    np.testing.assert_array_equal(found.recovered, [rank, rank])
    np.testing.assert_array_equal(np.isfinite(found.recovery_time), expected)
    if name == "oja by targets":
        np.testing.assert_allclose(found.overlap_stationary, expected, atol=1e-12)
    else:
        assert np.isnan(found.overlap_stationary).all()


def test_the_overlaps_of_oja_by_the_residual_keep_their_sum_wherever_they_go():
    # Q is fixed, so that W1 stays in the columns of Q but for its first size; W2 then is a regression on r rows.
    found = linear_dynamics(small("oja by the residual", rate=0.1, initial=TINY, integration=LONG))
    np.testing.assert_allclose(found.overlap[0, :, -1].sum("mode"), 2.0, atol=1e-3)


def test_slow_oja_by_the_residual_rests_on_a_mixture_of_modes():
    found = linear_dynamics(small("oja by the residual", rate=0.01, initial=TINY, integration=LONG))
    end = found.overlap[0, :, -1]
    np.testing.assert_allclose(end, found.overlap[0, :, -8], atol=0.02)
    assert (end[:, :2].min("mode") < 0.9).all()


def test_oja_by_the_residual_keeps_the_leading_modes_of_a_spectrum_with_a_gap():
    spectrum = {"law": "given", "values": (2.0, 1.9, 0.4, 0.3)}
    found = linear_dynamics(
        small("oja by the residual", task={"spectrum": spectrum}, initial=TINY | {"feedback": "orthonormal"},
              integration=LONG)
    )  # fmt: skip
    np.testing.assert_allclose(found.overlap[0, :, -1], np.tile([1, 1, 0, 0], (2, 1)), atol=0.02)


@pytest.mark.parametrize("name", ["gd", "fa", "adaptive_q", "normative", "oja, Q Hebbian"])
def test_the_flow_conserves_what_its_rule_does(name):
    found = linear_dynamics(small(name, initial={"forward": 0.1}))
    # Each of some hundred steps is good to 1e-8.
    assert (found.drift < 1e-6).all()


def test_where_nothing_is_conserved_there_is_no_drift():
    assert np.isnan(linear_dynamics(small("oja by targets")).drift).all()


@pytest.mark.parametrize("name", RULES)
def test_the_rule_is_near_its_flow_and_the_difference_says_how_near(name):
    found = linear_dynamics(small(name, initial={"forward": 0.1}, integration=BOTH | {"step": 0.01}))
    away = np.abs(found.overlap[1] - found.overlap[0])
    np.testing.assert_allclose(found.difference[1], away.max(["point", "mode"]))
    assert (found.difference[0] == 0).all()
    assert (found.difference[1] < 0.05).all()
    assert found.steps == 500


def test_a_flow_alone_takes_no_steps():
    assert linear_dynamics(small("gd")).steps == 0


@pytest.mark.parametrize("name", ["gd", "oja, Q Hebbian"])
def test_more_seeds_leave_the_first_as_they_were(name):
    few, many = (
        linear_dynamics(small(name, seeds=seeds, initial={"forward": 0.1}, integration=BOTH)) for seeds in (1, 3)
    )
    np.testing.assert_array_equal(few.singular_values, many.singular_values[:1])
    # The flow's steps suit all seeds, and are good to 1e-8 each; the rule's are the same but for rounding.
    np.testing.assert_allclose(few.overlap[0], many.overlap[0, :1], atol=1e-5)
    np.testing.assert_allclose(few.overlap[1], many.overlap[1, :1], atol=1e-12)


def test_samples_move_the_modes_and_population_is_the_limit_of_many():
    few, many, population = (
        linear_dynamics(small("gd", task={"noise": 0.2, "samples": p})).singular_values for p in (20, 10**7, 0)
    )
    assert np.abs(few - population).max() > 0.01
    np.testing.assert_allclose(many, population, atol=1e-3)


def test_progress_rises_to_all_of_it():
    told = []
    linear_dynamics(small("fa", integration=BOTH), told.append)
    assert told == sorted(told)
    assert (told[0], told[-1]) == (0.0, 1.0)
    assert len(told) == 22


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rank": 7}, "feedback.rank = 7 is impossible"),
        ({"task": {"spectrum": {"modes": 7}}}, "spectrum of 7 modes"),
        ({"task": {"samples": 11}}, "task.samples = 11 cannot be whitened"),
        ({"initial": {"forward": 1e200}}, "initial.forward = 1e.200 is beyond what can be computed; use 1e-12 to 1000"),
        ({"task": {"spectrum": {"largest": 1e-200}}}, "task.spectrum.largest = 1e-200 is beyond what can be computed"),
        (
            {"integration": {"tolerance": 1e6}},
            "integration.tolerance = 1e.06 is beyond what can be computed; use 1e-13",
        ),
    ],
)
def test_what_cannot_be_followed_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        linear_dynamics(small("fa", **changes))


def test_a_flow_that_is_not_finite_at_first_is_refused_where_no_bounds_were_looked_at():
    told = "flow from initial.forward = 1e.200 holds .* entries that are not finite"
    with pytest.raises(InputError, match=told):
        gain_of_batching(small("fa", initial={"forward": 1e200}), repeats=0)


@pytest.mark.parametrize("manner", ["flow", "full_batch"])
def test_following_all_seeds_at_once_takes_fewer_evaluations_than_one_by_one(manner):
    settings = small("fa", seeds=4, integration=BOTH)
    gain = gain_of_batching(settings, manner, repeats=1)
    assert 2 * gain.together < gain.apart  # of four seeds; each alone may take fewer than all of them do
    if manner == "full_batch":
        assert (gain.together, gain.apart) == (100, 400)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fa", "adaptive_q", "oja by targets", "normative"])
def test_at_the_published_sizes_rule_and_flow_agree(name):
    rank = {"rank": 8}
    found = linear_dynamics(
        small(name, seeds=10, task={"inputs": 128, "hidden": 64, "outputs": 64, "spectrum": {"modes": 16}},
              integration={"manners": ("flow", "full_batch"), "duration": 40.0, "points": 101}, **rank)
    )  # fmt: skip
    assert found.difference[1].max() < 0.02

"""Figures of the linear network draw what the study holds: overlaps, closed forms, ranks, residuals, differences."""

import numpy as np
import pytest
from figures.synthetic_theory import LINEAR, joined, linear_run, linear_study, projector
from matplotlib.colors import to_rgb

from rfmodel import figures
from rfmodel.errors import InputError
from rfmodel.figures import overlaps_over_time, theory_over_time, theory_selection
from rfmodel.figures.intervals import median_over_runs


@pytest.fixture(scope="module")
def study():
    return linear_study(seeds=6)


def axes_of(height=2.5):
    return figures.new_axes(height)[1]


def test_simulation_is_solid_and_flow_dashed_over_it_mode_by_mode(study):
    lines = figures.mode_overlaps(study, axes_of(), "FA, r = 2", seed=3)
    held = study["overlap"].values[1, :, 3]
    assert len(lines) == 12
    for mode in range(6):
        solid, dashed = lines[mode], lines[6 + mode]
        np.testing.assert_array_equal(solid.get_ydata(), held[1, :, mode])
        np.testing.assert_array_equal(dashed.get_ydata(), held[0, :, mode])
        np.testing.assert_array_equal(dashed.get_xdata(), study["time"].values[1])
        assert not solid.is_dashed() and dashed.is_dashed()


def test_without_a_seed_the_median_over_seeds_is_drawn(study):
    lines = figures.mode_overlaps(study, axes_of(), "FA, r = 2", modes=[2])
    np.testing.assert_array_equal(lines[0].get_ydata(), np.median(study["overlap"].values[1, 1, :, :, 1], axis=0))


def test_bold_mean_is_over_all_modes_even_where_few_are_drawn(study):
    lines = figures.mode_overlaps(study, axes_of(), "FA, r = 2", seed=0, modes=[1], mean=True)
    bold = next(line for line in lines if line.get_linewidth() == 3.0)
    np.testing.assert_allclose(bold.get_ydata(), study["overlap"].values[1, 1, 0].mean(axis=1))


def test_modes_darken_to_lighten_in_order_and_many_are_thinned_from_first_to_last():
    luminance = overlaps_over_time.mode_colours(64)[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > 0).all()
    shown = overlaps_over_time.shown_modes(64)
    assert len(shown) == 16 and (shown[0], shown[-1]) == (1, 64)
    assert overlaps_over_time.shown_modes(5) == [1, 2, 3, 4, 5] and overlaps_over_time.shown_modes(1) == [1]


def test_flow_alone_is_drawn_in_the_modes_colours():
    alone = linear_study((("FA, r = 2", "fa", 2),), manners=("flow",))
    lines = figures.mode_overlaps(alone, axes_of(), "FA, r = 2")
    assert len(lines) == 6 and len({tuple(np.round(to_rgb(line.get_color()), 3)) for line in lines}) == 6


def test_what_is_not_there_is_refused(study):
    with pytest.raises(InputError, match="condition 'FA' is unknown: known are FA, r = 2, FA, r = 4"):
        figures.mode_overlaps(study, axes_of(), "FA")
    with pytest.raises(InputError, match="seed 9: condition 'FA, r = 2' has seeds 0, 1, 2, 3, 4, 5"):
        figures.mode_overlaps(study, axes_of(), "FA, r = 2", seed=9)
    with pytest.raises(InputError, match="mode 7: condition 'FA, r = 2' has modes 1 to 6"):
        figures.mode_overlaps(study, axes_of(), "FA, r = 2", modes=[1, 7])
    only = study.isel(run=[0])
    with pytest.raises(InputError, match="Fig. 2 and 4a need a rule with feedback of a rank: found gd"):
        figures.learning_dynamics(only, figures.new_figure(2.0))
    with pytest.raises(InputError, match="overlap by rank needs a condition whose feedback has a rank"):
        figures.overlap_by_rank(only, figures.new_figure(2.0))
    with pytest.raises(InputError, match="found no runs at all"):
        figures.tidied_theory(study.isel(run=[]))


def test_published_panels_are_chosen_by_rule_and_rank(study):
    panels = {(p.figure, p.condition): p for p in figures.published_panels(study)}
    assert list(panels) == [
        ("2b", "Q learns, r = 6"), ("2c", "Q learns, r = 2"), ("2d", "normative, r = 6"), ("2e", "normative, r = 2"),
        ("2f", "Q learns, r = 2"), ("2g", "normative, r = 2"), ("4a", "Oja, r = 6"), ("4a", "Oja, r = 2"),
    ]  # fmt: skip
    assert panels["2f", "Q learns, r = 2"].modes == (1, 2) and panels["2f", "Q learns, r = 2"].mean
    assert panels["2b", "Q learns, r = 6"].modes is None


def test_a_study_of_other_rules_and_ranks_has_the_panels_that_it_can_fill():
    own = linear_study((("A", "fa", 3), ("B", "oja", 1), ("C", "fa", 1)))
    assert [(p.figure, p.condition) for p in figures.published_panels(own)] == [
        ("2c", "A"), ("2f", "A"), ("2g", "B"), ("4a", "B"),
    ]  # fmt: skip
    assert figures.learning_dynamics(own, figures.new_figure(3.0))


def test_overlaps_at_the_end_are_medians_with_the_closed_form_beside(study):
    artists = figures.overlap_by_mode(study, axes_of(), ["FA, r = 2", "Oja, r = 2"])
    drawn = [line.get_ydata() for line in artists if hasattr(line, "get_ydata") and len(line.get_ydata()) == 6]
    for row in (1, 8):
        medians = np.median(study["overlap"].values[row, 0, :, -1], axis=0)
        closed = np.median(study["overlap_stationary"].values[row], axis=0)
        assert any(np.allclose(y, medians) for y in drawn) and any(np.allclose(y, closed) for y in drawn)
    assert "r = 2" in [t.get_text() for t in artists if hasattr(t, "get_text")]


def test_interval_of_a_median_lies_between_the_seeds_and_few_seeds_have_none():
    values = np.arange(20.0)[::-1]
    assert median_over_runs(values) == (9.5, 5.0, 14.0)  # 2 P(X < 6) = .041, X binomial (20, 1/2)
    assert median_over_runs(values[:6])[1:] == (14.0, 19.0)  # 2 P(X < 1) = .031
    assert np.isnan(median_over_runs(values[:5])[1:]).all()  # 2 P(X < 1) = .063
    assert np.isnan(median_over_runs(np.empty(0))).all()


def test_sum_of_projected_overlaps_is_the_rank(study):
    figure = figures.new_figure(3.0)
    slow = linear_study((("FA, r = 2", "fa", 2), ("FA, r = 4", "fa", 4)), duration=100.0)
    figures.overlap_by_rank(slow, figure)
    joined = next(line for line in figure.axes[0].lines if line.get_zorder() == 2)
    np.testing.assert_allclose(joined.get_xdata(), [2 / 6, 4 / 6])
    np.testing.assert_allclose(joined.get_ydata(), [2 / 6, 4 / 6], atol=1e-6)


def test_rank_far_apart_are_on_a_logarithmic_axis(study):
    figure = figures.new_figure(3.0)
    figures.overlap_by_rank(linear_study((("FA, r = 1", "fa", 1), ("FA, r = 12", "fa", 12))), figure)
    assert figure.axes[0].get_xscale() == "log"
    figure = figures.new_figure(3.0)
    figures.overlap_by_rank(study, figure)
    assert figure.axes[0].get_xscale() == "linear"


def test_recovery_leaves_out_modes_that_no_seed_recovers_and_hollows_those_that_some_do(study):
    axes = axes_of()
    figures.recovery_time(study, axes, ["FA, r = 4"])
    times = study["recovery_time"].values[2]
    some = np.isfinite(times).any(axis=0) & ~np.isfinite(times).all(axis=0)
    hollow = next(line for line in axes.lines if line.get_markerfacecolor() == "white")
    assert some.any() and len(hollow.get_xdata()) == some.sum()
    points = next(line for line in axes.lines if len(line.get_ydata()) == 6)
    np.testing.assert_array_equal(np.isnan(points.get_ydata()), ~np.isfinite(times).any(axis=0))


def test_residual_inside_and_outside_are_drawn_beside_each_other(study):
    figure = figures.new_figure(2.5)
    figures.residual_over_time(study, figure, ["FA, r = 2"])
    for axes, name in zip(figure.axes, ("residual_inside", "residual_outside"), strict=True):
        expected = np.maximum(np.median(study[name].values[1], axis=0), theory_over_time.FLOOR)
        np.testing.assert_allclose(axes.lines[0].get_ydata(), expected)


def test_label_of_a_logarithmic_axis_stands_where_its_line_ends():
    axes = axes_of()
    axes.set_yscale("log")
    axes.set_ylim(1e-4, 1.0)
    place = theory_over_time.on_linear(axes, {"a": 1e-2, "b": 1e-4})
    assert place["a"] == pytest.approx(1e-4 + (1 - 1e-4) / 2) and place["b"] == pytest.approx(1e-4)


@pytest.mark.parametrize(
    ("value", "text"), [(0.02, "0.02"), (1e-8, "10⁻⁸"), (5e-6, "5·10⁻⁶"), (1.0, "1"), (2e4, "2·10⁴")]
)
def test_powers_of_ten_are_written_without_formulae(value, text):
    assert theory_over_time.power_of_ten(value) == text


def test_capture_of_gradient_descent_is_left_out_where_it_is_not_defined(study):
    assert "gradient descent" not in theory_selection.measured(study, "capture")
    axes = axes_of()
    figures.capture_over_time(study, axes)
    assert len(axes.lines) == len(LINEAR) - 1


def test_difference_is_drawn_by_seed_with_the_largest_filled_and_the_bound_beside(study):
    axes = axes_of(4.0)
    figures.simulation_agreement(study, axes, ["FA, r = 2"])
    held = study["difference"].values[1, 1]
    np.testing.assert_allclose(np.sort(axes.collections[0].get_offsets()[:, 0]), np.sort(held))
    assert any(np.allclose(line.get_xdata(), held.max()) for line in axes.lines)
    assert any(np.allclose(line.get_xdata(), 0.02) for line in axes.lines)


def test_halving_the_step_is_a_line_along_the_step():
    runs = [linear_run(f"FA, step {step}", "fa", 2, step=step) for step in (0.04, 0.02, 0.01)]
    study = figures.tidied_theory(joined(runs))
    (line,) = [one for one in figures.theory_lines(study, "integration.step") if len(one.places) > 1]
    assert line.places == (0.01, 0.02, 0.04)
    axes = axes_of()
    drawn, beside = figures.difference_by_step(study, axes)[:2]
    np.testing.assert_allclose(drawn.get_ydata(), study["difference"].values[::-1, 1].max(axis=1))
    np.testing.assert_allclose(beside.get_ydata() / beside.get_ydata()[0], [1, 2, 4])


def test_conditions_are_lines_over_rank_told_apart_by_what_differs():
    runs = [
        linear_run(f"{drive} {rank}", "oja", rank, feedback={"drive": drive, "learn_q": learns})
        for drive, learns in (("targets", False), ("residual", False), ("residual", True))
        for rank in (2, 4)
    ]
    study = figures.tidied_theory(joined(runs))
    found = {line.label: line.places for line in figures.theory_lines(study)}
    assert found == dict.fromkeys(
        ("Oja by the targets", "Oja by the residual", "Oja by the residual, Q learns"), (2.0, 4.0)
    )
    # Two conditions of one label keep apart by their coordinates.
    assert len(set(figures.conditions(study))) == 6


def test_ragged_conditions_lose_what_only_others_have():
    study = joined(
        [linear_run("small", "fa", 2, modes=4, seeds=2, points=11, manners=("flow",)), linear_run("large", "fa", 2)]
    )
    small = figures.of_condition(study, "small")
    assert {dim: small.sizes[dim] for dim in ("mode", "seed", "point", "manner")} == {
        "mode": 4, "seed": 2, "point": 11, "manner": 1,
    }  # fmt: skip
    assert np.isfinite(small["overlap"]).all()


def test_projector_of_the_synthetic_study_has_the_trace_of_its_rank():
    found = projector(np.random.default_rng(0), 3, np.linspace(2, 0.5, 6))
    assert np.trace(found) == pytest.approx(3)

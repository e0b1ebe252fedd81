"""Figures of matrix factorisation draw what the study holds: errors, optima, ratios, angles, the search's way."""

import numpy as np
import pytest
from figures.synthetic_theory import LAWS, factor_study, linear_study

from rfmodel import figures
from rfmodel.errors import InputError
from rfmodel.figures.matrix_factorisation import families_beside


@pytest.fixture(scope="module")
def study():
    return factor_study(seeds=6, manners=("flow", "full_batch"))


def row(study, condition):
    return figures.conditions(study).index(condition)


def test_error_by_width_has_medians_closed_form_and_the_least_possible(study):
    axes = figures.new_axes(2.5)[1]
    (members,) = [names for label, names in figures.matrices(study).items() if label == "flat"]
    figures.error_by_width(study, axes, figures.theory_lines(study, "width", members, least=2))
    drawn = [line.get_ydata() for line in axes.lines if len(line.get_ydata()) == 3]
    rows = [row(study, f"FA, r = {width}") for width in (2, 4, 8)]
    medians = np.median(study["error"].values[rows, 0, :, -1], axis=1)
    optimum = [np.linalg.norm(LAWS["flat"][width:]) / np.linalg.norm(LAWS["flat"]) for width in (2, 4, 8)]
    assert any(np.allclose(y, medians) for y in drawn)
    assert sum(np.allclose(y, np.median(study["stationary"].values[rows], axis=1)) for y in drawn) >= 1
    assert any(np.allclose(y, optimum) for y in drawn)


def test_optimum_of_each_condition_is_a_level_in_its_colour(study):
    axes = figures.new_axes(2.5)[1]
    figures.error_over_time(study, axes, ["FA, power, r = 2"])
    solid, level = axes.lines
    at = row(study, "FA, power, r = 2")
    np.testing.assert_allclose(solid.get_ydata(), np.median(study["error"].values[at, 0], axis=0))
    np.testing.assert_allclose(level.get_ydata(), study["optimum"].values[at, 0])
    assert solid.get_color() == level.get_color()


def test_alignment_is_drawn_where_there_is_feedback_with_a_right_angle_beside(study):
    axes = figures.new_axes(2.5)[1]
    figures.alignment_over_time(study, axes)
    assert len(axes.lines) == 7 + 1
    assert np.allclose(axes.lines[-1].get_ydata(), 90)


def test_principal_angles_stand_beside_those_of_random_subspaces(study):
    axes = figures.new_axes(2.5)[1]
    figures.principal_angles(study, axes, "FA, r = 4")
    held = study.isel(run=row(study, "FA, r = 4"))
    points = [line for line in axes.lines if line.get_marker() == "D"]
    drawn = [float(line.get_ydata()[0]) for line in points]
    np.testing.assert_allclose(drawn, np.median(held["principal_angle"].values[:, :4], axis=0))
    steps = next(line for line in axes.lines if len(line.get_ydata()) == 8)
    np.testing.assert_allclose(steps.get_ydata()[::2], np.median(held["principal_angle_random"].values[:, :4], axis=0))
    with pytest.raises(InputError, match="'gradient descent, r = 2' has no principal angles"):
        figures.principal_angles(study, axes, "gradient descent, r = 2")


def test_ratio_is_drawn_seed_by_seed_with_its_median(study):
    axes = figures.new_axes(2.5)[1]
    figures.separation(study, axes, ["FA, worst, r = 2", "FA, r = 8"])
    values = study["ratio"].values[row(study, "FA, worst, r = 2")]
    np.testing.assert_allclose(np.sort(axes.collections[0].get_offsets()[:, 0]), np.sort(values))
    assert any(np.allclose(line.get_xdata(), np.median(values)) for line in axes.lines)
    assert "the optimum is exact" in [text.get_text() for text in axes.texts]


def test_worst_spectrum_stands_beside_the_families_of_its_rule_and_width(study):
    assert families_beside(study, "FA, worst, r = 2") == ["FA, r = 2", "FA, power, r = 2", "FA, step, r = 2"]
    figure = figures.new_figure(2.5)
    figures.worst_case(study, figure)
    left, right = figure.axes
    np.testing.assert_allclose(left.lines[0].get_ydata(), LAWS["worst"])
    tried = study["search_ratio"].values[row(study, "FA, worst, r = 2")]
    np.testing.assert_allclose(right.lines[0].get_ydata(), tried)
    np.testing.assert_allclose(right.lines[1].get_ydata(), np.maximum.accumulate(tried))


def test_without_a_search_there_is_no_worst_case(study):
    with pytest.raises(InputError, match="a worst case needs a condition whose spectrum is searched"):
        figures.worst_case(study.isel(run=[0, 3]), figures.new_figure(2.0))


def test_a_study_of_neither_model_is_refused():
    empty = linear_study().drop_vars("overlap")
    with pytest.raises(InputError, match="found no variable of either; a study of one would do"):
        figures.theory_model(empty)


def test_numbers_are_those_of_the_study(study):
    rows = {r.condition: r for r in figures.theory_numbers(figures.tidied_theory(study))}
    held = study.isel(run=row(study, "FA, power, r = 2"))
    found = rows["FA, power, r = 2"].estimates
    ratios = np.sort(held["ratio"].values)
    np.testing.assert_allclose(found["ratio"], (np.median(ratios), ratios[0], ratios[-1]))
    assert found["optimum"][0] == pytest.approx(held["optimum"].values[0])
    assert np.isnan(rows["FA, r = 8"].estimates["ratio"]).all()
    assert np.isnan(rows["gradient descent, r = 2"].estimates["principal_angle"]).all()


def test_least_of_the_top_and_largest_of_the_rest_are_over_all_seeds():
    study = figures.tidied_theory(linear_study(seeds=6))
    rows = {r.condition: r for r in figures.theory_numbers(study)}
    last = study["overlap"].values[1, 0, :, -1]
    found = rows["FA, r = 2"].estimates
    assert found["least_of_top"][0] == last[:, :2].min() and found["largest_of_rest"][0] == last[:, 2:].max()
    assert np.isnan(rows["gradient descent"].estimates["largest_of_rest"][0])

"""Accuracy against rank, as bars and by epoch: marks stand where the numbers are, within what an accuracy can be."""

import matplotlib
import numpy as np
import pytest
from figures.synthetic_networks import (
    Recipe,
    all_rank,
    direct,
    layerwise,
    make_network_study,
    resnets,
    task_dimension,
    vgg,
    widths,
)
from figures.test_drawing import drawn_texts
from matplotlib.text import Text

from rfmodel import figures
from rfmodel.published import Published, Value


@pytest.fixture(scope="module")
def study():
    return make_network_study(all_rank(), seeds=3)


def published(recipes, **given):
    return Published(values=tuple(Value(r.condition, r.accuracy + 0.02, **given) for r in recipes))


def points(axes, marker):
    """Return the places of the single marks of one kind."""
    lines = [line for line in axes.lines if line.get_marker() == marker]
    return [(float(line.get_xdata()[0]), float(line.get_ydata()[0]), line.get_markerfacecolor()) for line in lines]


def test_means_stand_at_their_ranks_and_the_control_at_its_width(study):
    _, axes = figures.new_axes(3.0)
    figures.accuracy_by_rank(study, axes)
    means = {rank: 62.1 - 30 / rank for rank in (10, 16, 32, 64)}
    found = {x: y for x, y, _ in points(axes, "D")}
    assert set(found) == set(means)
    np.testing.assert_allclose([found[rank] for rank in means], list(means.values()))
    ((x, y, _),) = points(axes, "s")
    assert (x, y) == (pytest.approx(64, rel=0.06), pytest.approx(57.1)) and x > 64  # beside the line's own mark


def test_backpropagation_is_a_line_at_its_mean_under_its_interval(study):
    _, axes = figures.new_axes(3.0)
    figures.accuracy_by_rank(study, axes)
    level = [line.get_ydata()[0] for line in axes.lines if list(line.get_xdata()) == [0, 1]]
    np.testing.assert_allclose(level, [62.1])
    half = 4.302652729911275 * 0.1 / np.sqrt(3)
    (band,) = [patch for patch in axes.patches if patch.get_alpha() == 0.1]
    np.testing.assert_allclose([band.get_y(), band.get_y() + band.get_height()], [62.1 - half, 62.1 + half])


def test_ranks_are_marked_as_numbers_and_fractions_as_fractions(study):
    shown = {}
    for recipes in (all_rank(), vgg(), layerwise()):
        _, axes = figures.new_axes(3.0)
        figures.accuracy_by_rank(make_network_study(recipes, seeds=1), axes)
        labels = [tick.get_text() for tick in axes.get_xticklabels()]
        shown[axes.get_xlabel(), axes.get_xscale()] = sorted(labels)
    assert shown["rank of the feedback", "log"] in (
        sorted(["10", "16", "32", "64"]),
        sorted(map(str, (1, 2, 3, 4, 6, 10))),
    )
    assert shown["rank of the feedback / channels", "log"] == ["1/2", "1/4", "1/8"]


def test_even_ranks_are_on_an_even_axis():
    recipes = [Recipe(f"r {r}", 0.5, "ldfa", float(r)) for r in range(1, 11)]
    _, axes = figures.new_axes(3.0)
    figures.accuracy_by_rank(make_network_study(recipes, seeds=1), axes)
    assert axes.get_xscale() == "linear"


def test_published_values_are_hollow_and_have_a_dot_only_where_like_for_like(study):
    for settings, dots in (({"train.epochs": 160}, 0), ({"train.epochs": 6}, 4)):
        rows = figures.compare(study, published(all_rank()[2:], score="last epoch", settings=settings))
        _, axes = figures.new_axes(3.0)
        figures.accuracy_by_rank(study, axes, compared=rows)
        sizes = [line.get_markersize() for line in axes.lines if line.get_marker() == "D"]
        assert sizes.count(5.5) == 4 and sizes.count(2.0) == dots
        hollow = [y for _, y, face in points(axes, "D") if face == "white"]
        np.testing.assert_allclose(sorted(hollow), sorted(100 * (r.accuracy + 0.02) for r in all_rank()[2:]))
        assert ("not like for like" in axes.get_title(loc="left")) == (dots == 0)


def far_apart():
    """Return a study of two runs whose Student interval is far wider than accuracies can be."""
    study = make_network_study([Recipe("BP", 0.27), Recipe("LDFA", 0.5, "ldfa", 2.0), Recipe("4", 0.5, "ldfa", 4.0)], 2)
    values = study["accuracy_test"].values.copy()
    values[:2, -1] = (0.15, 0.39)
    return study.assign(accuracy_test=(("run", "epoch"), values))


def test_interval_beyond_what_an_accuracy_can_be_ends_at_0_and_100_in_arrowheads():
    study = far_apart()
    mean, low, high = figures.compare(study, Published(values=(Value("BP", 0.5),)))[0].ours
    assert low < 0 and high > 1  # Student's with two runs: half is 12.7 s / sqrt 2
    _, axes = figures.new_axes(3.0)
    figures.test_accuracy(study, axes)
    assert axes.get_xlim() == (0, 100)
    heads = {line.get_marker(): line.get_xdata()[0] for line in axes.lines if line.get_marker() in ("<", ">")}
    assert heads == {"<": 0.0, ">": 100.0}
    for line in axes.lines:
        assert np.all(np.asarray(line.get_xdata()) >= 0) and np.all(np.asarray(line.get_xdata()) <= 100)
    captions = {plate.name: plate.caption for plate in figures.plates(study)}
    assert "Cut at 0 or 100 % and ended in an arrowhead: the intervals of BP, which go on." in captions["accuracy"]
    assert "the intervals of BP, which go on." in captions["accuracy-by-rank"]


def test_interval_within_has_no_arrowhead_and_no_such_caption(study):
    _, axes = figures.new_axes(3.0)
    figures.test_accuracy(study, axes)
    assert not {line.get_marker() for line in axes.lines} & {"<", ">"}
    assert all("arrowhead" not in plate.caption for plate in figures.plates(study))


def test_bars_start_at_nothing_and_are_as_high_as_the_mean_and_the_published_value(study):
    rows = figures.compare(study, published(all_rank()[:1]))
    _, axes = figures.new_axes(3.0)
    figures.accuracy_bars(study, axes, ["BP", "LDFA, r = 10"], rows)
    heights = [bar.get_height() for bars in axes.containers for bar in getattr(bars, "patches", [])]
    np.testing.assert_allclose(heights, [62.1, 64.0, 59.1])
    assert axes.get_ylim() == (0, 100)


def test_condition_without_a_finished_run_is_said_to_have_none():
    study = make_network_study(all_rank(), seeds=1, diverged=(("BP", 0),))
    for draw in (figures.accuracy_bars, figures.test_accuracy):
        _, axes = figures.new_axes(3.0)
        draw(study, axes, ["BP", "LDFA, r = 10"])
        assert "no finished run" in [text.get_text() for text in axes.texts]


def test_curves_are_black_for_backpropagation_and_lighter_for_lower_rank(study):
    _, axes = figures.new_axes(3.0)
    figures.accuracy_curves(study, axes, ["BP", "LDFA, r = 64", "LDFA, r = 10"])
    colours = [matplotlib.colors.to_rgb(line.get_color()) for line in axes.lines]
    lightness = [np.dot(colour, (0.2126, 0.7152, 0.0722)) for colour in colours]
    assert lightness == sorted(lightness)
    np.testing.assert_allclose(axes.lines[0].get_ydata()[-1], 62.1)
    assert len(axes.child_axes) == 1


def test_operations_against_rank_are_those_of_each_run(study):
    _, axes = figures.new_axes(3.0)
    figures.flops_to_fraction(study, axes)
    found = {x: y for x, y, _ in points(axes, "D")}
    expected = figures.flops_to(study, "LDFA, r = 10").mean() / 1e12
    assert found[10.0] == pytest.approx(expected)
    assert axes.get_ylabel().startswith("TFLOP")


@pytest.mark.parametrize("recipes", [all_rank(), direct(), vgg(), widths(), task_dimension(), resnets()[:6]])
def test_text_of_network_figures_is_eight_points_or_more_and_never_overlaps(recipes):
    study = make_network_study(recipes, seeds=2, diverged=((recipes[1].condition, 0),))
    rows = figures.compare(study, published(recipes[::2]))
    for plate in figures.plates(study, compared=rows):
        if plate.section == "Learning":
            continue  # drawn over in the tests of studies with fields
        plate.figure.draw_without_rendering()
        boxes = []
        for text in drawn_texts(plate.figure):
            assert text.get_fontsize() >= 8
            box = Text.get_window_extent(text)
            where = (plate.name, text.get_text())
            assert plate.figure.bbox.x0 - 2 <= box.x0 and box.x1 <= plate.figure.bbox.x1 + 2, where
            assert plate.figure.bbox.y0 - 2 <= box.y0 and box.y1 <= plate.figure.bbox.y1 + 2, where
            boxes.append((box, where))
        for index, (box, where) in enumerate(boxes):
            for other, name in boxes[:index]:
                width = min(box.x1, other.x1) - max(box.x0, other.x0)
                height = min(box.y1, other.y1) - max(box.y0, other.y0)
                assert width <= 2 or height <= 2, (where, name)

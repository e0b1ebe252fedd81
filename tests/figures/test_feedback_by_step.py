"""Diagnostics by step are drawn where there are any, and only there."""

import sys

import numpy as np
import pytest
from figures.synthetic import diagnostics, join, make_run, make_study
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from rfmodel import figures

DIRECT = "direct LDFA, bottleneck 4"


@pytest.fixture(scope="module")
def study():
    runs = [make_run("BP, wide", seed) for seed in (0, 1)]
    runs += [diagnostics(make_run("LDFA r=2", seed)) for seed in (0, 1)]
    runs += [diagnostics(make_run(DIRECT, 0), every=7)]
    runs += [diagnostics(make_run("LDFA r=4", 0, state="diverged"), steps=10)]
    return join(runs)


def test_conditions_and_edges_are_those_with_diagnostics(study):
    conditions, edges = figures.diagnosed(study)
    assert conditions == ["LDFA r=2", DIRECT, "LDFA r=4"]
    assert sorted(edges) == ["head.logits->retina.conv2", "head.relu->retina.conv2"]
    assert figures.diagnosed(make_study(("LDFA r=2",), seeds=1)) == ([], [])


def test_lines_are_means_over_seeds_at_the_steps_sampled_and_bands_their_range(study):
    figure = figures.new_figure(3.0)
    edge = ["head.logits->retina.conv2"]
    figures.feedback_by_step(study, figure, figures.FEEDBACK_ANGLES, edge, ["LDFA r=2"])
    signal = figure.axes[list(figures.FEEDBACK_ANGLES).index("signal_angle")]
    line = next(line for line in signal.lines if len(line.get_xdata()) > 2)
    np.testing.assert_array_equal(line.get_xdata(), np.arange(0, 41, 5))
    np.testing.assert_allclose(line.get_ydata(), 90 - np.arange(0, 41, 5) + 0.5)  # seeds 0 and 1
    assert to_rgb(line.get_color()) == to_rgb(figures.condition_colours(study)["LDFA r=2"])
    (band,) = signal.collections
    heights = band.get_paths()[0].vertices
    at_start = heights[heights[:, 0] == 0, 1]
    assert (at_start.min(), at_start.max()) == (90, 91)


def test_a_quantity_without_values_is_said_to_be_undefined(study):
    figure = figures.new_figure(3.0)
    figures.feedback_by_step(study, figure, figures.FEEDBACK_ANGLES, ["head.relu->retina.conv2"], [DIRECT])
    said = [text.axes for text in figure.findobj(Text) if text.get_text() == "not defined\non this edge"]
    assert said == [figure.axes[list(figures.FEEDBACK_ANGLES).index("weight_angle")]]


def test_a_report_holds_both_figures_with_what_they_are_made_of(study):
    plates = {plate.name: plate for plate in figures.plates(study)}
    assert {"feedback-angles", "feedback-error"} <= set(plates)
    assert "Dotted to a cross: 1 run that diverged" in plates["feedback-error"].caption
    assert "LDFA r=2: 2 runs; direct LDFA, bottleneck 4: 1 run; LDFA r=4: 0 runs." in plates["feedback-error"].caption
    for name in ("feedback-angles", "feedback-error"):
        assert figures.png(plates[name].figure).startswith(b"\x89PNG")
    without = {plate.name for plate in figures.plates(study.drop_dims("step"))}
    assert not without & {"feedback-angles", "feedback-error"}


def test_a_page_shows_only_the_edges_of_its_own_conditions(study, monkeypatch):
    monkeypatch.setattr(sys.modules["rfmodel.figures.plates"], "OVERLAID", 1)
    drawn = {plate.name: plate.figure for plate in figures.plates(study) if plate.name.startswith("feedback")}
    assert len(drawn) > 3
    for name, figure in drawn.items():
        rows = {}
        for axes in figure.axes:
            rows.setdefault(axes.get_subplotspec().rowspan.start, []).append(axes.has_data())
        assert all(any(row) for row in rows.values()), name

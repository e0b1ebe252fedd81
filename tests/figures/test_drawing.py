"""Figures draw what the study holds: counts, order, colours, sizes of text."""

import warnings

import matplotlib
import numpy as np
import pytest
from figures.synthetic import RECIPE, make_study
from matplotlib.axes import Axes
from matplotlib.text import Text

from rfmodel import figures
from rfmodel.figures import galleries, learning, rows, tuning
from rfmodel.figures.selection import KINDS
from rfmodel.figures.theme import KIND_COLOURS, themed, wrapped


@pytest.fixture(scope="module")
def study():
    return make_study(diverged=(("LDFA r=4", 0),))


@pytest.fixture(scope="module", autouse=True)
def few_draws():
    patch = pytest.MonkeyPatch()
    patch.setattr("rfmodel.figures.intervals.DRAWS", 100)
    yield
    patch.undo()


def test_theme_leaves_matplotlibs_settings_as_they_were():
    before = dict(matplotlib.rcParams)
    figures.png(figures.new_figure(1.0))
    assert dict(matplotlib.rcParams) == before


def test_each_class_and_neighbouring_condition_has_its_own_colour(study):
    assert len({KIND_COLOURS[kind] for kind in KINDS}) == len(KINDS)
    assert len(set(figures.condition_colours(study).values())) == len(RECIPE)


def test_long_labels_keep_the_ends_by_which_they_differ():
    first, second = (wrapped("one and the same long beginning of a label, " * 2 + end) for end in ("r=2", "r=4"))
    assert first != second
    assert first.count("\n") == 2 and "…" in first
    assert wrapped("") == ""


def test_condition_keeps_its_colour_when_drawn_without_the_others(study):
    figure = figures.new_figure(2.0)
    points = figures.metric_distribution(study, figure.subplots(), "p0", chosen=["LDFA r=2"])[0]
    expected = matplotlib.colors.to_rgb(figures.condition_colours(study)["LDFA r=2"])
    np.testing.assert_allclose(points.get_facecolor()[0, :3], expected)


def test_units_are_sorted_by_class_and_falling_p0(study):
    units = galleries.sorted_units(galleries.run_units(study, "LDFA r=2", "retina.conv2", 0))
    places = [KINDS.index(kind) for kind in units["kind"].values.astype(str)]
    assert places == sorted(places)
    of_one = units["p0"].values[np.array(places) == KINDS.index("mixed")]
    assert (np.diff(of_one) <= 0).all()


def test_gallery_holds_every_field_scaled_to_its_own_largest_magnitude(study):
    units = galleries.run_units(study, "BP, bottleneck 4", "retina.conv2", 0)
    image = figures.field_gallery(study, figures.new_figure(2.0), condition="BP, bottleneck 4", seed=0)[0]
    canvas = image.get_array()
    alive = int((units["status"] != "dead").sum())
    assert canvas.count() == alive * 32 * 32
    assert np.abs(canvas).max() == 1.0
    assert image.get_clim() == (-1, 1)


def test_dead_units_are_hatched_tiles(study):
    block = galleries._block(study, "BP, wide", "retina.conv2", 0, "trained", 64)
    axes = figures.new_figure(2.0).subplots()
    galleries.draw_mosaic(block.units, axes, 0.0)
    dead = int((block.units["status"] == "dead").sum())
    assert dead > 0
    assert sum(patch.get_hatch() is not None for patch in axes.patches) == dead
    assert f"{dead} dead" in block.note


def test_gallery_says_where_a_run_is_missing_and_where_units_are_left_out(study):
    figure = figures.gallery_figure(study, seed=0, limit=20)
    text = " ".join(t.get_text() for t in figure.findobj(Text))
    assert "seed 0: no finished run" in text
    assert "20 of them shown" in text


def test_shares_of_power_fill_the_bar(study):
    bars = figures.power_composition(study, figures.new_figure(2.0).subplots(), chosen=["BP, wide"])
    trained = [bar for bar in bars if bar.get_height() == pytest.approx(0.44)]
    assert sum(bar.get_width() for bar in trained) == pytest.approx(1.0)


def test_values_below_zero_are_on_the_axes(study):
    axes = figures.new_figure(2.0).subplots()
    figures.metric_distribution(study.assign(below=study["gosi"] - 1), axes, "below")
    assert axes.get_xlim()[0] < float((study["gosi"] - 1).min())


def test_composition_counts_every_unit(study):
    axes = figures.new_figure(2.0).subplots()
    bars = figures.class_composition(study, axes, chosen=["LDFA r=2"])
    assert sum(bar.get_width() for bar in bars) == pytest.approx(1.0)


def test_condition_whose_units_are_all_dead_is_said_to_be():
    study = make_study(("BP, wide", "BP, bottleneck 4"), seeds=2, dead=1.0)
    axes = figures.new_figure(2.0).subplots()
    assert figures.metric_distribution(study, axes) == []
    assert "all 64 units dead" in [t.get_text() for t in axes.texts]
    for plate in figures.plates(study):
        assert figures.png(plate.figure).startswith(b"\x89PNG")


def test_swarm_stays_in_its_row_and_apart():
    values = np.repeat(0.5, 9)
    offsets = rows.swarm(values, 0.3)
    assert np.abs(offsets).max() <= 0.3
    assert np.unique(offsets).size == 9
    assert rows.swarm(np.empty(0), 0.3).size == 0


def test_tuning_is_turned_to_its_preferred_orientation_and_peak_one():
    degrees = np.arange(0, 180, 10.0)
    curves = np.array([2 + np.cos(2 * np.deg2rad(degrees - shift)) for shift in (0, 40, 130)])
    turned = tuning.aligned_tuning(np.concatenate([curves, np.full((1, 18), np.nan), np.zeros((1, 18))]))
    np.testing.assert_allclose(turned, np.repeat(curves[:1] / 3, 3, axis=0), atol=1e-12)


def test_mean_over_runs_passes_over_what_is_missing_without_warning():
    mean, low, high = learning.mean_and_range(np.array([[1.0, np.nan, np.nan], [3.0, 4.0, np.nan]]))
    np.testing.assert_array_equal(mean, [2, 4, np.nan])
    np.testing.assert_array_equal(low, [1, 4, np.nan])
    np.testing.assert_array_equal(high, [3, 4, np.nan])
    assert np.isnan(learning.mean_and_range(np.empty((0, 2)))[0]).all()


def test_labels_are_spread_clear_of_each_other_and_stay_where_there_is_room():
    tall = np.full(3, 0.1)
    np.testing.assert_allclose(learning.spread(np.array([0.1, 0.5, 0.9]), tall), [0.1, 0.5, 0.9])
    close = learning.spread(np.array([0.5, 0.5, 0.5]), tall)
    np.testing.assert_allclose(close, [0.4, 0.5, 0.6])


def test_labels_stay_beside_the_axes_where_they_fit():
    tall = np.array([0.1, 0.2, 0.1])
    np.testing.assert_allclose(learning.spread(np.array([0.95, 0.97, 0.99]), tall), [0.65, 0.8, 0.95])
    np.testing.assert_allclose(learning.spread(np.array([0.0, 0.01, 0.7]), tall), [0.05, 0.2, 0.7])
    np.testing.assert_allclose(learning.spread(np.full(2, 0.5), np.full(2, 0.8)), [0.4, 1.2])  # more than there is


def test_study_without_feedback_edges_has_learning_curves_and_no_feedback_figure():
    study = make_study(("BP, wide", "BP, bottleneck 4"), seeds=1)
    for given in (study, study.drop_dims("edge")):
        names = [plate.name for plate in figures.plates(given)]
        assert "learning" in names
        assert not any(name.startswith("feedback") for name in names)


def drawn_texts(figure):
    """Return the texts of a drawn figure that can be seen: ticks outside an axis's limits are not."""
    hidden = set()
    for axes in figure.findobj(Axes):
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            room = 1e-9 * (high - low)
            for tick in axis.get_major_ticks():
                if not axes.axison or not low - room <= tick.get_loc() <= high + room:
                    hidden |= {tick.label1, tick.label2}
    found = (text for text in figure.findobj(Text) if text not in hidden)
    return [text for text in found if text.get_visible() and text.get_text().strip()]


def test_text_is_eight_points_or_more_stays_on_the_page_and_never_overlaps(study):
    long = {"BP, wide": "Backpropagation into a wide retina with every setting as published, " * 2}
    labels = [long.get(label, label) for label in study["condition"].values.tolist()]
    lead = study.isel(unit=np.flatnonzero(study["layer"] == "retina.conv2"))
    for plate in figures.plates(lead.assign_coords(condition=("run", labels)), galleries=1):
        plate.figure.draw_without_rendering()
        page, boxes = plate.figure.bbox, []
        for text in drawn_texts(plate.figure):
            assert text.get_fontsize() >= 8
            box = Text.get_window_extent(text)  # an annotation's own includes its arrow
            where = (plate.name, text.get_text())
            assert page.x0 - 2 <= box.x0 and box.x1 <= page.x1 + 2, where
            assert page.y0 - 2 <= box.y0 and box.y1 <= page.y1 + 2, where
            boxes.append((box, where))
        for index, (box, where) in enumerate(boxes):
            for other, name in boxes[:index]:
                width = min(box.x1, other.x1) - max(box.x0, other.x0)
                height = min(box.y1, other.y1) - max(box.y0, other.y0)
                # Two pixels of 200 to the inch are the bearing of a glyph, not an overlap.
                assert width <= 2 or height <= 2, (where, name)


def test_single_seed_is_said_to_have_intervals_over_units_only():
    study = make_study(("BP, wide",), seeds=1)
    captions = {plate.name: plate.caption for plate in figures.plates(study)}
    assert "one finished run: the interval is over its units only" in captions["p0-retina.conv2"]
    assert "there is no interval" in captions["accuracy"]


def test_fractions_say_how_the_interval_of_none_and_of_all_is_made(study):
    captions = {plate.name: plate.caption for plate in figures.plates(study, galleries=1)}
    for name in ("accuracy", "classes-retina.conv2"):
        assert "fraction is 0 or 1" in captions[name] and "Clopper and Pearson" in captions[name]


def test_labels_that_no_font_has_are_drawn_without_a_warning():
    study = make_study(("BP, wide", "LDFA r=2"), seeds=1)
    foreign = [{"BP, wide": "逆伝播 \U00013000"}.get(label, label) for label in study["condition"].values.tolist()]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for plate in figures.plates(study.assign_coords(condition=("run", foreign))):
            figures.png(plate.figure)


def test_other_warnings_are_not_silenced():
    @themed
    def draw():
        warnings.warn("another", UserWarning, stacklevel=1)

    with pytest.warns(UserWarning, match="another"):
        draw()


def test_dollars_in_a_label_are_drawn_as_they_are():
    study = make_study(("BP, wide",), seeds=1)
    priced = study.assign_coords(condition=("run", [r"$\frac$"]))
    for plate in figures.plates(priced):
        assert figures.png(plate.figure)

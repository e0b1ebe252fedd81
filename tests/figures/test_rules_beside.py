"""Rules beside each other: error by epoch, angle by epoch, factored layers by epoch, operations and memory by layer."""

from itertools import pairwise

import numpy as np
import pytest
import xarray as xr
from figures.synthetic_factors import FULL, RULES, SITES, all_rules, make_rule_study, ranks
from figures.synthetic_networks import Recipe, all_rank, make_network_study
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from rfmodel import figures
from rfmodel.errors import InputError

EPOCHS = 6
NETWORKS = (("MLP", "mlp"), ("SmallConv", "small_conv"))


@pytest.fixture(scope="module")
def study():
    return figures.tidied(make_rule_study(all_rules(), diverged=(("PEPITA", 1),)))


@pytest.fixture(scope="module")
def two_networks():
    wanted = {"bp", "dfa", "ssa2024"}
    rules = [(name, rule) for name, rule in RULES if rule in wanted]
    return figures.tidied(
        make_rule_study([Recipe(f"{n}, {name}", 0.6, rule, network=k) for n, k in NETWORKS for name, rule in rules])
    )


def test_error_is_what_accuracy_leaves_and_bands_are_the_seeds_range(study):
    axes = figures.new_axes(3.0)[1]
    figures.error_curves(study, axes, ["BP"])
    (line,) = axes.lines
    learnt = np.append(1 - np.exp(-np.arange(EPOCHS)), 1.0)
    of_seed = [100 * (0.9 - (0.62 + 0.001 * seed - 0.1) * learnt) for seed in (0, 1)]
    np.testing.assert_allclose(line.get_ydata(), np.mean(of_seed, axis=0))
    edge = axes.collections[0].get_paths()[0].vertices
    at_end = edge[edge[:, 0] == EPOCHS, 1]
    np.testing.assert_allclose([at_end.min(), at_end.max()], [of_seed[1][-1], of_seed[0][-1]])


def test_twelve_rules_on_one_axis_are_told_apart_and_each_is_named(study):
    figure, axes = figures.new_axes(figures.errors_height([name for name, _ in RULES]) + 0.7)
    labels = figures.error_curves(study, axes)
    assert {label.get_text() for label in labels} == {name for name, _ in RULES}
    looks = {(to_rgb(line.get_color()), line.get_linestyle()) for line in axes.lines if line.get_marker() != "x"}
    assert len(looks) == len(RULES)
    figure.canvas.draw()
    extents = sorted((box.y0, box.y1) for box in (Text.get_window_extent(label) for label in labels))
    assert all(lower[1] <= upper[0] + 1 for lower, upper in pairwise(extents))  # a pixel of rounding


def test_mean_angle_leaves_out_the_output_layers_own_error(study):
    angles = figures.mean_angles(study)
    of = dict(zip(study["condition"].values, angles.values, strict=True))
    np.testing.assert_allclose(of["SSA 2024"], 30.0)  # of 25 and 35; a 0 among them would make it 20
    np.testing.assert_allclose(of["DFA"], 75.0)
    assert np.isnan(of["BP"]).all()
    assert figures.aligned(study) == ["DFA", "SSA 2024", "SSA 2025"]


def test_output_layer_is_known_by_errors_at_both_of_its_sides_whatever_a_local_term_turns_there():
    edges = ["network.output->" + place for place in ("b.input", "b.output", "c.input", "c.output")]
    nan = np.nan
    angle = [[nan, nan, 50.0, 30.0], [80.0, nan, 60.0, nan], [nan, 40.0, nan, 30.0]]
    held = xr.DataArray(np.array(angle)[:, None], {"epoch": [0], "edge": edges}, ("run", "epoch", "edge"))
    found = figures.mean_angles(xr.Dataset({"angle": held})).values[:, 0]
    np.testing.assert_allclose(found, [50.0, 70.0, 40.0])  # b, whose sides are of different runs, is a hidden layer


def test_angles_of_a_study_without_them_are_of_no_condition():
    assert figures.aligned(figures.tidied(make_network_study(all_rank()[:1], seeds=1))) == []


def test_alignment_has_a_panel_a_network_with_marks_at_forty_sixty_and_ninety_degrees(two_networks):
    figure = figures.new_figure(5.0)
    figures.alignment_by_epoch(two_networks, figure)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["mlp", "small_conv"]
    for axes in figure.axes:
        flat = [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == ":"]
        assert flat == [40.0, 60.0, 90.0]
        drawn = sorted(line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == "-")
        np.testing.assert_allclose(drawn, [30.0, 75.0])


def test_rank_is_drawn_as_a_share_of_the_first_a_line_a_layer(study):
    figure = figures.new_figure(figures.factors_height(3, list(SITES)))
    figures.factors_by_epoch(study, figure, ["SSA 2024"])
    rank, drift, hoyer = figure.axes
    expected = 100 * ranks(EPOCHS) / FULL
    np.testing.assert_allclose([line.get_ydata() for line in rank.lines], expected.T)
    np.testing.assert_allclose(drift.lines[0].get_ydata(), 1.5e-6 * 10.0 ** np.arange(EPOCHS + 1))  # of seeds 0 and 1
    assert (rank.get_yscale(), drift.get_yscale(), hoyer.get_yscale()) == ("linear", "log", "linear")
    (legend,) = figure.legends
    assert [t.get_text() for t in legend.get_texts()] == [f"{s}, {r}" for s, r in zip(SITES, FULL, strict=True)]


def test_layers_are_told_apart_by_lightness_from_the_first_to_the_last(study):
    figure = figures.new_figure(4.0)
    figures.factors_by_epoch(study, figure, ["SVD-BP"])
    luminance = [np.dot(to_rgb(line.get_color()), (0.2126, 0.7152, 0.0722)) for line in figure.axes[0].lines]
    assert luminance == sorted(luminance) and luminance[0] < luminance[-1] - 0.3


def test_a_quantity_that_a_study_lacks_has_no_row(study):
    figure = figures.new_figure(3.0)
    figures.factors_by_epoch(study.drop_vars(["factor_drift", "factor_hoyer"]), figure, ["SSA 2024", "SSA 2025"])
    assert len(figure.axes) == 2
    without = study.drop_vars("factor_rank")
    figure = figures.new_figure(3.0)
    figures.factors_by_epoch(without, figure, ["SSA 2024"])
    assert [t.get_text() for t in figure.legends[0].get_texts()] == list(SITES)


def test_factored_conditions_and_layers_are_those_with_values(study):
    conditions, sites = figures.factored(study)
    assert conditions == ["SVD-BP", "SSA 2024", "SSA 2025"] and sites == list(SITES)
    assert figures.factored(figures.tidied(make_network_study(all_rank()[:1], seeds=1))) == ([], [])


def test_report_has_the_plates_where_the_study_has_what_they_show(study):
    plates = {plate.name: plate for plate in figures.plates(study)}
    assert {"error", "alignment", "factors"} <= set(plates)
    assert "n: " in plates["error"].caption and "Dotted to a cross: 1 run that diverged" in plates["error"].caption
    assert "n: DFA: 2 runs; SSA 2024: 2 runs; SSA 2025: 2 runs." in plates["alignment"].caption
    assert "below which SVD-space alignment is expected" in plates["alignment"].caption
    assert "rank of each factored layer" in plates["factors"].caption
    for name in ("error", "alignment", "factors"):
        assert figures.png(plates[name].figure).startswith(b"\x89PNG")


def test_report_of_few_unfactored_conditions_has_none_of_them():
    names = {plate.name for plate in figures.plates(figures.tidied(make_network_study(all_rank(), seeds=1)))}
    assert not names & {"error", "alignment", "factors"}


def test_factors_of_several_networks_stand_on_plates_of_their_own(two_networks):
    names = {plate.name for plate in figures.plates(two_networks)}
    assert {"factors-mlp", "factors-small_conv"} <= names


FLOPS = {"BP": [4e9, 1e9], "SSA": [1e9, 1e9]}
BYTES = {"BP": [2e6, 2e6], "SSA": [1e6, 0.0]}


def test_account_has_a_bar_a_layer_and_rule_and_says_each_ratio():
    figure = figures.new_figure(figures.account_height(["conv", "dense"], 2))
    bars = figures.account_by_layer(figure, ["conv", "dense"], FLOPS, BYTES)
    np.testing.assert_allclose([bar.get_width() for bar in bars], [4, 1, 1, 1, 2, 2, 1, 0])  # GFLOP, MB
    operations, memory = figure.axes
    assert [t.get_text() for t in operations.texts] == ["× 0.25", "× 1.00"]
    assert operations.get_title(loc="left") == "operations: × 0.40 in all"  # 2 of 5
    assert memory.get_title(loc="left") == "memory: × 0.25 in all"  # 1 of 4
    assert (operations.get_xlabel(), memory.get_xlabel()) == ("operations (GFLOP)", "memory (MB)")
    assert [t.get_text() for t in operations.get_yticklabels()] == ["conv", "dense"]
    assert figures.png(figure).startswith(b"\x89PNG")


def test_account_without_memory_is_of_operations_alone():
    figure = figures.new_figure(2.0)
    figures.account_by_layer(figure, ["conv", "dense"], FLOPS)
    assert [axes.get_xlabel() for axes in figure.axes] == ["operations (GFLOP)"]


@pytest.mark.parametrize(
    ("flops", "message"),
    [
        ({"BP": [1.0]}, "operations of 'BP' are 1 for 2 layers; give one a layer"),
        ({}, "operations of 0 rules cannot be drawn beside each other; give 1 to 3"),
        (dict.fromkeys("abcd", [1.0, 2.0]), "operations of 4 rules cannot be drawn beside each other; give 1 to 3"),
    ],
)
def test_account_that_does_not_fit_its_layers_is_refused(flops, message):
    with pytest.raises(InputError, match=message):
        figures.account_by_layer(figures.new_figure(2.0), ["conv", "dense"], flops)

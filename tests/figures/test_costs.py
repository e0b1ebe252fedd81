"""Costs: operations until a fraction of the final accuracy, relative to backpropagation, and by part."""

import numpy as np
import pytest
from figures.synthetic_networks import PARTS, all_rank, make_network_study

from rfmodel import costs, figures


def test_operations_to_a_fraction_are_read_off_a_straight_line():
    accuracy = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    flops = np.array([0.0, 10.0, 10.0, 10.0, 10.0])
    assert figures.to_fraction(accuracy, flops, 0.9) == pytest.approx(36.0)
    assert figures.to_fraction(accuracy, flops, 1.0) == pytest.approx(40.0)


def test_epochs_of_different_cost_count_as_they_cost():
    assert figures.to_fraction(np.array([0.0, 0.8, 1.0]), np.array([0.0, 1.0, 100.0])) == pytest.approx(1 + 50)


def test_untrained_network_that_is_there_already_costs_nothing():
    assert figures.to_fraction(np.array([0.5, 0.4, 0.5]), np.array([0.0, 1.0, 1.0])) == 0.0


def test_epochs_that_a_run_lacks_are_passed_over_and_a_run_without_accuracy_has_no_cost():
    nan = np.nan
    assert figures.to_fraction(np.array([0.0, 1.0, nan]), np.array([0.0, 4.0, nan])) == pytest.approx(3.6)
    assert np.isnan(figures.to_fraction(np.full(3, nan), np.ones(3)))


def test_first_epoch_that_reaches_the_fraction_counts_however_the_accuracy_falls_afterwards():
    accuracy = np.array([0.0, 0.25, 0.5, 0.9, 0.4, 0.5])
    assert figures.to_fraction(accuracy, np.array([0.0, 3.0, 3.0, 3.0, 3.0, 3.0]), 1.0) == 6.0


def test_ratio_is_to_backpropagation_of_the_same_form():
    study = make_network_study(all_rank(), seeds=2)
    assert figures.relative_flops(study, "BP") == 1.0
    assert figures.relative_flops(study, "LDFA, r = 10") == pytest.approx(2.72 / 3.01)


def test_parts_of_the_bars_add_up_to_a_step():
    study = make_network_study(all_rank(), seeds=2, diverged=(("LDFA, r = 10", 0),))
    _, axes = figures.new_axes(3.0)
    bars = figures.cost_by_part(study, axes, ["BP", "LDFA, r = 10"])
    assert len(bars) == 2 * len(PARTS)
    widths = [sum(bar.get_width() for bar in bars[: len(PARTS)]), sum(bar.get_width() for bar in bars[len(PARTS) :])]
    np.testing.assert_allclose(widths, [6.02, 5.44])
    assert {t.get_text().strip() for t in axes.texts} == {"1.00 × BP", f"{2.72 / 3.01:.2f} × BP"}
    assert [t.get_text() for t in axes.get_legend().get_texts()] == [
        p for p in figures.PARTS if p not in ("local", "svd")
    ]


def test_every_part_of_the_account_has_a_colour_of_its_own_in_its_order():
    assert tuple(figures.PARTS) == costs.PARTS
    assert len(set(figures.PARTS.values())) == len(costs.PARTS)


def test_study_without_operations_has_no_costs():
    study = make_network_study(all_rank(), seeds=1).drop_vars(["flops", "flops_epoch"])
    assert figures.costed(study) == []
    assert figures.flops_to(study, "BP").size == 0
    names = [plate.name for plate in figures.plates(study)]
    assert not any(name.startswith(("costs", "flops")) for name in names)

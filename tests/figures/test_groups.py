"""Conditions are grouped by their coordinates and settings, never by their labels."""

import json

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

from rfmodel.figures import baseline, level_conditions, lines, narrow_controls, relative_flops


def nameless(study):
    """Return the study with labels that tell nothing."""
    known = dict.fromkeys(study["condition"].values.tolist())
    numbers = {name: f"condition {i}" for i, name in enumerate(known)}
    return study.assign_coords(condition=("run", [numbers[name] for name in study["condition"].values.tolist()]))


@pytest.mark.parametrize(
    ("recipes", "labels", "places"),
    [
        (all_rank(), ["ldfa"], (10, 16, 32, 64)),
        (layerwise(ranks=(1, 4)), ["hidden.1", "hidden.2", "hidden.3"], (1, 4)),
        (task_dimension(ranks=(10, 25)), ["50 classes", "75 classes", "100 classes"], (10, 25)),
        (direct(ranks=(1, 2)), ["from output", "from hidden.3"], (1, 2)),
        (vgg(), ["normative"], (1 / 8, 1 / 4, 1 / 2)),
        (resnets(), [], ()),
    ],
)
def test_a_line_joins_what_differs_in_the_rank_alone(recipes, labels, places):
    found = lines(nameless(make_network_study(recipes, seeds=1)))
    assert [line.label for line in found] == labels
    assert all(line.places == places for line in found)


def test_a_line_along_width_holds_the_rank():
    (line,) = lines(make_network_study(widths(), seeds=1), "width")
    assert line.places == (96, 192, 288, 384)
    assert line.conditions == ("width 96", "width 192", "width 288", "width 384")


def test_fractions_of_the_channels_and_ranks_are_on_lines_of_their_own():
    recipes = [Recipe(f"r {r}", 0.5, "ldfa", r) for r in (0.25, 0.5, 8.0, 64.0)]
    found = lines(make_network_study(recipes, seeds=1))
    assert [(line.places, line.fraction) for line in found] == [((0.25, 0.5), True), ((8, 64), False)]


def test_two_sets_of_settings_are_never_on_one_line():
    recipes = [
        Recipe(f"{q} {r}", 0.5, "ldfa", r, options=(("q", q),)) for q in ("fixed", "hebbian") for r in (2.0, 4.0)
    ]
    found = lines(make_network_study(recipes, seeds=1))
    assert [line.label for line in found] == ["q fixed", "q hebbian"]


def test_default_source_of_direct_errors_is_the_output():
    recipes = [Recipe(f"{o} {r}", 0.5, "dldfa", r, options=o) for o in ((), (("source", "relu3"),)) for r in (2.0, 4.0)]
    assert [line.label for line in lines(make_network_study(recipes, seeds=1))] == ["from the output", "from relu3"]


def test_baseline_is_backpropagation_of_the_same_form_that_has_finished():
    study = make_network_study(all_rank() + task_dimension(), seeds=1)
    assert baseline(study, "LDFA, r = 10") == "BP"
    assert baseline(study, "LDFA, 75 classes, r = 10") == "BP, 75 classes"
    assert baseline(study, "BP, width 64") == "BP, width 64"
    lost = make_network_study(all_rank(), seeds=1, diverged=(("BP", 0),))
    assert baseline(lost, "LDFA, r = 10") is None
    assert np.isnan(relative_flops(lost, "LDFA, r = 10"))


def test_of_several_baselines_the_most_alike_is_taken():
    study = make_network_study([Recipe("BP a", 0.6), Recipe("BP b", 0.6), Recipe("FA", 0.5, "fa")], seeds=1)
    texts = [json.loads(text) for text in study["settings"].values]
    for at in (1, 2):
        texts[at]["train"]["optimiser"]["name"] = "sgd"
    study = study.assign_coords(settings=("run", [json.dumps(text) for text in texts]))
    assert baseline(study, "FA") == "BP b"
    assert baseline(study, "BP a") == "BP a"


def test_narrow_control_stands_at_its_own_width():
    study = make_network_study(all_rank(), seeds=1)
    assert narrow_controls(study, ["LDFA, r = 10"]) == {"BP, width 64": 64}
    assert narrow_controls(study, ["BP, width 64"]) == {}


def test_conditions_without_a_rank_on_the_same_form_are_levels():
    study = make_network_study(direct() + [Recipe("BP, width 64", 0.5, width=64.0)], seeds=1)
    assert level_conditions(study, ["from the output, r = 1"]) == ["BP", "DFA"]

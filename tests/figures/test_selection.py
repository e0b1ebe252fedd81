"""What a figure shows: ragged studies, dead units, labels that tell conditions apart."""

import numpy as np
import pytest
import xarray as xr
from figures.synthetic import RECIPE, make_run, make_study

from rfmodel.errors import InputError
from rfmodel.figures import selection


@pytest.fixture(scope="module")
def study() -> xr.Dataset:
    return make_study(diverged=(("LDFA r=4", 0),))


def test_conditions_keep_the_order_of_the_study(study):
    assert selection.conditions(study) == list(RECIPE)
    backwards = study.isel(run=slice(None, None, -1))
    assert selection.conditions(backwards) == list(RECIPE)[::-1]


def test_padding_units_are_never_counted_and_dead_ones_always_are(study):
    status, runs = selection.pooled(study, "status", "BP, bottleneck 4", "retina.conv2")
    assert status.size == 3 * 4
    assert np.unique(runs).size == 3
    p0, _ = selection.pooled(study, "p0", "BP, bottleneck 4", "retina.conv2")
    assert p0.size == 12 - (status.astype(str) == "dead").sum()


def test_diverged_runs_are_left_out(study):
    assert selection.seeds(study, "LDFA r=4") == [1, 2]
    assert selection.run_units(study, "LDFA r=4", "retina.conv2", 0) is None
    assert selection.pooled(study, "status", "LDFA r=4", "retina.conv2")[0].size == 2 * 32


def test_layers_come_retina_first_and_by_number(study):
    assert selection.layers(study) == ["retina.conv1", "retina.conv2", "vvs.conv1"]
    renamed = study.assign_coords(layer=("unit", np.where(study["layer"] == "vvs.conv1", "head.x10", study["layer"])))
    assert selection.layers(renamed) == ["retina.conv1", "retina.conv2", "head.x10"]


def test_readout_is_the_last_retinal_layer_or_else_the_first(study):
    assert selection.readout(study) == "retina.conv2"
    assert selection.readout(study.isel(unit=np.flatnonzero(study["layer"] == "vvs.conv1"))) == "vvs.conv1"


def test_units_come_by_channel_though_labels_sort_as_text(study):
    units = selection.run_units(study, "BP, wide", "retina.conv2", 1)
    assert units["channel"].values.tolist() == list(range(32))


def test_unknown_condition_and_layer_are_named_with_the_nearest(study):
    with pytest.raises(InputError, match="condition 'BP, wyde' is unknown.*did you mean 'BP, wide'"):
        selection.pooled(study, "p0", "BP, wyde", "retina.conv2")
    with pytest.raises(InputError, match="layer 'retina.conv3' is unknown"):
        selection.pooled(study, "p0", "BP, wide", "retina.conv3")


def test_study_without_finished_runs_is_refused_with_the_count_found():
    study = make_study(("BP, wide",), seeds=2, diverged=(("BP, wide", 0), ("BP, wide", 1)))
    with pytest.raises(InputError, match="at least one finished run: found 2 diverged"):
        selection.require_finished(study)
    with pytest.raises(InputError, match="no runs at all"):
        selection.require_finished(study.isel(run=[]))


def test_sweep_under_one_label_is_told_apart_by_what_varies():
    study = make_study(("BP, wide", "BP, bottleneck 4"), seeds=2)
    swept = selection.tidied(study.assign_coords(condition=("run", ["BP"] * 4)))
    assert selection.conditions(swept) == ["BP, bottleneck 32", "BP, bottleneck 4"]


def test_coordinates_that_all_runs_share_are_spread_over_the_runs():
    study = make_study(("BP, wide",), seeds=2)
    shared = study.drop_vars("condition").assign_coords(condition="BP, wide", depth=2)
    assert selection.tidied(shared)["condition"].dims == ("run",)
    assert selection.conditions(selection.tidied(make_run("BP, wide", 0))) == ["BP, wide"]


def test_last_values_pass_over_epochs_that_shorter_runs_lack():
    study = make_study(("BP, wide",), seeds=1).pad(epoch=(0, 3))
    expected = make_run("BP, wide", 0)["accuracy_test"].values[-1]
    np.testing.assert_array_equal(selection.last_values(study, "accuracy_test", "BP, wide"), [expected])


def test_what_runs_recorded_is_read_from_variables_and_attributes():
    study = make_study(("BP, wide",), seeds=2)
    assert selection.per_run(study, "commit") == ["0123abc"] * 2
    assert selection.per_run(study.assign_attrs(null="white"), "null") == ["white"] * 2
    assert selection.per_run(study, "nowhere") == ["", ""]

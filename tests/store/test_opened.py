"""Opening a study: runs joined at once are runs joined one after another, and a file that is damaged is named."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from store.made_runs import assert_same, keep, made, studies

from rfmodel import store
from rfmodel.errors import InputError
from rfmodel.store import opened


def one_after_another(runs):
    """Join runs as xarray does, each a Dataset of its own."""
    runs = sorted(runs, key=lambda d: (d.attrs["position"], d.attrs["seed"], d.attrs["name"]))
    labelled = []
    for run in runs:
        kept = [key for key in run.attrs if key in store.KEPT or key.startswith("classifier_")]
        places = (*store.PLACES, "seed", "state", "name")
        plain = run.drop_vars(["layer", "channel"], errors="ignore")
        plain = plain.assign({key: ("run", [run.attrs[key]]) for key in kept})
        labelled.append(plain.assign_coords({key: ("run", [run.attrs[key]]) for key in places}))
    how = {"data_vars": "all", "coords": "minimal", "compat": "equals", "combine_attrs": "drop_conflicts"}
    return opened._fill_absent(xr.concat(labelled, "run", join="outer", **how))


@settings(max_examples=25, deadline=None)
@given(studies())
def test_runs_joined_at_once_are_runs_joined_one_after_another(runs):
    assert_same(store.together(runs), one_after_another(runs))


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(studies(most=4))
def test_a_study_read_is_the_study_that_was_made(tmp_path_factory, runs):
    folder = tmp_path_factory.mktemp("study")
    keep(folder, runs)
    made_of = [run.assign_attrs(schema=np.int64(store.SCHEMA)) for run in runs]
    assert store.open_study(folder).identical(store.together(made_of))


def test_a_study_opened_may_be_written_to(tmp_path):
    keep(tmp_path, [made(), made(1)])
    study = store.open_study(tmp_path)
    study["p0"][:] = 0.0
    assert not np.array_equal(store.open_study(tmp_path)["p0"], study["p0"])


@pytest.mark.parametrize("rest", [b"", b"\x89HDF\r\n\x1a\n", b"not a file of ours"])
def test_one_damaged_run_among_others_is_named(tmp_path, rest):
    paths = keep(tmp_path, [made(), made(1), made(2)])
    paths[1].write_bytes(rest)
    with pytest.raises(InputError, match=f"run file '{paths[1]}' cannot be read") as caught:
        store.open_study(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_run_file_that_cannot_be_looked_at_is_named(tmp_path):
    paths = keep(tmp_path, [made(), made(1)])
    paths[1].unlink()
    paths[1].symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match=f"run file '{paths[1]}' cannot be read .*FileNotFoundError"):
        store.open_study(tmp_path)


def test_runs_that_no_study_holds_side_by_side_are_refused_by_their_folder(tmp_path):
    keep(tmp_path, [made().assign_coords(gain=1.0), made(1).assign_coords(gain=2.0)])
    with pytest.raises(InputError, match=f"the runs of '{tmp_path}' do not fit together") as caught:
        store.open_study(tmp_path)
    assert "\n" not in str(caught.value)

"""The consolidated file: whatever became of it and of the run files, a study opens as it does without."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store.made_runs import assert_same, keep, made, studies

from rfmodel import store
from rfmodel.errors import InputError
from rfmodel.store import consolidated, results


def without(folder):
    """Open a study as if it had no consolidated file."""
    return store.together([results.load_run(path) for path in results.run_files(folder)])


def read_again(folder):
    """Return how many run files an opening reads."""
    return consolidated.read_stacks(folder, results.run_files(folder)).fresh


@pytest.fixture
def study(tmp_path):
    """A consolidated study of four runs of two forms, and its run files."""
    runs = [made(0), made(1), made(0, "b", 1, units=3, edges=0), made(1, "b", 1, units=3, edges=0)]
    paths = keep(tmp_path, runs)
    assert store.consolidate(tmp_path, fewest=1)
    return tmp_path, paths


@settings(max_examples=8, deadline=None)
@given(studies(), st.data())
def test_a_study_opens_as_without_after_any_change_of_its_runs(tmp_path_factory, runs, data):
    folder = tmp_path_factory.mktemp("study")
    paths = keep(folder, runs)
    assert store.consolidate(folder, fewest=1) and read_again(folder) == 0
    assert_same(store.open_study(folder), without(folder))
    fates = data.draw(st.lists(st.sampled_from(("stays", "goes", "changes")), min_size=len(runs), max_size=len(runs)))
    for run, path, fate in zip(runs, paths, fates, strict=True):
        if fate == "goes":
            path.unlink()
        elif fate == "changes":
            changed = data.draw(st.sampled_from((run.assign_attrs(seconds=2.5), run.drop_vars("peak_memory"))))
            store.save(changed, path)
    keep(folder, [made(9, "new", 9)])
    assert read_again(folder) == fates.count("changes") + 1
    assert_same(store.open_study(folder), without(folder))
    store.consolidate(folder, fewest=1)
    assert read_again(folder) == 0
    assert_same(store.open_study(folder), without(folder))


def test_words_of_a_run_that_is_gone_leave_no_room_for_them(tmp_path):
    long = made(1)
    long["status"][:] = "a long word"[:4]
    keep(
        tmp_path,
        [made().assign(note_kind=("unit", ["a", "b"])), long.assign(note_kind=("unit", ["a much longer", "b"]))],
    )
    store.consolidate(tmp_path, fewest=1)
    store.run_path(tmp_path, long.attrs["name"]).unlink()
    assert_same(store.open_study(tmp_path), without(tmp_path))


def test_only_runs_that_are_new_are_read(study, monkeypatch):
    folder, _ = study
    (new,) = keep(folder, [made(2)])
    read, contents = [], results.contents
    monkeypatch.setattr(results, "contents", lambda path: read.append(path) or contents(path))
    assert store.open_study(folder).sizes["run"] == 5
    assert read == [new]


def test_a_run_that_was_replaced_at_the_same_time_and_size_is_read_again(study):
    folder, paths = study
    told = paths[0].stat()
    aside = paths[0].with_suffix(".new")
    aside.write_bytes(paths[0].read_bytes())
    os.utime(aside, ns=(told.st_atime_ns, told.st_mtime_ns))
    os.replace(aside, paths[0])
    assert read_again(folder) == 1


def test_a_damaged_run_is_named_although_it_was_whole_before(study):
    folder, paths = study
    paths[2].write_bytes(paths[2].read_bytes()[:-100])
    with pytest.raises(InputError, match=f"run file '{paths[2]}' cannot be read"):
        store.open_study(folder)


def _turned(raw, place):
    return raw[:place] + bytes([raw[place] ^ 16]) + raw[place + 1 :]


DAMAGES = {
    "nothing": lambda raw: b"",
    "short": lambda raw: raw[: len(raw) // 2],
    "other": lambda raw: b"not a file of ours",
    **{f"bit at {at}": lambda raw, at=at: _turned(raw, int(at * len(raw))) for at in (0.1, 0.3, 0.5, 0.7, 0.9, 0.99)},
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_consolidated_file_is_as_none(study, name):
    folder, _ = study
    path = consolidated.consolidated_path(folder)
    path.write_bytes(DAMAGES[name](path.read_bytes()))
    assert_same(store.open_study(folder), without(folder))
    read = read_again(folder)
    assert read in (0, 4) and (read == 4 or name.startswith("bit"))  # some bits of an archive say nothing
    store.consolidate(folder, fewest=1)
    assert read_again(folder) == 0


def rewritten(folder, change):
    path = consolidated.consolidated_path(folder)
    with np.load(path) as file:
        members = dict(file)
    change(members)
    with open(path, "wb") as file:
        np.savez(file, **members)


def grown(members):
    members["a0"] = members["a0"].repeat(2, 0)


def pickled(members):
    members["a0"] = np.array([os.system], object)


@pytest.mark.parametrize("change", [grown, pickled, lambda m: m.pop("index"), lambda m: m.pop("checksum")])
def test_a_consolidated_file_that_says_other_than_it_was_made_to_is_as_none(study, change):
    rewritten(study[0], change)
    assert read_again(study[0]) == 4


def test_a_packed_archive_is_as_none(study):
    path = consolidated.consolidated_path(study[0])
    with np.load(path) as file:
        members = dict(file)
    with open(path, "wb") as file:
        np.savez_compressed(file, **members)
    assert read_again(study[0]) == 4


def test_one_of_another_version_is_as_none(study, monkeypatch):
    monkeypatch.setattr(consolidated, "SCHEMA", [2, results.SCHEMA])
    assert read_again(study[0]) == 4


def test_a_study_that_was_moved_is_read_anew(study, tmp_path_factory):
    moved = tmp_path_factory.mktemp("moved") / "study"
    shutil.copytree(study[0], moved)
    assert read_again(moved) == 4
    assert_same(store.open_study(moved), without(study[0]))


def test_few_runs_are_not_worth_a_file_and_many_are(tmp_path, monkeypatch):
    keep(tmp_path, [made(), made(1)])
    assert not store.consolidate(tmp_path)
    store.open_study(tmp_path)
    assert not consolidated.consolidated_path(tmp_path).exists()
    monkeypatch.setattr("rfmodel.store.opened.MANY", 2)
    store.open_study(tmp_path)
    assert read_again(tmp_path) == 0


def test_what_has_not_changed_is_not_written_again(study):
    assert not store.consolidate(study[0], fewest=1)
    keep(study[0], [made(5)])
    assert store.consolidate(study[0], fewest=1)


def test_a_folder_that_cannot_be_written_has_none_and_opens(tmp_path, monkeypatch):
    keep(tmp_path, [made(), made(1)])

    def full(path, write):
        raise InputError(f"'{path}' cannot be written: the disk is read-only")

    monkeypatch.setattr(consolidated, "write_aside", full)
    monkeypatch.setattr("rfmodel.store.opened.MANY", 2)
    assert not store.consolidate(tmp_path, fewest=1)
    assert_same(store.open_study(tmp_path), without(tmp_path))
    assert not consolidated.consolidated_path(tmp_path).exists()


def test_a_study_without_runs_is_refused_as_it_is_by_opening(tmp_path):
    with pytest.raises(InputError, match="no finished run in"):
        store.consolidate(tmp_path)

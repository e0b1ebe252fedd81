"""The manifest: whatever became of files and of it, entries are what reading every run file anew would give."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rfmodel.errors import InputError
from rfmodel.store import attributes, manifest, save
from rfmodel.store.manifest import entries
from rfmodel.store.paths import manifest_path, run_path
from rfmodel.store.results import load

NAMES = [f"bp_seed{i}_0123456789ab" for i in range(4)]
MISSING = object()
FORM = hashlib.sha256(b"{}").hexdigest()[:12]  # of settings that say nothing


def run(stem=NAMES[0], accuracy=(0.1, 0.5), **attrs):
    """The Dataset of a run of nothing but what every run file says."""
    said = {
        "condition": "BP, wide",
        "rule": "bp",
        "network": "small_conv",
        "state": "done",
        "name": stem,
        "settings": "{}",
        "commit": "released",
        "data_fingerprint": "0123",
        "data_source": "drawn",
        "preset": "quick",
        **dict.fromkeys(("rank", "bottleneck", "depth", "width", "classes"), math.nan),
        "seconds": 1.5,
        "position": 2,
        "seed": int(re.search(r"seed(\d+)", stem)[1]) if "seed" in stem else 0,
        "epochs_done": len(accuracy) - 1,
    } | attrs
    values = np.asarray(accuracy, float)
    return xr.Dataset(
        {"accuracy_test": ("epoch", values)},
        {"epoch": np.arange(len(values))},
        {key: held for key, held in said.items() if held is not MISSING},
    )


def keep(folder, stem=NAMES[0], accuracy=(0.1, 0.5), **attrs):
    save(run(stem, accuracy, **attrs), run_path(folder, stem))


def afresh(folder):
    """What entries() gives of a study that has no manifest, or its refusal."""
    manifest_path(folder).unlink(missing_ok=True)
    try:
        return repr(entries(folder))
    except InputError as error:
        return str(error)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "runs").mkdir()
    return tmp_path


@pytest.fixture
def reads(monkeypatch):
    """The names of run files that are read."""
    names, read = [], attributes.read_attributes
    monkeypatch.setattr(attributes, "read_attributes", lambda path: (names.append(path.stem), read(path))[1])
    return names


def test_an_entry_says_what_the_run_file_says(folder):
    keep(folder, NAMES[1], (0.1, 0.25, 0.75), condition="LDFA, r = 2 é", seconds=3)
    keep(folder, NAMES[0], (0.1, math.nan), state="diverged")
    found = entries(folder)
    assert list(found) == NAMES[:2]
    told = run_path(folder, NAMES[1]).stat()
    stamp = told.st_size, told.st_mtime_ns, told.st_ino
    assert found[NAMES[1]] == manifest.Entry(
        NAMES[1], "LDFA, r = 2 é", 1, "done", 2, 0.75, 3.0, 2, "quick", FORM, *stamp
    )
    assert found[NAMES[0]].state == "diverged" and math.isnan(found[NAMES[0]].accuracy)
    assert [type(held) for held in vars(found[NAMES[1]]).values()] == list(manifest.TYPES.values())
    assert entries(str(folder)) == found  # the second time from the manifest, NaN and all


def test_runs_that_differ_in_nothing_but_the_seed_have_one_form(folder):
    settings = ('{"seed": 0, "a": 1}', '{"a": 1, "seed": 1}', '{"seed": 0, "a": 2}')
    for name, said in zip(NAMES, settings, strict=False):
        keep(folder, name, settings=said)
    first, second, other = (entry.form for entry in entries(folder).values())
    assert first == second != other


def test_only_new_and_changed_files_are_read_and_gone_ones_dropped(folder, reads):
    for name in NAMES[:3]:
        keep(folder, name)
    assert list(entries(folder)) == reads == NAMES[:3]
    reads.clear()
    keep(folder, NAMES[1], (0.1, 0.9))
    keep(folder, NAMES[3])
    run_path(folder, NAMES[0]).unlink()
    found = entries(folder)
    assert list(found) == NAMES[1:] and reads == [NAMES[1], NAMES[3]] and found[NAMES[1]].accuracy == 0.9
    reads.clear()
    assert entries(folder) == found and not reads


def test_a_file_of_equal_size_and_time_in_anothers_place_is_read_again(folder, reads):
    keep(folder, accuracy=(0.1, 0.5))
    entries(folder)
    told = run_path(folder, NAMES[0]).stat()
    keep(folder, accuracy=(0.1, 0.7))
    os.utime(run_path(folder, NAMES[0]), ns=(told.st_mtime_ns, told.st_mtime_ns))
    assert run_path(folder, NAMES[0]).stat().st_size == told.st_size
    assert entries(folder)[NAMES[0]].accuracy == 0.7


def test_a_thousand_unchanged_runs_cost_a_listing_and_no_file_is_opened(folder):
    keep(folder)
    entry, content = entries(folder)[NAMES[0]], run_path(folder, NAMES[0]).read_bytes()
    rows = []
    for i in range(1000):
        path = run_path(folder, f"bp_seed{i}_0123456789ab")
        path.write_bytes(content)
        told = path.stat()
        stamp = {"size": told.st_size, "mtime_ns": told.st_mtime_ns, "inode": told.st_ino}
        rows.append(vars(entry) | stamp | {"name": path.stem, "seed": i})
    manifest._keep(manifest_path(folder), {row["name"]: manifest.Entry(**row) for row in rows})
    program = (
        "import sys, pathlib; from rfmodel.store import claims, failures, tidying\n"
        "from rfmodel.store.manifest import entries\n"
        "opened, listed = [], []\n"
        "def hook(event, args):\n"
        "    if event == 'open' and str(args[0]).startswith(sys.argv[1]): opened.append(str(args[0]))\n"
        "    if event == 'os.scandir' and str(args[0]).startswith(sys.argv[1]): listed.append(str(args[0]))\n"
        "sys.addaudithook(hook)\n"
        "found = entries(pathlib.Path(sys.argv[1]))\n"
        "assert len(found) == 1000, len(found)\n"
        "assert opened == [sys.argv[1] + '/manifest.json'], opened\n"
        "assert listed == [sys.argv[1] + '/runs'], listed\n"
        "brought = {'h5py', 'xarray', 'torch', 'numpy', 'pandas'} & set(sys.modules)\n"
        "assert not brought, brought\n"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", program, str(folder)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_study_without_runs_has_no_entries_and_no_manifest(tmp_path):
    assert entries(tmp_path / "nowhere") == {} == entries(tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_lies_beside_the_run_files_is_none_of_them(folder):
    keep(folder)
    runs = folder / "runs"
    for beside in (f".{NAMES[1]}.nc", f".{NAMES[1]}.nc.0123.part", f"{NAMES[1]}.pt", f"{NAMES[1]}.nc.bak"):
        (runs / beside).write_text("half")
    (runs / f"{NAMES[2]}.nc").mkdir()
    (runs / f"{NAMES[3]}.nc").symlink_to(runs / "nowhere.nc")
    assert list(entries(folder)) == NAMES[:1]


@pytest.mark.parametrize("length", [0, 1, 100, -100])
def test_a_damaged_file_is_refused_in_the_words_of_loading_it_and_the_others_are_kept(length, folder, reads):
    for name in NAMES:
        keep(folder, name)
    path = run_path(folder, NAMES[3])
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InputError) as told:
        load(path)
    for _ in range(2):
        with pytest.raises(InputError, match=rf"run file '{re.escape(str(path))}' cannot be read") as caught:
            entries(folder)
        assert str(caught.value) == str(told.value) and "\n" not in str(caught.value)
    assert reads == [*NAMES, NAMES[3]]  # the whole ones once
    path.unlink()
    assert list(entries(folder)) == NAMES[:3]


@pytest.mark.parametrize(
    ("attrs", "told"),
    [
        ({"name": NAMES[1]}, f"the run '{NAMES[1]}'"),
        ({"name": "../../x"}, "'../../x' is no run's name"),
        ({"state": "fine"}, "state 'fine' is neither 'done' nor 'diverged'"),
        ({"condition": MISSING}, "attribute 'condition' is missing"),
        ({"seconds": "long"}, "attribute 'seconds' is no number"),
        ({"epochs_done": 1.5}, "attribute 'epochs_done' is no whole number"),
    ],
)
def test_a_file_that_says_something_else_is_refused_in_the_words_of_loading_it(attrs, told, folder):
    keep(folder, **attrs)
    path = run_path(folder, NAMES[0])
    with pytest.raises(InputError, match=re.escape(told)) as caught:
        entries(folder)
    with pytest.raises(InputError) as loading:
        load(path)
    assert str(caught.value) == str(loading.value) and str(path) in str(caught.value)


def test_a_file_of_no_runs_name_is_refused(folder):
    save(run("notes"), run_path(folder, "notes"))
    with pytest.raises(InputError, match=r"run file '.*/runs/notes.nc' cannot be read \(.*'notes' is no run's name"):
        entries(folder)


def test_a_run_without_accuracy_is_refused_as_loading_it_is(folder):
    save(run().drop_vars("accuracy_test"), run_path(folder, NAMES[0]))
    with pytest.raises(InputError, match="it holds no test accuracy by epoch"):
        entries(folder)


def test_a_long_history_which_is_packed_gives_its_last_value(folder):
    keep(folder, accuracy=np.linspace(0, 0.9, 1000))
    assert entries(folder)[NAMES[0]].accuracy == 0.9


def test_values_that_lie_outside_of_the_file_are_not_read(folder, tmp_path):
    import h5py

    keep(folder)
    path, elsewhere = run_path(folder, NAMES[0]), tmp_path / "elsewhere.h5"
    with h5py.File(elsewhere, "w") as file:
        file["accuracy_test"] = [1.0, 1.0]
    with h5py.File(path, "r+") as file:
        del file["accuracy_test"]
        file["accuracy_test"] = h5py.ExternalLink(str(elsewhere), "accuracy_test")
    with pytest.raises(InputError, match="'accuracy_test' is a link to elsewhere"):
        entries(folder)
    keep(folder)
    with h5py.File(path, "r+") as file:
        del file["accuracy_test"]
        file.create_dataset("accuracy_test", (2,), "f8", external=[(str(elsewhere), 0, 16)])
    with pytest.raises(InputError, match="the values of 'accuracy_test' lie in another file"):
        entries(folder)


def test_a_file_of_an_older_schema_that_is_read_has_its_entry_and_of_another_is_refused(folder):
    import h5py

    keep(folder)
    path = run_path(folder, NAMES[0])
    for schema, told in ((2, None), (1, "has schema 1, and this version reads"), (99, "has schema 99")):
        with h5py.File(path, "r+") as file:
            file.attrs["schema"] = schema
        if told is None:
            assert entries(folder)[NAMES[0]].accuracy == 0.5
            continue
        with pytest.raises(InputError, match=told):
            entries(folder)


def test_a_run_removed_while_it_is_read_is_none(folder, monkeypatch):
    keep(folder)
    keep(folder, NAMES[1])
    read = attributes.read_attributes

    def late(path):
        if path.stem == NAMES[0]:
            path.unlink()
        return read(path)

    monkeypatch.setattr(attributes, "read_attributes", late)
    assert list(entries(folder)) == [NAMES[1]]


def test_a_run_replaced_while_it_is_read_is_read_again_next_time(folder, monkeypatch):
    keep(folder)
    read = attributes.read_attributes

    def late(path):
        found = read(path)
        keep(folder, accuracy=(0.1, 0.7))
        return found

    with monkeypatch.context() as patched:
        patched.setattr(attributes, "read_attributes", late)
        assert entries(folder)[NAMES[0]].accuracy == 0.5
    assert entries(folder)[NAMES[0]].accuracy == 0.7


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_where_the_folder_cannot_be_written_the_manifest_is_not_and_nothing_is_said(code, folder, monkeypatch):
    keep(folder)

    def fail(*_, **__):
        raise OSError(code, "")

    with monkeypatch.context() as patched:
        patched.setattr(type(folder), "write_text", fail)
        assert list(entries(folder)) == NAMES[:1]
    assert not manifest_path(folder).exists() and not list(folder.glob(".*"))


def test_a_folder_that_cannot_be_read_is_named(folder, monkeypatch):
    def fail(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(InputError, match=rf"folder '{re.escape(str(folder))}' cannot be read \(Permission denied\)"):
        entries(folder)


def values():
    plain = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
    return st.recursive(
        plain,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(st.sampled_from(["schema", "checksum", "runs", "name", "x"]), inner, max_size=3),
        ),
        max_leaves=8,
    )


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    (folder / "runs").mkdir()
    keep(folder, NAMES[0])
    keep(folder, NAMES[1], (0.1, math.nan), state="diverged")
    return folder, entries(folder), manifest_path(folder).read_bytes()


@settings(max_examples=50, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=80),
        values().map(lambda held: json.dumps(held).encode()),
        st.tuples(st.integers(), values()).map(lambda h: json.dumps({"schema": h[0], "runs": h[1]}).encode()),
        values().map(  # garbage that bears its checksum
            lambda rows: json.dumps({"schema": 1, "checksum": manifest._checksum(rows), "runs": rows}).encode()
        ),
        st.just(b"[" * 10**5),
    )
)
def test_a_manifest_of_any_bytes_or_values_is_made_anew_and_nothing_is_said(two, content):
    folder, found, whole = two
    manifest_path(folder).write_bytes(content)
    assert entries(folder) == found
    assert manifest_path(folder).read_bytes() == whole


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_no_change_of_a_byte_of_the_manifest_changes_an_entry(two, data):
    folder, found, whole = two
    place = data.draw(st.integers(0, len(whole) - 1))
    change = data.draw(st.integers(1, 255))
    damaged = bytearray(whole)
    damaged[place] ^= change
    manifest_path(folder).write_bytes(damaged if data.draw(st.booleans()) else whole[:place])
    assert entries(folder) == found


@pytest.mark.parametrize("change", [{"schema": 2}, {"schema": None}, {"checksum": ""}, {"runs": {}}, {"runs": [1]}])
def test_a_manifest_of_another_version_or_sum_is_made_anew(two, change):
    folder, found, whole = two
    manifest_path(folder).write_text(json.dumps(json.loads(whole) | change))
    assert entries(folder) == found and manifest_path(folder).read_bytes() == whole


@pytest.mark.parametrize("name", ["../../x", "x", "", 3])
def test_a_name_that_a_manifest_says_must_be_a_runs(two, name):
    folder, found, whole = two
    rows = json.loads(whole)["runs"]
    rows[0]["name"] = name
    kept = {"schema": manifest.SCHEMA, "checksum": manifest._checksum(rows), "runs": rows}
    manifest_path(folder).write_text(json.dumps(kept))
    assert entries(folder) == found and manifest_path(folder).read_bytes() == whole


def test_processes_that_write_the_manifest_at_once_leave_a_true_one(folder):
    for name in NAMES:
        keep(folder, name)
    program = (
        "import pathlib, sys; from rfmodel.store.manifest import entries\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "for _ in range(5):\n"
        "    (folder / 'manifest.json').unlink(missing_ok=True)\n"
        "    assert len(entries(folder)) == 4\n"
    )
    others = [
        subprocess.Popen([sys.executable, "-B", "-c", program, str(folder)], stderr=subprocess.PIPE) for _ in range(3)
    ]
    assert [(other.communicate(timeout=120)[1], other.returncode) for other in others] == [(b"", 0)] * 3
    assert repr(entries(folder)) == afresh(folder)
    assert sorted(p.name for p in folder.iterdir()) == ["manifest.json", "runs"]


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    """Run files, four versions of each of four runs: of two sizes, of one diverged run, and of one damaged."""
    folder = tmp_path_factory.mktemp("stock")
    (folder / "runs").mkdir()
    made = {}
    for name in NAMES:
        versions = [((0.1, 0.5), "done"), ((0.1, 0.75), "done"), ((0.1, 0.2, math.nan), "diverged")]
        for i, (accuracy, state) in enumerate(versions):
            keep(folder, name, accuracy, state=state)
            made[name, i] = run_path(folder, name).read_bytes()
    return made


OPERATIONS = st.one_of(
    st.tuples(st.sampled_from(["put", "put", "write over"]), st.sampled_from(NAMES), st.integers(0, 2)),
    st.tuples(st.just("remove"), st.sampled_from(NAMES)),
    st.tuples(st.just("cut off"), st.sampled_from(NAMES), st.floats(0, 0.99)),
    st.tuples(st.just("lose the manifest")),
    st.tuples(st.just("damage the manifest"), st.binary(max_size=9), st.integers(0, 2000)),
    st.tuples(st.just("bring back a manifest"), st.integers(0, 9)),
    st.tuples(st.just("look")),
    st.tuples(st.just("look")),
)


def apply(folder, stock, manifests, operation, *what):
    path = manifest_path(folder)
    if operation in ("put", "write over", "remove", "cut off"):
        run_file = run_path(folder, what[0])
    if operation == "put":  # as runs are: beside and renamed
        aside = run_file.with_suffix(".aside")
        aside.write_bytes(stock[what[0], what[1]])
        aside.replace(run_file)
    elif operation == "write over":
        run_file.write_bytes(stock[what[0], what[1]])
        told = run_file.stat()  # a clock that is too coarse for two writings within a test is not what is tested
        os.utime(run_file, ns=(told.st_mtime_ns, told.st_mtime_ns + len(manifests) + 1))
    elif operation == "remove":
        run_file.unlink(missing_ok=True)
    elif operation == "cut off" and run_file.exists():
        run_file.write_bytes(run_file.read_bytes()[: int(what[1] * run_file.stat().st_size)])
    elif operation == "lose the manifest":
        path.unlink(missing_ok=True)
    elif operation == "damage the manifest" and path.exists():
        content = path.read_bytes()
        path.write_bytes(content[: what[1]] + what[0] + content[what[1] + len(what[0]) :])
    elif operation == "bring back a manifest" and manifests:
        path.write_bytes(manifests[what[0] % len(manifests)])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(OPERATIONS, max_size=14))
def test_after_any_course_of_things_entries_are_what_a_fresh_reading_gives(stock, tmp_path_factory, course):
    folder, manifests = tmp_path_factory.mktemp("course"), []
    (folder / "runs").mkdir()
    for step in [*course, ("look",)]:
        apply(folder, stock, manifests, *step)
        if step == ("look",):
            try:
                found = repr(entries(folder))
            except InputError as error:
                found = str(error)
                assert f"run file '{folder / 'runs'}" in found and "\n" not in found
            if manifest_path(folder).exists():
                manifests.append(manifest_path(folder).read_bytes())
            beside = Path(shutil.copytree(folder, tmp_path_factory.mktemp("fresh"), dirs_exist_ok=True))
            again = afresh(beside).replace(str(beside), str(folder))
            # A copy has stamps of its own; what is said of each run is the same.
            assert re.sub(r"(mtime_ns|inode)=\d+", "", found) == re.sub(r"(mtime_ns|inode)=\d+", "", again)

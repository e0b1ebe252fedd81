"""Run files: what was written is what is read or nothing is, and no file does more than hold words and numbers."""

from __future__ import annotations

import io
import json
import os
import random
import threading

import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from store.made_runs import made, ragged

from rfmodel import store
from rfmodel.errors import InputError
from rfmodel.store import checksums, netcdf, results


def written(path, dataset=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    store.save(made() if dataset is None else dataset, path)
    return path


@pytest.fixture
def path(tmp_path):
    """A run file where a study keeps it."""
    return written(store.run_path(tmp_path, made().attrs["name"]))


def refused(path, told="cannot be read"):
    """Read a file that must be refused, in one line with its name."""
    with pytest.raises(InputError, match=told) as caught:
        store.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def edited(path, change):
    """Change a run file by its HDF5, and give it the checksum of what it then says."""
    with h5py.File(path, "r+") as file:
        change(file)
    try:
        found = checksums.of_content(netcdf.read(path))
    except InputError:
        return path
    with h5py.File(path, "r+") as file:
        file.attrs["checksum"] = found
    return path


@settings(max_examples=10, deadline=None)
@given(ragged)
def test_what_was_saved_is_what_is_loaded(tmp_path_factory, form):
    run = made(**form)
    path = written(tmp_path_factory.mktemp("runs") / "run.nc", run)
    assert store.load_run(path).identical(run.assign_attrs(schema=np.int64(store.SCHEMA)))


def test_bits_of_numbers_and_kinds_of_words_are_kept(tmp_path):
    odd = np.array([0x7FF8000000000001, 0xFFF8000000000002, 0x8000000000000000, 1], "u8").view("f8")
    run = made().assign(odd=("odd_place", odd), none=("nobody", np.array([], "U3")), word=((), "é\u2028 \\ '"))
    run = run.assign(
        yes=("odd_place", np.array([True, False, True, True])), small=("odd_place", np.arange(4, dtype="i1"))
    )
    again = store.load_run(written(tmp_path / "a.nc", run))
    assert again["odd"].values.tobytes() == odd.tobytes()
    assert again["yes"].dtype == bool and again["small"].dtype == "i1"
    assert again["word"].item() == "é\u2028 \\ '" and again["none"].shape == (0,)


def test_a_file_is_what_xarray_reads_too(path):
    with xr.open_dataset(path, engine="h5netcdf") as file:
        theirs = file.load()
    assert len(theirs.attrs.pop("checksum")) == 64
    assert store.load(path).identical(theirs)


def test_a_checksum_is_of_what_a_file_says_and_not_of_how(tmp_path, path):
    run = store.load(path)
    run.to_netcdf(tmp_path / "plain.nc", engine="h5netcdf")
    assert checksums.of_content(netcdf.read(tmp_path / "plain.nc")) == checksums.of_content(results.contents(path))


CHANGES = {
    "value": lambda d: d.assign(p0=d["p0"].fillna(0) + 1),
    "bit": lambda d: d.assign(p0=d["p0"].copy(data=np.nextafter(d["p0"].fillna(0.5).values, 2))),
    "word": lambda d: d.assign(status=d["status"].copy(data=np.full(d["status"].shape, "border"))),
    "label": lambda d: d.assign_coords(edge=["head->layer9"]),
    "name": lambda d: d.rename(p0="p1"),
    "dimension": lambda d: d.rename_dims(y="z"),
    "type": lambda d: d.assign(rf=d["rf"].astype("f8")),
    "attribute": lambda d: d.assign_attrs(seconds=1.6),
    "attribute's type": lambda d: d.assign_attrs(seconds=np.float32(1.5)),
    "attribute of a variable": lambda d: d.assign(peak_memory=d["peak_memory"].assign_attrs(units="B")),
    "gap": lambda d: d.drop_vars("p0"),
    "coordinate": lambda d: d.reset_coords("layer"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_of_what_a_file_says_changes_its_checksum(tmp_path, change):
    before = netcdf.read(written(tmp_path / "a.nc")).attrs["checksum"]
    assert netcdf.read(written(tmp_path / "b.nc", CHANGES[change](made()))).attrs["checksum"] != before


def test_words_run_together_are_other_words():
    sums = {
        checksums.of_content(netcdf.Content({"a": (("x",), np.array(words), {})}, (), {}))
        for words in (["ab", "c"], ["a", "bc"], ["abc", ""], ['a", "b', "c"])
    }
    assert len(sums) == 4


def test_what_a_file_says_that_has_not_its_checksum_is_refused(path):
    with h5py.File(path, "r+") as file:
        file["accuracy_test"][0] += 0.25
    refused(path, "is damaged: what it says has not its checksum; move it away and run the protocol again")
    with h5py.File(path, "r+") as file:
        del file.attrs["checksum"]
    refused(path, "has not its checksum")


def test_a_file_saved_again_has_a_checksum_of_its_own(path):
    store.save(store.load(path).assign_attrs(checksum="0", seconds=9.0), path)
    assert store.load(path).attrs["seconds"] == 9.0 and "checksum" not in store.load(path).attrs


def test_files_of_the_schema_before_are_read(path):
    before = store.load(path)
    with h5py.File(path, "r+") as file:
        del file.attrs["checksum"]
        file.attrs["schema"] = np.int64(2)
    assert store.load(path).identical(before)


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        (np.int64(99), "has schema 99, and this version reads 2, 3; a newer rfmodel made it: update"),
        (np.int64(1), "has schema 1, and this version reads 2, 3; run it again"),
        ("3", "has schema 3, and this version reads 2, 3; run it again"),
        (np.float64(np.nan), "has schema nan"),
        (None, "is not a run file of rfmodel: it has no schema"),
    ],
)
def test_other_schemas_are_refused_by_what_was_found(path, schema, told):
    def change(file):
        del file.attrs["schema"]
        if schema is not None:
            file.attrs["schema"] = schema

    refused(edited(path, change), told)


def external(file):
    file.create_dataset("far", (4,), "f8", external=[("/etc/hostname", 0, 32)])


def virtual(file):
    layout = h5py.VirtualLayout((4,), "f8")
    layout[:] = h5py.VirtualSource("other.nc", "rf", (4,))
    file.create_virtual_dataset("far", layout)


def replaced(name, **how):
    def change(file):
        del file[name]
        file.create_dataset(name, **how)

    return change


def linked(link):
    def change(file):
        file["far"] = link

    return change


HARMS = {
    "external link": (linked(h5py.ExternalLink("/etc/hostname", "/")), "'far' is a link to elsewhere"),
    "soft link": (linked(h5py.SoftLink("/rf")), "'far' is a link to elsewhere"),
    "external data": (external, "the values of 'far' lie in another file"),
    "virtual data": (virtual, "the values of 'far' lie in another file"),
    "group": (lambda file: file.create_group("far"), "'far' is no array"),
    "named type": (linked(np.dtype("f8")), "'far' is no array"),
    "references": (lambda f: f.create_dataset("far", (2,), h5py.ref_dtype), "'far'"),
    "opaque": (lambda f: f.create_dataset("far", (2,), h5py.opaque_dtype("M8[s]")), "'far'"),
    "compound": (lambda f: f.create_dataset("far", (2,), [("a", "f8")]), "'far'"),
    "lists": (lambda f: f.create_dataset("far", (2,), h5py.vlen_dtype("f8")), "'far'"),
    "packed numbers": (lambda f: f["p0"].attrs.create("scale_factor", 2.0), "'p0' is packed as no run is"),
    "a terabyte": (lambda f: f.create_dataset("far", (2**37,), "f8", chunks=(1024,)), "says that .* bytes hold"),
    "a terabyte in one": (lambda f: f.create_dataset("far", (4,), "f8", chunks=(2**28,), maxshape=(None,)), "hold"),
    "overflow": (lambda f: f.create_dataset("far", (2**62, 2**62), "f8", chunks=(1, 1)), "bytes hold"),
    "reference attribute": (lambda f: f.attrs.create("far", f["rf"].ref, dtype=h5py.ref_dtype), "neither numbers nor"),
    "bytes that are no words": (lambda f: f.attrs.create("far", b"\xff\xfe"), "UnicodeDecodeError"),
    "words that are none": (lambda f: f["status"].__setitem__((0, 0), b"\xff"), "UnicodeDecodeError"),
    "other filter": (lambda f: f.create_dataset("far", (64,), "f8", compression="lzf", chunks=(8,)), "by a filter"),
    "no dimensions": (replaced("p0", data=np.zeros((3, 5))), "'p0' has no dimensions"),
}  # fmt: skip


@pytest.mark.parametrize("harm", HARMS)
def test_a_file_that_is_more_than_words_and_numbers_is_refused(path, harm, capfd):
    change, told = HARMS[harm]
    with h5py.File(path, "r+") as file:
        change(file)
    refused(path, told)
    assert capfd.readouterr() == ("", "")


def test_one_long_word_named_often_fills_no_memory(tmp_path, monkeypatch):
    path = written(tmp_path / "long.nc", made().assign(words=("place", ["w" * 2**16, *("w" for _ in range(63))])))
    assert store.load(path)["words"].size == 64
    monkeypatch.setattr(netcdf, "LARGEST", 2**20)
    monkeypatch.setattr(netcdf, "RATIO", 1)
    refused(path, "bytes hold 64 words that are too long")


def test_a_fixed_word_of_another_writer_is_a_word(path):
    def change(file):
        file.attrs.create("commit", "é".encode())

    assert store.load(edited(path, change)).attrs["commit"] == "é"


def set_attribute(**attrs):
    return lambda file: [file.attrs.__setitem__(key, value) for key, value in attrs.items()]


WRONG = {
    **{f"no {key}": (lambda f, key=key: f.attrs.__delitem__(key), f"attribute '{key}' is missing") for key in
       ("condition", "name", "seed", "state", "settings", "position", "epochs_done", "seconds", "classes", "commit")},
    "seed a word": (set_attribute(seed="0"), "attribute 'seed' is no whole number"),
    "seed below 0": (set_attribute(seed=np.int64(-1)), "attribute 'seed' is no whole number"),
    "position NaN": (set_attribute(position=np.nan), "attribute 'position' is no whole number"),
    "seconds a word": (set_attribute(seconds="long"), "attribute 'seconds' is no number"),
    "condition a number": (set_attribute(condition=1.0), "attribute 'condition' is no word"),
    "condition words": (lambda f: f.attrs.create("condition", ["a", "b"]), "attribute 'condition' is no word"),
    "settings no JSON": (set_attribute(settings="{"), "JSONDecodeError"),
    "settings a list": (set_attribute(settings="[]"), "attribute 'settings' is no JSON object"),
    "settings deep": (set_attribute(settings="[" * 60_000), "JSONDecodeError|RecursionError"),
    "hardware no JSON": (set_attribute(hardware="a machine"), "JSONDecodeError"),
    "state": (set_attribute(state="finished"), "state 'finished' is neither 'done' nor 'diverged'"),
    "another's name": (set_attribute(name="bp_seed0_0123456789ab"), "says that it is the run 'bp_seed0_0123456789ab'"),
    "a way out": (set_attribute(name="../../x"), "'../../x' is no run's name"),
    "no accuracy": (lambda f: f.__delitem__("accuracy_test"), "it holds no test accuracy by epoch"),
    "a unit twice": (lambda f: f["unit"].__setitem__(0, "retina.conv2/1"), "'unit' names something twice"),
    "a unit of no layer": (lambda f: f["unit"].__setitem__(0, "x"), "coordinate 'unit' is not of the form"),
    "a stage unknown": (lambda f: f["stage"].__setitem__(0, "epoch x"), "coordinate 'stage' is not of the form"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_a_run_file_that_does_not_say_what_readers_look_for_is_refused(path, wrong):
    change, told = WRONG[wrong]
    refused(edited(path, change), told)


def test_a_run_file_elsewhere_may_bear_any_name_and_is_still_a_run(tmp_path):
    other = written(tmp_path / "copy.nc")
    assert store.load_run(other).attrs["name"] == made().attrs["name"]
    joined = written(tmp_path / "joined.nc", store.together([made(), made(1)]))
    assert store.load(joined).sizes["run"] == 2
    with pytest.raises(InputError, match=r"run file '.*joined.nc' cannot be read \(attribute '.*' is missing\)"):
        store.load_run(joined)


def survives(path, damaged, right):
    """A damaged file is refused with its name, or says exactly what the whole file says."""
    path.write_bytes(damaged)
    try:
        assert checksums.of_content(results.contents(path)) == right
    except InputError as error:
        assert str(path) in str(error) and "\n" not in str(error)


def cuts(path, lengths, capfd):
    raw, right = path.read_bytes(), checksums.of_content(results.contents(path))
    for length in lengths(len(raw)):
        survives(path, raw[:length], right)
    assert capfd.readouterr() == ("", "")


def test_a_run_file_cut_short_is_refused_or_right(path, capfd):
    cuts(path, lambda size: random.Random(0).sample(range(size), 100) + [0, 1, 8, size - 1], capfd)


@pytest.mark.slow
def test_a_run_file_cut_short_anywhere_is_refused_or_right(path, capfd):
    cuts(path, range, capfd)


def flips(path, capfd, rounds):
    raw, right, drawn = path.read_bytes(), checksums.of_content(results.contents(path)), random.Random(1)
    for _ in range(rounds):
        damaged = bytearray(raw)
        for _ in range(drawn.choice((1, 1, 4, 64))):
            damaged[drawn.randrange(len(damaged))] ^= 1 << drawn.randrange(8)
        survives(path, bytes(damaged), right)
    assert capfd.readouterr() == ("", "")


def test_a_run_file_with_bits_turned_is_refused_or_right(path, capfd):
    flips(path, capfd, 100)


@pytest.mark.slow
def test_a_run_file_with_many_bits_turned_is_refused_or_right(path, capfd):
    flips(path, capfd, 5000)


def test_a_heap_that_leads_nowhere_is_refused_before_the_library_follows_it_for_ever(path):
    raw = path.read_bytes()
    raw = bytearray(raw[: raw.rindex(b"\nrfmodel sha256 ")])
    heap = raw.index(b"GCOL\x01\0\0\0") + 16
    raw[heap : heap + 16] = bytes(16)
    path.write_bytes(raw)
    refused(path, "its heap of words is damaged")


def test_a_damaged_byte_is_seen_before_the_file_is_parsed(path, monkeypatch):
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    monkeypatch.setattr(h5py.h5f, "open_file_image", lambda *_: pytest.fail("it was parsed"))
    refused(path, "its bytes have not their checksum")


def test_a_pipe_in_place_of_a_run_is_not_waited_for(path):
    path.unlink()
    os.mkfifo(path)
    refused(path, "it is no file, but a folder, pipe or device")


def test_a_damaged_file_is_refused_as_quietly_in_a_thread(path, capfd):
    path.write_bytes(path.read_bytes()[:3000])
    told = []
    thread = threading.Thread(target=lambda: told.append(refused(path, "cannot be read")))
    thread.start()
    thread.join()
    assert len(told) == 1 and capfd.readouterr() == ("", "")


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=2000))
def test_bytes_of_anything_are_refused_by_name(tmp_path_factory, raw):
    path = tmp_path_factory.getbasetemp() / "anything.nc"
    path.write_bytes(raw)
    refused(path)


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path):
    refused(tmp_path / "nowhere.nc", "FileNotFoundError")


def test_a_digest_is_of_bytes_however_they_are_given(tmp_path):
    (tmp_path / "w.pt").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of the standard, FIPS 180-2
    assert store.digest(tmp_path / "w.pt") == store.digest(str(tmp_path / "w.pt")) == known
    assert store.digest(b"abc") == store.digest(io.BytesIO(b"abc").getbuffer()) == known


def test_settings_are_what_the_file_says(path):
    assert results.settings_of(store.load(path)) == json.loads(made().attrs["settings"])

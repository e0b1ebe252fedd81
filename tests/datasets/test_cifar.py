"""CIFAR from the published layouts: what is read is what was written, and damage is named."""

from __future__ import annotations

import os
import pickle
import tarfile

import numpy as np
import pytest
from published import archive, content, layout_of, rows_of, write

from rfmodel.datasets.cifar import read_cifar
from rfmodel.datasets.layouts import CLASSES, LAYOUTS
from rfmodel.errors import InputError, MissingData

EVERY_LAYOUT = [(name, layout.kind) for name, layouts in LAYOUTS.items() for layout in layouts]


@pytest.fixture(autouse=True)
def no_data_folder_in_the_environment(monkeypatch):
    monkeypatch.delenv("RFMODEL_DATA", raising=False)


def expected(name, kind, rows=20):
    layout = layout_of(name, kind)
    files = [rows_of(name, number, rows) for number in range(len(layout.train) + len(layout.test))]
    halves = files[: len(layout.train)], files[len(layout.train) :]
    return [
        (np.concatenate([p for p, _ in half]).reshape(-1, 3, 32, 32), np.concatenate([y for _, y in half]))
        for half in halves
    ]


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
@pytest.mark.parametrize(("name", "kind"), EVERY_LAYOUT)
def test_every_published_layout_gives_back_pixels_and_labels_in_file_order(tmp_path, name, kind, packed):
    (archive if packed else write)(tmp_path, name, kind)
    *halves, source = read_cifar(name, tmp_path, partial=True)
    for found, (images, labels) in zip(halves, expected(name, kind), strict=True):
        assert np.array_equal(found.images, images)
        assert np.array_equal(found.labels, labels)
        assert found.images.dtype == np.uint8 and found.labels.dtype == np.int64
    assert kind in source


def test_first_plane_is_red_and_rows_run_from_the_top(tmp_path):
    # the published order: 1,024 red, 1,024 green, 1,024 blue, each row by row from the top
    layout = layout_of("cifar10", "binary")
    inner = write(tmp_path, "cifar10", "binary", rows=1)
    pixels = np.zeros((1, 3072), np.uint8)
    pixels[0, 33], pixels[0, 1024 + 2], pixels[0, 2048 + 31 * 32] = 1, 2, 3
    (inner / "test_batch.bin").write_bytes(content("cifar10", layout, pixels, [4]))
    _, test, _ = read_cifar("cifar10", tmp_path, partial=True)
    assert (test.images[0, 0, 1, 1], test.images[0, 1, 0, 2], test.images[0, 2, 31, 0]) == (1, 2, 3)
    assert test.labels.tolist() == [4]


def test_archive_is_read_without_writing_anything(tmp_path):
    archive(tmp_path, "cifar10", "python")
    before = sorted(tmp_path.rglob("*"))
    read_cifar("cifar10", tmp_path, partial=True)
    assert sorted(tmp_path.rglob("*")) == before


def test_folder_named_by_the_environment_or_the_layout_itself_is_found(tmp_path, monkeypatch):
    inner = write(tmp_path, "cifar10", "python")
    assert len(read_cifar("cifar10", inner, partial=True)[0].labels) == 100
    monkeypatch.setenv("RFMODEL_DATA", str(tmp_path))
    assert len(read_cifar("cifar10", partial=True)[0].labels) == 100


def test_progress_is_told_after_each_file(tmp_path):
    write(tmp_path, "cifar10", "python")
    told = []
    read_cifar("cifar10", tmp_path, partial=True, progress=lambda *news: told.append(news))
    assert told == [("reading cifar10", done, 6) for done in range(1, 7)]


def test_missing_data_names_folder_layouts_and_the_command_that_helps(tmp_path):
    with pytest.raises(MissingData) as caught:
        read_cifar("cifar100", tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    for part in (str(tmp_path), "cifar-100-python/", "cifar-100-binary/", "cifar-100-python.tar.gz"):
        assert part in message
    assert f"`rfmodel data download cifar100 --data {tmp_path}`" in message


def test_missing_folder_and_no_folder_at_all_are_told_apart(tmp_path):
    with pytest.raises(MissingData, match="nowhere, which is not a folder"):
        read_cifar("cifar10", tmp_path / "nowhere")
    with pytest.raises(MissingData, match="no data folder was given: --data DIR or RFMODEL_DATA"):
        read_cifar("cifar10")


def test_missing_batch_file_is_named(tmp_path):
    inner = write(tmp_path, "cifar10", "python")
    (inner / "data_batch_3").unlink()
    with pytest.raises(MissingData, match="cifar-10-batches-py lacks data_batch_3"):
        read_cifar("cifar10", tmp_path, partial=True)


def test_fewer_rows_than_published_need_leave(tmp_path):
    write(tmp_path, "cifar10", "binary")
    with pytest.raises(InputError, match=r"data_batch_1\.bin has 20 rows, the published file has 10000"):
        read_cifar("cifar10", tmp_path)


@pytest.mark.parametrize(("name", "kind"), EVERY_LAYOUT)
@pytest.mark.parametrize("cut", [0, 100, -1])
def test_truncated_file_is_named_with_its_size(tmp_path, name, kind, cut):
    file = (inner := write(tmp_path, name, kind)) / list(layout_of(name, kind).test)[0]
    file.write_bytes(file.read_bytes()[:cut])
    size = file.stat().st_size
    with pytest.raises(InputError, match=rf"{inner.name}/{file.name} .*{size} bytes"):
        read_cifar(name, tmp_path, partial=True)


@pytest.mark.parametrize(("name", "kind"), EVERY_LAYOUT)
def test_label_out_of_range_is_named_with_its_row(tmp_path, name, kind):
    layout = layout_of(name, kind)
    file = list(layout.test)[0]
    pixels, labels = rows_of(name, 0, 20)
    classes = len(CLASSES[name])
    body = content(name, layout, pixels, [*labels[:13], classes, *labels[14:]])
    (write(tmp_path, name, kind) / file).write_bytes(body)
    with pytest.raises(InputError, match=f"{file} has label {classes} in row 13: .* 0 to {classes - 1}"):
        read_cifar(name, tmp_path, partial=True)


PIXELS = np.zeros((4, 3072), np.uint8)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"labels": [0] * 4}, "has no 'data': found are labels"),
        ({"data": PIXELS}, "has no 'labels': found are data"),
        ({"data": PIXELS, "labels": [0] * 3}, "has 4 images but 3 labels"),
        ({"data": PIXELS[:, :5], "labels": [0] * 4}, r"pixels of uint8 \(4, 5\)"),
        ({"data": PIXELS.astype(np.float32), "labels": [0] * 4}, r"pixels of float32 \(4, 3072\)"),
        ({"data": "pixels", "labels": [0] * 4}, "pixels of str"),
        ({"data": PIXELS, "labels": [0.5] * 4}, "labels that are no list of whole numbers, but list"),
        ({"data": PIXELS, "labels": "abcd"}, "labels that are no list of whole numbers, but str"),
        ({"data": PIXELS, "labels": [-1] * 4}, "has label -1 in row 0"),
        ({"data": PIXELS[:0], "labels": []}, "has 0 rows"),
        ([1, 2], "a pickle of list where a dict is expected"),
    ],
)
def test_record_of_another_form_is_named_for_what_it_has(tmp_path, record, message):
    inner = write(tmp_path, "cifar10", "python")
    (inner / "data_batch_2").write_bytes(pickle.dumps(record, protocol=2))
    with pytest.raises(InputError, match=rf"data_batch_2 .*{message}"):
        read_cifar("cifar10", tmp_path, partial=True)


def test_labels_may_be_an_array(tmp_path):
    inner = write(tmp_path, "cifar10", "python")
    record = {"data": PIXELS, "labels": np.array([3, 1, 4, 1])}
    (inner / "test_batch").write_bytes(pickle.dumps(record, protocol=2))
    assert read_cifar("cifar10", tmp_path, partial=True)[1].labels.tolist() == [3, 1, 4, 1]


def test_pickle_that_would_run_a_command_is_refused_by_file_and_name(tmp_path):
    inner = write(tmp_path, "cifar10", "python")
    (inner / "test_batch").write_bytes(b"cos\nsystem\n(S'touch trace'\ntR.")
    with pytest.raises(InputError, match=r"test_batch .* holds os\.system"):
        read_cifar("cifar10", tmp_path, partial=True)


@pytest.mark.parametrize("path", ["../escaped", "/escaped", "cifar-10-batches-py/../../escaped"])
def test_archive_with_a_path_out_of_its_folder_is_refused(tmp_path, path):
    archive(tmp_path, "cifar10", "python", extra=tarfile.TarInfo(path))
    with pytest.raises(InputError, match=f"cifar-10-python.tar.gz holds '{path}'"):
        read_cifar("cifar10", tmp_path, partial=True)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_archive_with_a_link_or_device_is_refused(tmp_path, kind):
    member = tarfile.TarInfo("cifar-10-batches-py/test_batch")
    member.type, member.linkname = kind, "/etc/hostname"
    archive(tmp_path, "cifar10", "python", extra=member)
    with pytest.raises(InputError, match="'cifar-10-batches-py/test_batch', a link or device"):
        read_cifar("cifar10", tmp_path, partial=True)


def test_member_larger_than_any_published_file_is_refused_unread(tmp_path, monkeypatch):
    archive(tmp_path, "cifar10", "python")
    monkeypatch.setattr("rfmodel.datasets.finding.LARGEST_MEMBER", 1000)
    with pytest.raises(InputError, match=r"'cifar-10-batches-py/data_batch_1' of \d+ bytes"):
        read_cifar("cifar10", tmp_path, partial=True)


@pytest.mark.parametrize("cut", [0, 10, 5000, -20000])
def test_truncated_archive_is_named(tmp_path, cut):
    path = archive(tmp_path, "cifar10", "python")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match=r"cifar-10-python\.tar\.gz (cannot be read|lacks)"):
        read_cifar("cifar10", tmp_path, partial=True)


def test_file_that_is_no_archive_is_named(tmp_path):
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"<html>not found</html>" * 100)
    with pytest.raises(InputError, match=r"cifar-10-python\.tar\.gz cannot be read"):
        read_cifar("cifar10", tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read any file")
def test_file_that_may_not_be_read_is_named(tmp_path):
    inner = write(tmp_path, "cifar10", "python")
    (inner / "test_batch").chmod(0)
    with pytest.raises(InputError, match="test_batch cannot be read"):
        read_cifar("cifar10", tmp_path, partial=True)


def test_there_are_ten_and_a_hundred_different_classes():
    assert {name: len(set(classes)) for name, classes in CLASSES.items()} == {"cifar10": 10, "cifar100": 100}
    assert list(CLASSES["cifar100"]) == sorted(CLASSES["cifar100"])

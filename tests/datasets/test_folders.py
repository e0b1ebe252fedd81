"""Image folders: which files are whose class, and one line for each way in which a folder is amiss."""

from __future__ import annotations

import shutil

import pytest
from pictures import encoded, flat, write_folder

from rfmodel.datasets import load
from rfmodel.datasets.folders import class_names, image_root, listed, parts
from rfmodel.errors import InputError, MissingData


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "pictures", "cat ant bee", 2, 1)


def test_classes_are_sorted_by_name_and_files_within_them(folder):
    (folder / "train" / "bee" / "000.JPEG").write_bytes(encoded(flat(1)))
    (folder / "train" / "bee" / "later").mkdir()
    (folder / "train" / "bee" / "later" / "000.png").write_bytes(encoded(flat(1), "PNG"))
    every = class_names(folder)
    listing, strays = listed(folder, "train", every, 3)
    assert every == ("ant", "bee", "cat") and strays == []
    assert listing.names == (
        "train/ant/000.jpg",
        "train/ant/001.jpg",
        "train/bee/000.JPEG",
        "train/bee/000.jpg",
        "train/bee/001.jpg",
        "train/bee/later/000.png",
        "train/cat/000.jpg",
        "train/cat/001.jpg",
    )
    assert listing.labels.tolist() == [0, 0, 1, 1, 1, 1, 2, 2]
    assert listing.sizes.tolist() == [(folder / name).stat().st_size for name in listing.names]


def test_a_listing_without_rows_keeps_the_others_in_order(folder):
    listing, _ = listed(folder, "train", class_names(folder), 3)
    less = listing.without([4, 0])
    assert less.names == tuple(listing.names[row] for row in (1, 2, 3, 5))
    assert less.labels.tolist() == [0, 1, 1, 2] and less.path(0) == folder / "train/ant/001.jpg"


def test_hidden_files_and_folders_are_passed_over(folder):
    (folder / "train" / "ant" / ".DS_Store").write_bytes(b"x")
    (folder / "train" / ".cache").mkdir()
    (folder / "train" / "ant" / ".cache").mkdir()
    (folder / "train" / "ant" / ".cache" / "0.jpg").write_bytes(b"x")
    listing, strays = listed(folder, "train", class_names(folder), 3)
    assert len(listing) == 6 and strays == []


def test_val_tests_unless_test_has_class_folders(folder):
    assert parts(folder) == (None, "val")
    (folder / "test").mkdir()
    (folder / "test" / "unlabelled.jpg").write_bytes(encoded(flat(1)))
    assert parts(folder) == (None, "val")
    shutil.copytree(folder / "val", folder / "test", dirs_exist_ok=True)
    assert parts(folder) == ("val", "test")
    shutil.rmtree(folder / "val")
    assert parts(folder) == (None, "test")


def test_a_subfolder_of_the_data_folder_may_be_named(folder, monkeypatch):
    monkeypatch.setenv("RFMODEL_DATA", str(folder.parent))
    assert image_root(None, "pictures") == image_root(folder) == folder


@pytest.mark.parametrize("path", ["../pictures", "a/../../b", "/", "outside"])
def test_a_path_out_of_the_data_folder_is_refused(folder, tmp_path, path):
    (folder / "outside").symlink_to(tmp_path)
    with pytest.raises(InputError, match=f"path='{path}' was asked for, which leads out of {folder}"):
        image_root(folder, path)


def without_train(folder):
    shutil.rmtree(folder / "train")


def without_val(folder):
    shutil.rmtree(folder / "val")


def without_classes(folder):
    shutil.rmtree(folder / "train")
    (folder / "train").mkdir()
    (folder / "train" / "0.jpg").write_bytes(b"x")


def with_an_empty_class(folder):
    (folder / "train" / "dog").mkdir()
    (folder / "val" / "dog").mkdir()


def with_an_empty_class_in_val(folder):
    (folder / "val" / "bee" / "000.jpg").unlink()


def with_a_class_in_val_alone(folder):
    (folder / "val" / "dog").mkdir()


def with_a_class_in_train_alone(folder):
    shutil.rmtree(folder / "val" / "cat")


@pytest.mark.parametrize(
    ("spoil", "kind", "message"),
    [
        (shutil.rmtree, MissingData, "image_folder was asked for, but {folder} is not a folder: one with train/<cl"),
        (without_train, MissingData, r"image_folder in {folder} has no train/ \(found are val/\): .* would do"),
        (without_val, MissingData, r"image_folder in {folder} has no val/ \(found are train/\): .* would do"),
        (without_classes, InputError, "{folder}/train holds 0 class folders and 1 files: two or more folders"),
        (with_an_empty_class, InputError, r"class folder {folder}/train/dog holds no image \(.jpg, .jpeg, .png\)"),
        (with_an_empty_class_in_val, InputError, "class folder {folder}/val/bee holds no image"),
        (with_a_class_in_val_alone, InputError, "class 'dog' is in {folder}/val, but train/ has no such folder among"),
        (with_a_class_in_train_alone, InputError, "class 'cat' of train/ is not in {folder}/val, which has 2 classes"),
    ],
)
def test_what_is_amiss_is_named_in_one_line(folder, spoil, kind, message):
    spoil(folder)
    with pytest.raises(kind, match=message.format(folder=folder)) as caught:
        load("image_folder", folder=folder)
    assert "\n" not in str(caught.value)


def test_a_folder_must_be_given(monkeypatch):
    monkeypatch.delenv("RFMODEL_DATA", raising=False)
    with pytest.raises(MissingData, match="image_folder was asked for, but no data folder was given: .* would do$"):
        load("image_folder")


def test_a_folder_that_cannot_be_listed_is_named(folder, monkeypatch):
    def broken(*_, **__):
        raise OSError(5, "Input/output error", str(folder))

    monkeypatch.setattr("rfmodel.datasets.folders.os.walk", broken)
    with pytest.raises(InputError, match=f"{folder} cannot be read .Input/output error.: a whole copy would do"):
        listed(folder, "train", class_names(folder), 3)

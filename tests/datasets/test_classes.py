"""Class subsets: the first classes of a set, labels as published, in every split."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pictures import write_folder
from published import write

from rfmodel.datasets import load, shape_of
from rfmodel.datasets.cifar import read_cifar
from rfmodel.datasets.images import grey
from rfmodel.datasets.layouts import CLASSES
from rfmodel.datasets.natural import PHOTOGRAPHS
from rfmodel.errors import InputError

SMALL = {"train_per_class": 20, "test_per_class": 5}


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, "cifar10", "python", rows=40)
    write_folder(tmp_path)
    return tmp_path


def options(name):
    return {"natural_patches": SMALL, "cifar10": {"partial": True}, "image_folder": {"colour": True, "size": 8}}[name]


@pytest.mark.parametrize("name", ["natural_patches", "cifar10", "image_folder"])
def test_every_split_holds_the_first_classes_and_no_other(folder, name):
    whole, part = (load(name, folder=folder, classes=n, validation=0.25, **options(name)) for n in (None, 2))
    assert part.classes == whole.classes[:2]
    for split in (part.train, part.validation, part.test):
        assert split.labels.unique().tolist() == [0, 1]
    assert torch.equal(part.test.images, whole.test.images[whole.test.labels < 2])
    both = [torch.cat([each.train.images, each.validation.images]) for each in (whole, part)]
    labels = torch.cat([whole.train.labels, whole.validation.labels])
    rows = [sorted(image.numpy().tobytes() for image in images) for images in (both[0][labels < 2], both[1])]
    assert rows[0] == rows[1]


def test_labels_are_as_published_and_validation_is_held_out_of_what_is_left(folder):
    part = load("cifar10", folder=folder, partial=True, classes=5, validation=0.25)
    published, test, _ = read_cifar("cifar10", folder, partial=True)
    assert np.array_equal(part.test.images, grey(test.images)[test.labels < 5])
    assert np.array_equal(part.test.labels, test.labels[test.labels < 5])
    counts = np.bincount(published.labels)[:5]
    assert (part.validation.labels.bincount() + part.train.labels.bincount()).tolist() == counts.tolist()
    assert part.validation.labels.bincount().tolist() == np.round(counts / 4).astype(int).tolist()


@pytest.mark.parametrize("name", ["natural_patches", "cifar10", "image_folder"])
def test_all_classes_by_number_are_the_whole_set(folder, name):
    total = {"natural_patches": len(PHOTOGRAPHS), "cifar10": 10, "image_folder": 3}[name]
    whole, all_of_it = (load(name, folder=folder, classes=n, **options(name)) for n in (None, total))
    assert whole.fingerprint == all_of_it.fingerprint and whole.classes == all_of_it.classes


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({"name": "cifar100", "classes": 65}, 65),
        ({"name": "cifar10", "classes": None}, 10),
        ({"name": "natural_patches", "classes": 3}, 3),
        ({"name": "natural_patches", "classes": ["moon", "coins"]}, 2),
        ({"name": "natural_patches", "classes": None, "options": {"classes": ["moon", "coins"]}}, 2),
        ({"name": "natural_patches"}, len(PHOTOGRAPHS)),
        ({"name": "image_folder", "classes": 100}, 100),
    ],
)
def test_shape_knows_the_number_of_classes_without_data(settings, count):
    assert shape_of(settings)[1] == count


def test_shape_of_an_image_folder_counts_its_class_folders(folder, monkeypatch):
    assert shape_of({"name": "image_folder", "colour": True}, folder) == ((3, 224, 224), 3)
    monkeypatch.setenv("RFMODEL_DATA", str(folder.parent))
    settings = {"name": "image_folder", "size": 64, "options": {"path": folder.name}}
    assert shape_of(settings) == ((1, 64, 64), 3)
    loaded = load("image_folder", folder=folder, size=16)
    assert (loaded.image_shape, len(loaded.classes)) == shape_of({"name": "image_folder", "size": 16}, folder)


@pytest.mark.parametrize("asked", [1, 0, -3, 1000, True])
@pytest.mark.parametrize("name", ["natural_patches", "cifar10", "image_folder"])
def test_subsets_that_cannot_be_name_both_numbers(folder, name, asked):
    total = {"natural_patches": len(PHOTOGRAPHS), "cifar10": 10, "image_folder": 3}[name]
    message = f"classes={asked} was asked for, but {name} has {total} classes: 2 to {total} would do"
    with pytest.raises(InputError, match=message):
        load(name, folder=folder, classes=asked, **options(name))
    if name != "image_folder":
        with pytest.raises(InputError, match=message):
            shape_of({"name": name, "classes": asked})


def test_names_choose_photographs_only(folder):
    with pytest.raises(InputError, match=r"classes=\['cat', 'dog'\] was asked for, but cifar10 has 10 classes"):
        load("cifar10", folder=folder, partial=True, classes=["cat", "dog"])
    assert len(CLASSES["cifar10"]) == 10

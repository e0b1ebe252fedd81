"""One door: names, options, held-out validation, and a test split that nothing touches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from published import write

from rfmodel.datasets import DATASETS, Dataset, load
from rfmodel.datasets.cifar import read_cifar
from rfmodel.datasets.images import area_mean, grey
from rfmodel.errors import InputError, MissingData

SMALL = {"train_per_class": 20, "test_per_class": 5}


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, "cifar10", "python", rows=40)
    return tmp_path


def rows(split):
    return {image.numpy().tobytes() for image in split.images}


@pytest.mark.parametrize("name", ["natural_patches", "cifar10", "cifar100"])
def test_every_registered_name_loads_splits_of_uint8_images_and_int64_labels(tmp_path, name):
    assert name in DATASETS
    options = SMALL if name == "natural_patches" else {"partial": True}
    if name != "natural_patches":
        write(tmp_path, name, "binary", rows=500)
    dataset = load(name, folder=tmp_path, validation=0.2, **options)
    assert isinstance(dataset, Dataset) and dataset.name == name
    assert dataset.image_shape == (1, 32, 32)
    for split in (dataset.train, dataset.validation, dataset.test):
        assert (split.images.dtype, split.labels.dtype) == (torch.uint8, torch.int64)
        assert split.images.shape == (len(split), 1, 32, 32) and len(split) > 0
        assert split.labels.min() >= 0 and split.labels.max() < len(dataset.classes)


def test_validation_is_held_out_of_train_by_class_and_the_same_for_every_run(folder):
    dataset, again = (load("cifar10", folder=folder, partial=True, validation=0.25) for _ in range(2))
    published = read_cifar("cifar10", folder, partial=True)[0]
    assert not rows(dataset.train) & rows(dataset.validation)
    assert len(rows(dataset.train) | rows(dataset.validation)) == len(published.labels) == 200
    assert dataset.validation.labels.bincount().tolist() == [5] * 10
    assert torch.equal(dataset.validation.images, again.validation.images)


def test_test_split_is_as_published_whatever_else_is_asked(folder):
    test = read_cifar("cifar10", folder, partial=True)[1]
    for options in ({}, {"validation": 0.5}, {"train": 30}):
        dataset = load("cifar10", folder=folder, partial=True, **options)
        assert np.array_equal(dataset.test.images, grey(test.images))
        assert np.array_equal(dataset.test.labels, test.labels)


def test_colour_keeps_the_three_planes_and_size_takes_area_means(folder):
    test = read_cifar("cifar10", folder, partial=True)[1]
    colour = load("cifar10", folder=folder, partial=True, colour=True)
    assert np.array_equal(colour.test.images, test.images)
    small = load("cifar10", folder=folder, partial=True, size=16)
    assert np.array_equal(small.test.images, area_mean(grey(test.images), 2))


def test_train_takes_the_classes_in_turn_and_leaves_validation_alone(folder):
    whole, part = (load("cifar10", folder=folder, partial=True, train=count) for count in (None, 50))
    assert part.train.labels.bincount().tolist() == [5] * 10
    assert rows(part.train) <= rows(whole.train)
    assert torch.equal(part.validation.images, whole.validation.images)
    assert part.fingerprint != whole.fingerprint


def test_no_validation_leaves_every_image_to_training(folder):
    dataset = load("cifar10", folder=folder, partial=True, validation=0.0)
    assert (len(dataset.train), len(dataset.validation)) == (200, 0)
    assert len(load("natural_patches", validation=0, **SMALL).validation) == 0


def test_fingerprint_is_the_same_for_every_layout_of_the_same_images(tmp_path):
    prints = set()
    for kind in ("python", "binary"):
        write(tmp_path / kind, "cifar10", kind)
        prints.add(load("cifar10", folder=tmp_path / kind, partial=True).fingerprint)
    assert len(prints) == 1


def test_natural_patches_take_their_options_through_the_door():
    dataset = load("natural_patches", size=16, classes=["coins", "moon"], seed=3, reduction=1, **SMALL)
    assert dataset.classes == ("coins", "moon")
    assert dataset.image_shape == (1, 16, 16)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (36, 4, 10)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "cifar",
            {},
            "data set 'cifar' is unknown: known are cifar10, cifar100, image_folder, natural_patches; did",
        ),
        ("natural_patches", {"colour": True}, "colour was asked for, but natural_patches is grey"),
        ("natural_patches", {"sed": 1}, "option 'sed' of natural_patches is unknown.*did you mean 'seed'"),
        ("natural_patches", {"partial": True}, "option 'partial' of natural_patches is unknown"),
        ("natural_patches", {"train": 10**6}, "train=1000000 images were asked for, but 1 to"),
        ("natural_patches", {"train_per_class": 1, "validation": 0.9}, "validation=0.9 .*no training image"),
        ("cifar10", {"size": 12}, "size=12 was asked for, but the images have 32 x 32"),
        ("cifar10", {"size": 64}, "size=64"),
        ("cifar10", {"seed": 1}, "option 'seed' of cifar10 is unknown: known are partial"),
        ("cifar10", {"validation": -0.5, "partial": True}, "validation=-0.5"),
    ],
)
def test_impossible_requests_name_the_value(folder, name, options, message):
    with pytest.raises(InputError, match=message) as caught:
        load(name, folder=folder, **options)
    assert "\n" not in str(caught.value)


def test_missing_data_is_told_from_bad_settings(tmp_path):
    with pytest.raises(MissingData, match="cifar100 was not found in"):
        load("cifar100", folder=tmp_path)

"""The published CIFAR files themselves, where RFMODEL_DATA points to them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from rfmodel.datasets import load
from rfmodel.datasets.cifar import read_cifar
from rfmodel.datasets.finding import find
from rfmodel.datasets.layouts import CLASSES, LAYOUTS
from rfmodel.datasets.restricted_pickle import read_record
from rfmodel.errors import MissingData


@pytest.fixture(params=sorted(LAYOUTS))
def name(request):
    folder = os.environ.get("RFMODEL_DATA")
    if not folder:
        pytest.skip("RFMODEL_DATA is not set: it names the folder of the published CIFAR files")
    try:
        find(request.param, Path(folder))
    except MissingData as error:
        pytest.skip(str(error))
    return request.param


def test_published_files_hold_sixty_thousand_images_with_classes_of_equal_size(name):
    train, test, _ = read_cifar(name)
    classes = len(CLASSES[name])
    assert np.bincount(train.labels).tolist() == [50_000 // classes] * classes
    assert np.bincount(test.labels).tolist() == [10_000 // classes] * classes
    assert train.images.shape == (50_000, 3, 32, 32) and test.images.shape == (10_000, 3, 32, 32)


def test_class_names_are_those_of_the_published_meta_file(name):
    found = find(name, Path(os.environ["RFMODEL_DATA"]))
    meta = found.path / {"cifar10": "batches.meta", "cifar100": "meta"}[name]
    if not meta.is_file():
        pytest.skip(f"no {meta.name} beside the batch files")
    record = read_record(meta.read_bytes())
    names = record[{"cifar10": "label_names", "cifar100": "fine_label_names"}[name]]
    assert tuple(n.decode() if isinstance(n, bytes) else n for n in names) == CLASSES[name]


def test_loaded_splits_are_grey_stratified_and_complete(name):
    dataset = load(name, size=16)
    assert dataset.image_shape == (1, 16, 16)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (45_000, 5_000, 10_000)
    assert len(dataset.validation.labels.bincount().unique()) == 1

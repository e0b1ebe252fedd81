"""One door to every data set, by its name from the literature."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from rfmodel.datasets.cifar import Arrays, read_cifar
from rfmodel.datasets.dataset import Dataset, Split, fingerprint
from rfmodel.datasets.images import area_mean, grey
from rfmodel.datasets.layouts import CLASSES
from rfmodel.datasets.natural import PHOTOGRAPHS, natural_patches
from rfmodel.datasets.progress import Progress
from rfmodel.datasets.stratify import first_rows, hold_out
from rfmodel.errors import InputError, nearest, one_of

HOLD_OUT_SEED = 20190  # fixed, so that every run of every study chooses by the same images


def load(
    name: str,
    *,
    folder: str | Path | None = None,
    colour: bool = False,
    size: int | None = None,
    train: int | None = None,
    validation: float = 0.1,
    progress: Progress | None = None,
    **options: object,
) -> Dataset:
    """Return a data set by name, on the processor; `.to(device)` moves it.

    Parameters
    ----------
    name : natural_patches, cifar10 or cifar100.
    folder : where the published files lie; the environment variable RFMODEL_DATA where None. Natural patches
        are built in and look nowhere.
    colour : RGB, where the data set has it; grey (ITU-R BT.601 luma) otherwise.
    size : side in pixels; for CIFAR a divisor of 32, reached by area means, for natural patches the patch's
        own side.
    train : take this many training images only, the classes in turn, after validation is held out.
    validation : share of the training images held out, stratified by class.
    progress : called with what is being done, how much is done and how much there is.
    **options : natural_patches: classes, train_per_class, test_per_class, seed, reduction; cifar10 and
        cifar100: partial (admit files with fewer rows than published).

    Raises
    ------
    MissingData
        If the files are not there.
    InputError
        If a name, option or number is none that would do, or a file is corrupt.
    """
    read = DATASETS[one_of("data set", name, DATASETS)]
    known = set(inspect.signature(OPTIONS[name]).parameters) - set(inspect.signature(load).parameters)
    for option in options:
        if option not in known:
            raise InputError(
                f"option '{option}' of {name} is unknown: known are {', '.join(sorted(known))}{nearest(option, known)}"
            )
    dataset = read(name, folder, colour, size, validation, progress, options)
    if not len(dataset.train):
        raise InputError(f"validation={validation} was asked for and leaves no training image: less would do")
    if train is None:
        return dataset
    kept = dataset.train[torch.from_numpy(first_rows(dataset.train.labels.numpy(), train))]
    return _dataset(name, (kept, dataset.validation, dataset.test), dataset.classes, dataset.source)


def _natural(
    name: str,
    folder: str | Path | None,
    colour: bool,
    size: int | None,
    validation: float,
    progress: Progress | None,
    options: dict[str, object],
) -> Dataset:
    if colour:
        raise InputError(
            "colour was asked for, but natural_patches is grey, as some of its photographs are: "
            "cifar10 or cifar100 would do"
        )
    patches = natural_patches(32 if size is None else size, validation=validation, **options)
    classes = tuple(options.get("classes") or PHOTOGRAPHS)
    splits = tuple(_split(part.images, part.labels) for part in patches)
    return _dataset(name, splits, classes, "photographs in scikit-image's wheel")


def _cifar(
    name: str,
    folder: str | Path | None,
    colour: bool,
    size: int | None,
    validation: float,
    progress: Progress | None,
    options: dict[str, object],
) -> Dataset:
    factor = _factor(size)
    published, test, source = read_cifar(name, folder, progress=progress, **options)
    kept, held = hold_out(published.labels, validation, HOLD_OUT_SEED)
    published, test = (
        Arrays(area_mean(part.images if colour else grey(part.images), factor), part.labels)
        for part in (published, test)
    )
    splits = (
        _split(published.images[kept], published.labels[kept]),
        _split(published.images[held], published.labels[held]),
        _split(*test),
    )
    return _dataset(name, splits, CLASSES[name], source)


def _factor(size: int | None) -> int:
    if size is None:
        return 1
    if not isinstance(size, int) or size < 1 or 32 % size:
        raise InputError(f"size={size} was asked for, but the images have 32 x 32 pixels: 32, 16, 8 or 4 would do")
    return 32 // size


def _split(images: np.ndarray, labels: np.ndarray) -> Split:
    return Split(torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(np.ascontiguousarray(labels)))


def _dataset(name: str, splits: tuple[Split, Split, Split], classes: tuple[str, ...], source: str) -> Dataset:
    return Dataset(name, *splits, classes, fingerprint(*splits), source)


DATASETS: dict[str, Callable[..., Dataset]] = {
    "natural_patches": _natural,
    "cifar10": _cifar,
    "cifar100": _cifar,
}
OPTIONS: dict[str, Callable[..., object]] = {
    "natural_patches": natural_patches,
    "cifar10": read_cifar,
    "cifar100": read_cifar,
}

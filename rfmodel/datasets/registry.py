"""One door to every data set, by its name from the literature."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from rfmodel.datasets.cifar import Arrays, read_cifar
from rfmodel.datasets.dataset import Dataset, Split, fingerprint
from rfmodel.datasets.folders import class_names, image_root
from rfmodel.datasets.image_folder import FolderOptions, open_folder
from rfmodel.datasets.images import area_mean, grey
from rfmodel.datasets.layouts import CLASSES
from rfmodel.datasets.natural import PHOTOGRAPHS, natural_patches
from rfmodel.datasets.progress import Progress
from rfmodel.datasets.shapes import check_classes
from rfmodel.datasets.stratify import check_fraction, first_rows, hold_out
from rfmodel.datasets.streaming import StreamedSplit
from rfmodel.errors import InputError, nearest, one_of

HOLD_OUT_SEED = 20190  # fixed, so that every run of every study chooses by the same images
Parts = tuple[Split | StreamedSplit, Split | StreamedSplit, Split | StreamedSplit]


@dataclass(frozen=True)
class Asked:
    """What `load` was asked for, as its parameters say it; `options` are the data set's own."""

    name: str
    folder: str | Path | None
    colour: bool
    size: int | None
    train: int | None
    validation: float
    classes: int | Sequence[str] | None
    progress: Progress | None
    options: Mapping[str, object]

    def first_classes(self, known: int) -> int:
        """Return how many classes are taken, of `known`."""
        return check_classes(self.name, self.classes, known)


def load(
    name: str,
    *,
    folder: str | Path | None = None,
    colour: bool = False,
    size: int | None = None,
    train: int | None = None,
    validation: float = 0.1,
    classes: int | Sequence[str] | None = None,
    progress: Progress | None = None,
    **options: object,
) -> Dataset:
    """Return a data set by name, on the processor; `.to(device)` moves it.

    Parameters
    ----------
    name : natural_patches, cifar10, cifar100 or image_folder.
    folder : where the published files lie; the environment variable RFMODEL_DATA where None. Natural patches
        are built in and look nowhere.
    colour : RGB, where the data set has it; grey (ITU-R BT.601 luma) otherwise.
    size : side in pixels; for CIFAR a divisor of 32, reached by area means, for natural patches the patch's
        own side, for image folders that of the crops (224).
    train : take this many training images only, the classes in turn, after validation is held out.
    validation : share of the training images held out, stratified by class; an image folder with test/ has its own
        validation images in val/, and nothing is held out.
    classes : take the first so many classes only, labels as published, in every split; validation is held out of what
        is left. For natural_patches also the names of photographs.
    progress : called with what is being done, how much is done and how much there is.
    **options : natural_patches: train_per_class, test_per_class, seed, reduction; cifar10 and
        cifar100: partial (admit files with fewer rows than published); image_folder: those of `FolderOptions`.

    Raises
    ------
    MissingData
        If the files are not there.
    InputError
        If a name, option or number is none that would do, or a file is corrupt.
    """
    read = DATASETS[one_of("data set", name, DATASETS)]
    check_options(name, options)
    return read(Asked(name, folder, colour, size, train, validation, classes, progress, options))


def check_options(name: str, options: Mapping[str, object]) -> None:
    """Refuse options that a data set does not know, without opening it.

    Raises
    ------
    InputError
        If an option is unknown, or one of an image folder none that would do.
    """
    taken = set(inspect.signature(load).parameters) - {"classes"}  # a list of names for natural_patches
    known = set(inspect.signature(OPTIONS[one_of("data set", name, OPTIONS)]).parameters) - taken
    for option in options:
        if option not in known:
            raise InputError(
                f"option '{option}' of {name} is unknown: known are {', '.join(sorted(known))}{nearest(option, known)}"
            )
    if name == "image_folder":
        FolderOptions(**options)


def _natural(asked: Asked) -> Dataset:
    if asked.colour:
        raise InputError(
            "colour was asked for, but natural_patches is grey, as some of its photographs are: "
            "cifar10 or cifar100 would do"
        )
    named = asked.classes is not None and not isinstance(asked.classes, int)
    names = tuple(asked.classes) if named else tuple(PHOTOGRAPHS)[: asked.first_classes(len(PHOTOGRAPHS))]
    size = 32 if asked.size is None else asked.size
    patches = natural_patches(size, names, validation=asked.validation, **asked.options)
    splits = tuple(_split(part.images, part.labels) for part in patches)
    return _dataset(asked, splits, names, "photographs in scikit-image's wheel")


def _cifar(asked: Asked) -> Dataset:
    factor, count = _factor(asked.size), asked.first_classes(len(CLASSES[asked.name]))
    published, test, source = read_cifar(asked.name, asked.folder, progress=asked.progress, **asked.options)
    published, test = (_first_classes(part, count) for part in (published, test))
    kept, held = hold_out(published.labels, asked.validation, HOLD_OUT_SEED)
    published, test = (
        Arrays(area_mean(part.images if asked.colour else grey(part.images), factor), part.labels)
        for part in (published, test)
    )
    splits = (
        _split(published.images[kept], published.labels[kept]),
        _split(published.images[held], published.labels[held]),
        _split(*test),
    )
    return _dataset(asked, splits, CLASSES[asked.name][:count], source)


def _folder(asked: Asked) -> Dataset:
    check_fraction(asked.validation)
    options = FolderOptions(**asked.options)
    count = asked.first_classes(len(class_names(image_root(asked.folder, options.path))))
    opened = open_folder(
        asked.folder, options, size=asked.size, colour=asked.colour, classes=count, progress=asked.progress
    )
    train, validation = opened.train, opened.validation
    if validation is None:
        kept, held = (
            torch.from_numpy(rows) for rows in hold_out(train.labels.numpy(), asked.validation, HOLD_OUT_SEED)
        )
        train, validation = train[kept], train[held]
        validation = dataclasses.replace(validation, random=False)
    return opened.settled(_dataset(asked, (train, validation, opened.test), opened.classes, opened.source))


def _factor(size: int | None) -> int:
    if size is None:
        return 1
    if not isinstance(size, int) or size < 1 or 32 % size:
        raise InputError(f"size={size} was asked for, but the images have 32 x 32 pixels: 32, 16, 8 or 4 would do")
    return 32 // size


def _first_classes(part: Arrays, count: int) -> Arrays:
    within = part.labels < count
    return part if within.all() else Arrays(part.images[within], part.labels[within])


def _split(images: np.ndarray, labels: np.ndarray) -> Split:
    return Split(torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(np.ascontiguousarray(labels)))


def _dataset(asked: Asked, splits: Parts, classes: tuple[str, ...], source: str) -> Dataset:
    train, validation, test = splits
    if not len(train):
        raise InputError(f"validation={asked.validation} was asked for and leaves no training image: less would do")
    if asked.train is not None:
        train = train[torch.from_numpy(first_rows(train.labels.numpy(), asked.train))]
    return Dataset(asked.name, train, validation, test, classes, fingerprint(train, validation, test), source)


DATASETS: dict[str, Callable[[Asked], Dataset]] = {
    "natural_patches": _natural,
    "cifar10": _cifar,
    "cifar100": _cifar,
    "image_folder": _folder,
}
OPTIONS: dict[str, Callable[..., object]] = {
    "natural_patches": natural_patches,
    "cifar10": read_cifar,
    "cifar100": read_cifar,
    "image_folder": FolderOptions,
}

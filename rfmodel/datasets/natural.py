"""Built-in natural images: grey patches of photographs inside scikit-image's wheel, labelled by photograph.

The photographs are read by path from the installed package, so nothing is ever downloaded. Each is made grey,
reduced by area means and cut across its longer side into three regions: training, validation and test.
Patches lie wholly inside one region and a margin separates the regions, so no pixel is in two splits.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from rfmodel.datasets.images import area_mean, grey
from rfmodel.datasets.stratify import check_fraction
from rfmodel.errors import InputError, one_of

PHOTOGRAPHS: dict[str, str] = {
    "astronaut": "astronaut.png",
    "brick": "brick.png",
    "camera": "camera.png",
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "coins": "coins.png",
    "grass": "grass.png",
    "gravel": "gravel.png",
    "hubble_deep_field": "hubble_deep_field.jpg",
    "moon": "moon.png",
    "motorcycle": "motorcycle_left.png",
    "rocket": "rocket.jpg",
}
TRAIN_SHARE = 0.60  # of the longer side, before margins; validation and test share the rest equally
MARGIN = 4  # pixels of the reduced photograph between two regions
LEAST_DEVIATION = 5.0  # grey levels; a patch below is nearly constant (empty sky) and tells of nothing


@dataclass(frozen=True)
class Region:
    """A half-open rectangle of a photograph, in pixels: rows top to bottom, columns left to right."""

    top: int
    left: int
    bottom: int
    right: int


@dataclass(frozen=True)
class Patches:
    """Patches of one split.

    Parameters
    ----------
    images : (n, 1, size, size) uint8.
    labels : (n,) int64, the photograph.
    corners : (n, 2) int64, row and column of the top left pixel in the reduced photograph.
    """

    images: UInt8[np.ndarray, "n 1 size size"]
    labels: Int64[np.ndarray, " n"]
    corners: Int64[np.ndarray, "n 2"]


def natural_patches(
    size: int = 32,
    classes: tuple[str, ...] | list[str] | None = None,
    train_per_class: int = 1000,
    test_per_class: int = 200,
    seed: int = 0,
    *,
    validation: float = 0.1,
    reduction: int = 2,
) -> tuple[Patches, Patches, Patches]:
    """Return grey patches of photographs for training, validation and test, each split from its own regions.

    Places are drawn without replacement, uniformly over those where the patch's standard deviation is at
    least 5 grey levels; patches of one split may overlap. `train_per_class` counts training and validation
    patches together.

    Parameters
    ----------
    size : side of a patch in pixels of the reduced photograph.
    classes : names of photographs, all twelve where None; labels follow this order.
    train_per_class, test_per_class : patches of each photograph.
    seed : of the draw of places.
    validation : share of `train_per_class` taken from the validation region, in [0, 1).
    reduction : side of the blocks of original pixels that one pixel averages over.

    Returns
    -------
    train, validation, test.

    Raises
    ------
    InputError
        If a photograph is unknown, a number is out of range, or a region has too few places.
    """
    names = [one_of("photograph", name, PHOTOGRAPHS) for name in (PHOTOGRAPHS if classes is None else classes)]
    _check(
        names,
        size=size,
        train_per_class=train_per_class,
        test_per_class=test_per_class,
        seed=seed,
        reduction=reduction,
    )
    check_fraction(validation)
    held = round(validation * train_per_class)
    counts = (train_per_class - held, held, test_per_class)
    drawn: list[list[tuple[np.ndarray, np.ndarray]]] = [[], [], []]
    for name in names:
        image = photograph(name, reduction)
        _check_room(name, size, *image.shape)
        # seeded by photograph and split: leaving a class out does not move the others' patches
        streams = np.random.default_rng([seed, list(PHOTOGRAPHS).index(name)]).spawn(3)
        for split, region, count, stream in zip(drawn, regions(*image.shape), counts, streams, strict=True):
            corners = _places(name, image, region, size, count, stream)
            split.append((_cut(image, corners, size), corners))
    return tuple(_stacked(split) for split in drawn)


def photograph(name: str, reduction: int = 2) -> UInt8[np.ndarray, "h w"]:
    """Return one photograph in grey, reduced by `reduction`, cut to a whole number of blocks at right and
    bottom.

    Raises
    ------
    InputError
        If the name is unknown or the installed scikit-image lacks the file.
    """
    from skimage.io import imread

    package = Path(importlib.util.find_spec("skimage").origin).parent
    file = package / "data" / PHOTOGRAPHS[one_of("photograph", name, PHOTOGRAPHS)]
    if not file.is_file():
        raise InputError(
            f"photograph '{name}' was asked for, but scikit-image has no {file}: reinstalling scikit-image would do"
        )
    image = imread(file)
    planes = image[None, None] if image.ndim == 2 else grey(image[None, ..., :3].transpose(0, 3, 1, 2))
    height, width = (side - side % reduction for side in planes.shape[2:])
    return area_mean(planes[:, :, :height, :width], reduction)[0, 0]


def regions(height: int, width: int) -> tuple[Region, Region, Region]:
    """Return the regions of training, validation and test in a photograph of `height` x `width` pixels.

    They follow one another along the longer side, with 4 pixels between them that belong to none.
    """
    length = max(height, width)
    first, second = round(TRAIN_SHARE * length), round((1 + TRAIN_SHARE) / 2 * length)
    spans = [(0, first), (first + MARGIN, second), (second + MARGIN, length)]
    if width >= height:
        return tuple(Region(0, start, height, stop) for start, stop in spans)
    return tuple(Region(start, 0, stop, width) for start, stop in spans)


def _places(
    name: str,
    image: UInt8[np.ndarray, "h w"],
    region: Region,
    size: int,
    count: int,
    stream: np.random.Generator,
) -> Int64[np.ndarray, "count 2"]:
    inside = image[region.top : region.bottom, region.left : region.right]
    places = np.argwhere(_deviation(inside, size) >= LEAST_DEVIATION)
    if len(places) < count:
        raise InputError(
            f"{count} patches of '{name}' were asked for in one split, but {len(places)} places are "
            "there: fewer patches per class, or a smaller reduction, would do"
        )
    return places[stream.choice(len(places), count, replace=False)] + (region.top, region.left)


def _deviation(image: UInt8[np.ndarray, "h w"], size: int) -> Float64[np.ndarray, "h-{size}+1 w-{size}+1"]:
    # sums over every window from running sums: exact in whole numbers, so no place depends on rounding
    level = image.astype(np.int64)
    total, squares = (_window_sums(values, size) for values in (level, level**2))
    return np.sqrt(squares * size**2 - total**2) / size**2


def _window_sums(values: Int64[np.ndarray, "h w"], size: int) -> Int64[np.ndarray, "h-{size}+1 w-{size}+1"]:
    running = np.pad(values.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    return running[size:, size:] - running[:-size, size:] - running[size:, :-size] + running[:-size, :-size]


def _cut(
    image: UInt8[np.ndarray, "h w"], corners: Int64[np.ndarray, "n 2"], size: int
) -> UInt8[np.ndarray, "n size size"]:
    windows = np.lib.stride_tricks.sliding_window_view(image, (size, size))
    return windows[corners[:, 0], corners[:, 1]]


def _stacked(split: list[tuple[np.ndarray, np.ndarray]]) -> Patches:
    labels = np.repeat(np.arange(len(split)), [len(corners) for _, corners in split])
    images, corners = (np.concatenate(parts) for parts in zip(*split, strict=True))
    return Patches(images[:, None], labels, corners)


def _check(names: list[str], **numbers: int) -> None:
    for key, value in numbers.items():
        least = 0 if key == "seed" else 1
        if not isinstance(value, int) or value < least:
            raise InputError(f"{key}={value} was asked for: a whole number of at least {least} would do")
    if len(set(names)) != len(names) or len(names) < 2:
        raise InputError(
            f"classes {', '.join(names) or '(none)'} were asked for: two or more different photographs would do"
        )


def _check_room(name: str, size: int, height: int, width: int) -> None:
    sides = [min(part.bottom - part.top, part.right - part.left) for part in regions(height, width)]
    if min(sides) < size:
        raise InputError(
            f"patches of size={size} were asked for, but the regions of '{name}' are {sides[0]}, {sides[1]}, "
            f"{sides[2]} pixels across: at most {min(sides)}, or a smaller reduction, would do"
        )

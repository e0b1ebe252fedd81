"""What shape a data set's images will have, from its settings alone: plans are checked without data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rfmodel.datasets.folders import NAME as FOLDER
from rfmodel.datasets.folders import class_names, image_root
from rfmodel.datasets.image_folder import SIZE as FOLDER_SIDE
from rfmodel.datasets.layouts import CLASSES
from rfmodel.datasets.natural import PHOTOGRAPHS
from rfmodel.errors import InputError, one_of

SIDE = 32  # pixels, where no size is asked for


def shape_of(settings: Mapping[str, Any], folder: str | Path | None = None) -> tuple[tuple[int, int, int], int]:
    """Return the image shape (channels, height, width) and the number of classes that `load` will give.

    Only an image folder whose number of classes is not among the settings is looked at, and only its list of classes.

    Parameters
    ----------
    settings : mapping
        Keyword arguments of `load`: name, colour, size, classes, options.
    folder : where image folders lie; the environment variable RFMODEL_DATA where None.

    Raises
    ------
    InputError
        If the name is unknown, the set has fewer classes than are asked for, or an image folder is not there.
    """
    name = one_of("data set", settings["name"], ["natural_patches", *CLASSES, FOLDER])
    options = settings.get("options", {})
    classes = options.get("classes", settings.get("classes"))
    colours, side = 3 if settings.get("colour") else 1, settings.get("size") or SIDE
    if name == "natural_patches":
        named = isinstance(classes, Sequence) and not isinstance(classes, str)
        return (1, side, side), len(classes) if named else check_classes(name, classes, len(PHOTOGRAPHS))
    if name == FOLDER:
        side = settings.get("size") or FOLDER_SIDE
        known = classes if isinstance(classes, int) else len(class_names(image_root(folder, options.get("path", ""))))
        return (colours, side, side), check_classes(name, classes, known)
    return (colours, side, side), check_classes(name, classes, len(CLASSES[name]))


def check_classes(name: str, asked: object, known: int) -> int:
    """Return how many classes of a data set are taken: all where `asked` is None.

    Raises
    ------
    InputError
        If `asked` is not a whole number from 2 to `known`.
    """
    if asked is None:
        return known
    if not isinstance(asked, int) or isinstance(asked, bool) or not 2 <= asked <= known:
        raise InputError(f"classes={asked} was asked for, but {name} has {known} classes: 2 to {known} would do")
    return asked

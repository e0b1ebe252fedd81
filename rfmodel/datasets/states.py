"""What is found of each data set, in a few words."""

from __future__ import annotations

from pathlib import Path

from rfmodel.datasets.folders import NAME as FOLDER
from rfmodel.datasets.folders import class_names, image_root, parts
from rfmodel.datasets.registry import DATASETS
from rfmodel.datasets.verify import verify
from rfmodel.errors import InputError, one_of


def state_of(name: str, folder: str | Path | None = None) -> str:
    """Return what is found of a data set: "built in", files found, classes of an image folder, or what is missing.

    Nothing is decoded, and no folder of images is read.

    Parameters
    ----------
    name : of a data set.
    folder : where to look; the environment variable RFMODEL_DATA where None.

    Raises
    ------
    InputError
        If the name is unknown.
    """
    if one_of("data set", name, DATASETS) == "natural_patches":
        return "built in"
    try:
        if name == FOLDER:
            root = image_root(folder)
            found = ("train", *(part for part in parts(root) if part is not None))
            return f"{len(class_names(root))} classes in {', '.join(f'{part}/' for part in found)}"
        files = verify(name, folder)
        return f"{sum(file.bytes is not None for file in files)} of {len(files)} files found"
    except InputError as error:
        return str(error)

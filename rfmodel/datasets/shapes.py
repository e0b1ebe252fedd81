"""What shape a data set's images will have, from its settings alone: plans are checked without data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rfmodel.datasets.layouts import CLASSES
from rfmodel.datasets.natural import PHOTOGRAPHS
from rfmodel.errors import one_of

SIDE = 32  # pixels, where no size is asked for


def shape_of(settings: Mapping[str, Any]) -> tuple[tuple[int, int, int], int]:
    """Return the image shape (channels, height, width) and the number of classes that `load` will give.

    Parameters
    ----------
    settings : mapping
        Keyword arguments of `load`: name, colour, size, options.

    Raises
    ------
    InputError
        If the name is unknown.
    """
    name = one_of("data set", settings["name"], ["natural_patches", *CLASSES])
    side = settings.get("size") or SIDE
    if name == "natural_patches":
        chosen = settings.get("options", {}).get("classes")
        return (1, side, side), len(chosen or PHOTOGRAPHS)
    return (3 if settings.get("colour") else 1, side, side), len(CLASSES[name])

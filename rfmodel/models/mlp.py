"""MLP: the dense network of Hanut & Kadmon's experiments on CIFAR-10 and CIFAR-100."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from rfmodel.errors import InputError

DEPTH = 4


class MLP(nn.Sequential):
    """Hidden layers, each dense (norm) relu, and dense logits.

    image -> flatten -> [layer{i}(width of i) (norm{i}) relu{i}] x depth -> logits(classes)

    Parameters
    ----------
    width : int or sequence of int
        Units of every hidden layer, or of each; () is the linear classifier.
    depth : int, optional
        Hidden layers, 4 by default; 0 is the linear classifier. Beside a sequence of widths, their number.
    batch_norm : bool
        Batch normalisation between a hidden layer and its relu.
    classes : int
    channels : int
        Channels of the image; 1 is grey.
    size : int
        Side of the image in pixels.

    Raises
    ------
    InputError
        If a width, `classes`, `channels` or `size` is not positive, `depth` negative or not the number of widths.

    Notes
    -----
    Hanut & Kadmon, appendix C.1, which contradicts itself: "a network with 4 hidden layers" by the text, whose
    structure line is "[Linear(512) -> ReLU] x 3 -> Linear(Output)". Four hidden layers are the default here;
    `depth=3` is the structure line, three hidden layers and four weight matrices. The appendix's "Kaiming Uniform" is
    taken to be torch's default for a dense layer, uniform within 1/sqrt(fan in).
    """

    def __init__(
        self,
        width: int | Sequence[int] = 512,
        depth: int | None = None,
        *,
        batch_norm: bool = False,
        classes: int = 10,
        channels: int = 3,
        size: int = 32,
    ) -> None:
        widths = _widths(width, depth)
        for name, value in (("classes", classes), ("channels", channels), ("size", size)):
            if value < 1:
                raise InputError(f"{name} {value} asked; an MLP needs at least 1")
        layers = OrderedDict(flatten=nn.Flatten())
        before = channels * size * size
        for i, units in enumerate(widths, start=1):
            layers[f"layer{i}"] = nn.Linear(before, units)
            if batch_norm:
                layers[f"norm{i}"] = nn.BatchNorm1d(units)
            layers[f"relu{i}"] = nn.ReLU()
            before = units
        layers["logits"] = nn.Linear(before, classes)
        super().__init__(layers)


def _widths(width: int | Sequence[int], depth: int | None) -> list[int]:
    if depth is not None and depth < 0:
        raise InputError(f"depth {depth} asked; an MLP needs at least 0, the linear classifier")
    if isinstance(width, int):
        widths = [width] * (DEPTH if depth is None else depth)
    else:
        widths = list(width)
        if depth not in (None, len(widths)):
            raise InputError(f"depth {depth} asked with {len(widths)} widths {widths}; give {depth}, or no depth")
    for i, units in enumerate(widths, start=1):
        if units < 1:
            raise InputError(f"width {units} asked for layer{i}; a hidden layer needs at least 1 unit")
    return widths

"""MLP: the dense network of Hanut & Kadmon's experiments on CIFAR-10 and CIFAR-100."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from rfmodel.errors import InputError


class MLP(nn.Sequential):
    """Hidden layers of `widths` units, each dense (norm) relu, and dense logits.

    image -> flatten -> [layer{i}(widths[i]) (norm{i}) relu{i}] -> logits(classes)

    Parameters
    ----------
    widths : sequence of int
        Units of each hidden layer; () is the linear classifier.
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
        If a width, `classes`, `channels` or `size` is not positive.

    Notes
    -----
    Hanut & Kadmon, appendix C.1, which contradicts itself: "a network with 4 hidden layers" by the text, whose
    structure line is "[Linear(512) -> ReLU] x 3 -> Linear(Output)". Four hidden layers are the default here;
    `widths=(512, 512, 512)` is the structure line, three hidden layers and four weight matrices. The appendix's
    "Kaiming Uniform" is taken to be torch's default for a dense layer, uniform within 1/sqrt(fan in).
    """

    def __init__(
        self,
        widths: Sequence[int] = (512, 512, 512, 512),
        *,
        batch_norm: bool = False,
        classes: int = 10,
        channels: int = 3,
        size: int = 32,
    ) -> None:
        for name, value in (("classes", classes), ("channels", channels), ("size", size)):
            if value < 1:
                raise InputError(f"{name} {value} asked; an MLP needs at least 1")
        for i, width in enumerate(widths, start=1):
            if width < 1:
                raise InputError(f"width {width} asked for layer{i}; a hidden layer needs at least 1 unit")
        layers = OrderedDict(flatten=nn.Flatten())
        before = channels * size * size
        for i, width in enumerate(widths, start=1):
            layers[f"layer{i}"] = nn.Linear(before, width)
            if batch_norm:
                layers[f"norm{i}"] = nn.BatchNorm1d(width)
            layers[f"relu{i}"] = nn.ReLU()
            before = width
        layers["logits"] = nn.Linear(before, classes)
        super().__init__(layers)

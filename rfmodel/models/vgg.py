"""VGG: the convolutional network with batch norm of Hanut & Kadmon's experiments on CIFAR-10 (Table C1)."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from rfmodel.errors import InputError

FILTERS = (64, 128, 256, 512)  # of each block's two convolutions
DENSE = 256
SMALLEST = 8  # three max pools of 2 leave one pixel


class VGG(nn.Module):
    """Four blocks of two 3 x 3 convolutions with batch norm, global average pooling, and a dense head.

    image -> block{1..4}: [conv norm relu] x 2, pool -> head: flatten dense(256) relu dropout logits(classes)

    `pool` is a 2 x 2 maximum in the first three blocks and the average over the image in the last.

    Parameters
    ----------
    width : float
        Multiplies the filters of every convolution and the units of the dense layer, rounded to whole numbers.
    dropout : float
    classes : int
    channels : int
        Channels of the image; 1 is grey.
    size : int
        Side of the image in pixels, at least 8; no parameter depends on it.

    Raises
    ------
    InputError
        If `width` leaves a layer without units, the image vanishes before the last block, or `dropout` is no
        probability below 1.

    Notes
    -----
    Hanut & Kadmon, appendix C.1, Table C1. The table says nothing of biases and initialisation: the convolutions
    have torch's default ones.
    """

    def __init__(
        self,
        width: float = 1.0,
        *,
        dropout: float = 0.4,
        classes: int = 10,
        channels: int = 3,
        size: int = 32,
    ) -> None:
        super().__init__()
        _check(width, dropout, classes, channels, size)
        filters = [round(width * f) for f in FILTERS]
        dense = round(width * DENSE)
        self.block1 = _block(channels, filters[0], nn.MaxPool2d(2))
        self.block2 = _block(filters[0], filters[1], nn.MaxPool2d(2))
        self.block3 = _block(filters[1], filters[2], nn.MaxPool2d(2))
        self.block4 = _block(filters[2], filters[3], nn.AdaptiveAvgPool2d(1))
        self.head = nn.Sequential(
            OrderedDict(
                flatten=nn.Flatten(),
                dense=nn.Linear(filters[3], dense),
                relu=nn.ReLU(),
                dropout=nn.Dropout(dropout),
                logits=nn.Linear(dense, classes),
            )
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (batch, classes) for images (batch, channels, size, size)."""
        return self.head(self.block4(self.block3(self.block2(self.block1(images)))))


def _block(before: int, after: int, pool: nn.Module) -> nn.Sequential:
    layers = OrderedDict()
    for i, incoming in enumerate((before, after), start=1):
        layers[f"conv{i}"] = nn.Conv2d(incoming, after, 3, padding=1)
        layers[f"norm{i}"] = nn.BatchNorm2d(after)
        layers[f"relu{i}"] = nn.ReLU()
    layers["pool"] = pool
    return nn.Sequential(layers)


def _check(width: float, dropout: float, classes: int, channels: int, size: int) -> None:
    if round(width * FILTERS[0]) < 1:
        raise InputError(f"width {width} asked; it leaves block1 no filters: use at least {1 / FILTERS[0]}")
    for name, value, least in (("classes", classes, 1), ("channels", channels, 1), ("size", size, SMALLEST)):
        if value < least:
            raise InputError(f"{name} {value} asked; a VGG needs at least {least}")
    if not 0 <= dropout < 1:
        raise InputError(f"dropout {dropout} asked; use a probability from 0 to below 1")

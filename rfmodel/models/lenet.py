"""LeNet: the small convolutional network for 32 x 32 colour images of biotorch's benchmarks."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from rfmodel.errors import InputError, one_of

FILTERS = (32, 64, 128)
DENSE = 256
SMALLEST = 18  # three convolutions without padding and two max pools of 2 leave one pixel


class LeNet(nn.Module):
    """Three 3 x 3 convolutions without padding, the average over the image, and a dense head.

    image -> features: conv1(32) relu1 pool1 conv2(64) relu2 pool2 conv3(128) relu3 avgpool
    -> head: flatten dense(256) relu logits(classes)

    `pool1` and `pool2` are 2 x 2 maxima.

    Parameters
    ----------
    width : float
        Multiplies the filters of every convolution and the units of the dense layer, rounded to whole numbers.
    initialisation : {"default", "glorot"}
        "default": torch's. "glorot": Glorot uniform weights and zero biases, as in biotorch's benchmarks.
    classes : int
    channels : int
        Channels of the image; 1 is grey.
    size : int
        Side of the image in pixels, at least 18; no parameter depends on it.

    Raises
    ------
    InputError
        If `width` leaves a layer without units, the image vanishes before the average, or the initialisation is
        unknown.

    Notes
    -----
    biotorch (Sanfiz & Akrout, 2021), models/le_net.py, `le_net_cifar`: the network behind the column LeNet of its
    CIFAR-10 table. It shares its form with LeCun et al. (1998), not the sizes: LeNet-5 has 5 x 5 kernels and 6, 16 and
    120 filters.
    """

    def __init__(
        self,
        width: float = 1.0,
        *,
        initialisation: str = "default",
        classes: int = 10,
        channels: int = 3,
        size: int = 32,
    ) -> None:
        super().__init__()
        _check(width, classes, channels, size)
        one_of("initialisation", initialisation, ("default", "glorot"))
        sizes, dense = [channels, *(round(width * f) for f in FILTERS)], round(width * DENSE)
        layers = OrderedDict()
        for i in range(1, len(sizes)):
            layers[f"conv{i}"] = nn.Conv2d(sizes[i - 1], sizes[i], 3)
            layers[f"relu{i}"] = nn.ReLU()
            if i < len(FILTERS):
                layers[f"pool{i}"] = nn.MaxPool2d(2)
        layers["avgpool"] = nn.AdaptiveAvgPool2d(1)
        self.features = nn.Sequential(layers)
        self.head = nn.Sequential(
            OrderedDict(
                flatten=nn.Flatten(),
                dense=nn.Linear(sizes[-1], dense),
                relu=nn.ReLU(),
                logits=nn.Linear(dense, classes),
            )
        )
        if initialisation == "glorot":
            self.apply(_glorot)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (batch, classes) for images (batch, channels, size, size)."""
        return self.head(self.features(images))


def _glorot(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


def _check(width: float, classes: int, channels: int, size: int) -> None:
    if round(width * FILTERS[0]) < 1:
        raise InputError(f"width {width} asked; it leaves conv1 no filters: use at least {1 / FILTERS[0]}")
    for name, value, least in (("classes", classes, 1), ("channels", channels, 1), ("size", size, SMALLEST)):
        if value < least:
            raise InputError(f"{name} {value} asked; a LeNet needs at least {least}")

"""VGG-13: configuration B of Simonyan & Zisserman (2015), for images of 32 and of 224 pixels."""

from __future__ import annotations

from torch import Tensor, nn

from rfmodel.errors import InputError, one_of

FILTERS = (64, 128, 256, 512, 512)  # of each stage's two convolutions
DENSE = 4096
SMALLEST = 32  # five max pools of 2 leave one pixel
HEADS = {"cifar": (10, 32, 0.0), "imagenet": (1000, 224, 0.5)}  # usual classes, size and dropout


class VGG13(nn.Module):
    """Five stages of two 3 x 3 convolutions and a 2 x 2 maximum, an average over the image, and dense layers.

    image -> features: [[conv (norm) relu] x 2, pool] x 5 -> avgpool flatten -> classifier

    classifier, "cifar": dropout logits(classes), after an average over the whole image.
    classifier, "imagenet": [dense(4096) relu dropout] x 2 logits(classes), after an average to 7 x 7 pixels.

    With the head "imagenet" the keys of the state dict are those of torchvision's vgg13_bn, and without batch norm of
    its vgg13.

    Parameters
    ----------
    head : {"cifar", "imagenet"}
    width : float
        Multiplies the filters of every convolution and the units of the dense layers, rounded to whole numbers.
    batch_norm : bool
        Batch normalisation between a convolution and its relu.
    dropout : float, optional
        By default 0 with the head "cifar" and 0.5 with "imagenet".
    classes : int, optional
        By default 10 with the head "cifar" and 1000 with "imagenet".
    channels : int
        Channels of the image; 1 is grey.
    size : int, optional
        Side of the image in pixels, at least 32; by default 32 or 224. No parameter depends on it.

    Raises
    ------
    InputError
        If the head is unknown, `width` leaves a layer without units, the image vanishes before the last pool, or
        `dropout` is no probability below 1.

    Notes
    -----
    Simonyan & Zisserman (2015), Table 1, column B: ten convolutions and three dense layers. The head "cifar" has one
    dense layer, as is usual for 32 x 32 images, where the last pool leaves one pixel. Roy et al. (SSA, submission to
    ICLR 2025) say neither which head nor whether there is batch norm; in 2015 there was none. Weights are drawn as in
    torchvision: convolutions normal with variance 2/(fan out), dense layers normal with standard deviation 0.01 (Roy
    et al.: Glorot), zero biases.
    """

    def __init__(
        self,
        head: str = "cifar",
        width: float = 1.0,
        *,
        batch_norm: bool = True,
        dropout: float | None = None,
        classes: int | None = None,
        channels: int = 3,
        size: int | None = None,
    ) -> None:
        super().__init__()
        asked = zip((classes, size, dropout), HEADS[one_of("head", head, HEADS)], strict=True)
        classes, size, dropout = (usual if value is None else value for value, usual in asked)
        _check(width, dropout, classes, channels, size)
        filters, dense = [round(width * f) for f in FILTERS], round(width * DENSE)
        self.features = nn.Sequential(*_stages([channels, *filters], batch_norm))
        self.avgpool = nn.AdaptiveAvgPool2d(1 if head == "cifar" else 7)
        self.flatten = nn.Flatten()
        units = [filters[-1]] if head == "cifar" else [filters[-1] * 7 * 7, dense, dense]
        self.classifier = nn.Sequential(*_dense(units, dropout, classes))
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (batch, classes) for images (batch, channels, size, size)."""
        return self.classifier(self.flatten(self.avgpool(self.features(images))))


def _stages(filters: list[int], batch_norm: bool) -> list[nn.Module]:
    layers = []
    for before, after in zip(filters, filters[1:], strict=False):
        for incoming in (before, after):
            layers += [nn.Conv2d(incoming, after, 3, padding=1)]
            layers += [nn.BatchNorm2d(after)] * batch_norm
            layers += [nn.ReLU()]
        layers += [nn.MaxPool2d(2)]
    return layers


def _dense(units: list[int], dropout: float, classes: int) -> list[nn.Module]:
    if len(units) == 1:
        return [nn.Dropout(dropout), nn.Linear(units[0], classes)]
    layers = []
    for before, after in zip(units, units[1:], strict=False):
        layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
    return [*layers, nn.Linear(units[-1], classes)]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)


def _check(width: float, dropout: float, classes: int, channels: int, size: int) -> None:
    if round(width * FILTERS[0]) < 1:
        raise InputError(f"width {width} asked; it leaves the first stage no filters: use at least {1 / FILTERS[0]}")
    for name, value, least in (("classes", classes, 1), ("channels", channels, 1), ("size", size, SMALLEST)):
        if value < least:
            raise InputError(f"{name} {value} asked; a VGG-13 needs at least {least}")
    if not 0 <= dropout < 1:
        raise InputError(f"dropout {dropout} asked; use a probability from 0 to below 1")

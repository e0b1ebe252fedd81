"""MobileNet: version 1 of Howard et al. (2017), for images of 32 and of 224 pixels."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from rfmodel.errors import InputError, one_of

STEM = 32  # filters of the first convolution
# Filters of each block's pointwise convolution and stride of its depthwise one.
BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
HEADS = {"cifar": (10, 32, 1), "imagenet": (1000, 224, 2)}  # usual classes and size, and the stem's stride


class MobileNet(nn.Module):
    """A 3 x 3 convolution, thirteen depthwise separable ones, an average over the image, and dense logits.

    image -> features: conv (bn) relu block1..13 -> avgpool flatten dropout fc(classes)
    block: depthwise(3 x 3) (bn1) relu1 pointwise(1 x 1) (bn2) relu2

    Parameters
    ----------
    head : {"cifar", "imagenet"}
        "imagenet": five strides of 2, those of the first convolution and of blocks 2, 4, 6 and 12. "cifar": the first
        convolution has stride 1, the four others stay, so that 32 pixels leave 2 x 2.
    width : float
        The width multiplier alpha: multiplies the filters of every convolution, rounded to whole numbers.
    batch_norm : bool
        Batch normalisation between a convolution and its relu; without it convolutions have biases.
    dropout : float
        Of what the dense layer reads.
    classes : int, optional
        By default 10 with the head "cifar" and 1000 with "imagenet".
    channels : int
        Channels of the image; 1 is grey.
    size : int, optional
        Side of the image in pixels, at least one pixel of the last block, 16 or 32; by default 32 or 224. No parameter
        depends on it.

    Raises
    ------
    InputError
        If the head is unknown, `width` leaves the first convolution without filters, the image is too small, or
        `dropout` is no probability below 1.

    Notes
    -----
    Howard et al. (2017), MobileNets, Table 1 and section 3.3; 4.2 million parameters and 569 million multiply-adds at
    width 1 and 224 pixels. Table 1 prints a stride of 2 for block 13 too, beside an output as large as its input: it is
    1. The paper has no network for 32 pixels; to take the first stride alone away is what is usual there. Roy et al.
    (SSA) train a MobileNetV1 and do not say which strides it has, nor on which images. Weights of convolutions are
    normal with variance 2/(fan in), where the fan is that of a filter's own group: the fan out of a depthwise
    convolution as torch has it counts all filters, and would let an unnormalised network fade. The dense layer's are
    normal with standard deviation 0.01, biases zero.
    """

    def __init__(
        self,
        head: str = "cifar",
        width: float = 1.0,
        *,
        batch_norm: bool = True,
        dropout: float = 0.0,
        classes: int | None = None,
        channels: int = 3,
        size: int | None = None,
    ) -> None:
        super().__init__()
        usual_classes, usual_size, stride = HEADS[one_of("head", head, HEADS)]
        classes, size = usual_classes if classes is None else classes, usual_size if size is None else size
        _check(head, width, dropout, classes, channels, size)
        before = round(width * STEM)
        layers = _convolution("", nn.Conv2d(channels, before, 3, stride, 1, bias=not batch_norm), batch_norm)
        for place, (filters, stride) in enumerate(BLOCKS, 1):
            after = round(width * filters)
            layers[f"block{place}"] = _block(before, after, stride, batch_norm)
            before = after
        self.features = nn.Sequential(layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(before, classes)
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (batch, classes) for images (batch, channels, size, size)."""
        return self.fc(self.dropout(self.flatten(self.avgpool(self.features(images)))))


def _block(before: int, after: int, stride: int, batch_norm: bool) -> nn.Sequential:
    depthwise = nn.Conv2d(before, before, 3, stride, 1, groups=before, bias=not batch_norm)
    pointwise = nn.Conv2d(before, after, 1, bias=not batch_norm)
    first, second = (_convolution(*given, batch_norm) for given in (("1", depthwise), ("2", pointwise)))
    return nn.Sequential(OrderedDict(depthwise=first.pop("conv1"), **first, pointwise=second.pop("conv2"), **second))


def _convolution(place: str, convolution: nn.Conv2d, batch_norm: bool) -> OrderedDict[str, nn.Module]:
    layers = OrderedDict([(f"conv{place}", convolution)])
    if batch_norm:
        layers[f"bn{place}"] = nn.BatchNorm2d(convolution.out_channels)
    layers[f"relu{place}"] = nn.ReLU()
    return layers


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
    if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def _check(head: str, width: float, dropout: float, classes: int, channels: int, size: int) -> None:
    if round(width * STEM) < 1:
        raise InputError(f"width {width} asked; it leaves the first convolution no filters: use at least {1 / STEM}")
    smallest = 16 * HEADS[head][2]  # pixels that the last block sees as one
    for name, value, least in (("classes", classes, 1), ("channels", channels, 1), ("size", size, smallest)):
        if value < least:
            raise InputError(f"{name} {value} asked; a MobileNet with the head '{head}' needs at least {least}")
    if not 0 <= dropout < 1:
        raise InputError(f"dropout {dropout} asked; use a probability from 0 to below 1")

"""SmallConv: the three convolutions and one dense layer of Roy et al.'s experiments (SSA) on CIFAR-10 and CIFAR-100."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from rfmodel.errors import InputError

FILTERS = (96, 192, 512)
DENSE = 1024
SMALLEST = 8  # three max pools of 2 leave one pixel


class SmallConv(nn.Module):
    """conv96-pool-conv192-pool-conv512-pool-fc1024, and logits.

    image -> features: [conv{i} (norm{i}) relu{i} pool{i}] x 3 -> head: flatten dense(1024) relu dropout logits(classes)

    Parameters
    ----------
    width : float
        Multiplies the filters of every convolution and the units of the dense layer, rounded to whole numbers.
    kernel : int or sequence of int
        Side of the kernels, or of each convolution's; odd, padding keeps the size of the image.
    batch_norm : bool
        Batch normalisation between a convolution and its relu.
    dropout : float
        Before the logits.
    classes : int
    channels : int
        Channels of the image; 1 is grey.
    size : int
        Side of the image in pixels, at least 8.

    Raises
    ------
    InputError
        If `width` leaves a layer without units, a kernel is even or there are not three, the image vanishes before
        the head, or `dropout` is no probability below 1.

    Notes
    -----
    Roy et al., SSA, submission to ICLR 2025, section 4 and appendix A.3. Of the network they give the string above,
    "He initialization for convolutional layers and Xavier initialization for fully connected layers", no more. That
    leaves open kernels, padding, stride, the kind of pool, activation, norm, dropout, biases, whether "fc1024" is a
    hidden layer, and the law of the draws. The plainest reading is the default: 3 x 3 kernels that keep the size,
    2 x 2 maxima, relu, what the string does not name left out, a hidden layer of 1024 units before the logits;
    convolutions normal with variance 2/(fan in), dense layers Glorot uniform, zero biases. Its nearest relatives with
    96 first filters differ: SoftHebb (Journé et al., 2023) has kernels (5, 3, 3), batch norm and 4 x 4 maxima, DFA's
    network (Nøkland, 2016) kernels of 5 and 3 x 3 maxima, each pool of stride 2.
    """

    def __init__(
        self,
        width: float = 1.0,
        kernel: int | Sequence[int] = 3,
        *,
        batch_norm: bool = False,
        dropout: float = 0.0,
        classes: int = 10,
        channels: int = 3,
        size: int = 32,
    ) -> None:
        super().__init__()
        kernels = [kernel] * len(FILTERS) if isinstance(kernel, int) else list(kernel)
        _check(width, kernels, dropout, classes, channels, size)
        filters, dense = [round(width * f) for f in FILTERS], round(width * DENSE)
        layers, before = OrderedDict(), channels
        for i, (after, side) in enumerate(zip(filters, kernels, strict=True), start=1):
            layers[f"conv{i}"] = nn.Conv2d(before, after, side, padding=side // 2)
            if batch_norm:
                layers[f"norm{i}"] = nn.BatchNorm2d(after)
            layers[f"relu{i}"] = nn.ReLU()
            layers[f"pool{i}"] = nn.MaxPool2d(2)
            before = after
        self.features = nn.Sequential(layers)
        self.head = nn.Sequential(
            OrderedDict(
                flatten=nn.Flatten(),
                dense=nn.Linear(before * (size // SMALLEST) ** 2, dense),
                relu=nn.ReLU(),
                dropout=nn.Dropout(dropout),
                logits=nn.Linear(dense, classes),
            )
        )
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (batch, classes) for images (batch, channels, size, size)."""
        return self.head(self.features(images))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


def _check(width: float, kernels: list[int], dropout: float, classes: int, channels: int, size: int) -> None:
    if round(width * FILTERS[0]) < 1:
        raise InputError(f"width {width} asked; it leaves conv1 no filters: use at least {1 / FILTERS[0]:.4f}")
    if len(kernels) != len(FILTERS):
        raise InputError(f"{len(kernels)} kernels {kernels} asked; a SmallConv has {len(FILTERS)} convolutions")
    for kernel in kernels:
        if kernel < 1 or kernel % 2 == 0:
            least = max(1, kernel - 1)
            raise InputError(f"kernel {kernel} asked; an odd kernel keeps the size of the image: use {least}")
    for name, value, least in (("classes", classes, 1), ("channels", channels, 1), ("size", size, SMALLEST)):
        if value < least:
            raise InputError(f"{name} {value} asked; a SmallConv needs at least {least}")
    if not 0 <= dropout < 1:
        raise InputError(f"dropout {dropout} asked; use a probability from 0 to below 1")

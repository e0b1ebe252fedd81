"""Retina-VVS: the convolutional model of retina and ventral visual stream of Lindsey et al. (2019)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor, nn

from rfmodel.errors import InputError, one_of


@dataclass(frozen=True)
class Preset:
    """What the two studies chose differently."""

    depth: int
    dropout: float
    initialisation: str


PRESETS = {
    "lindsey2019": Preset(depth=2, dropout=0.0, initialisation="glorot"),
    "hanut2025": Preset(depth=3, dropout=0.5, initialisation="default"),
}


class RetinaVVS(nn.Module):
    """Two retinal convolutions, a bottleneck, `depth` convolutions of the ventral stream, and a dense head.

    image -> retina: conv(width) relu conv(bottleneck) relu -> vvs: [conv(width) relu] x depth
    -> head: flatten dense(1024) relu dropout logits(classes)

    Parameters
    ----------
    bottleneck : int
        Channels of the retina's output.
    depth : int, optional
        Ventral layers, 0 or more; the preset's by default (2 and 3).
    width : int
        Channels of every other convolution.
    kernel : int
        Side of every kernel, odd; padding keeps the size of the image.
    preset : {"hanut2025", "lindsey2019"}
        "lindsey2019": no dropout, Glorot uniform weights, zero biases. "hanut2025": dropout 0.5, three ventral
        layers, torch's default (Kaiming) uniform initialisation.
    classes : int
    channels : int
        Channels of the image; 1 is grey.
    size : int
        Side of the image in pixels.
    hidden : int
        Units of the dense layer.
    dropout : float, optional
        Overrides the preset's.

    Raises
    ------
    InputError
        If a size is not positive, the kernel even, or the preset unknown.

    Notes
    -----
    Lindsey, Ocko, Ganguli & Deny (2019), section 2; Hanut & Kadmon, appendix C and Table C3. In table C3 the
    retina's second convolution has 32 filters; its count is the bottleneck here.
    """

    def __init__(
        self,
        bottleneck: int = 32,
        depth: int | None = None,
        width: int = 32,
        kernel: int = 9,
        preset: str = "hanut2025",
        *,
        classes: int = 10,
        channels: int = 1,
        size: int = 32,
        hidden: int = 1024,
        dropout: float | None = None,
    ) -> None:
        super().__init__()
        chosen = PRESETS[one_of("preset", preset, PRESETS)]
        depth = chosen.depth if depth is None else depth
        dropout = chosen.dropout if dropout is None else dropout
        _check(bottleneck, depth, width, kernel, dropout)
        self.retina = _stage([channels, width, bottleneck], kernel)
        self.vvs = _stage([bottleneck] + [width] * depth, kernel)
        last = width if depth else bottleneck
        self.head = nn.Sequential(
            OrderedDict(
                flatten=nn.Flatten(),
                dense=nn.Linear(last * size * size, hidden),
                relu=nn.ReLU(),
                dropout=nn.Dropout(dropout),
                logits=nn.Linear(hidden, classes),
            )
        )
        if chosen.initialisation == "glorot":
            self.apply(_glorot)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (batch, classes) for images (batch, channels, size, size)."""
        return self.head(self.vvs(self.retina(images)))


def _stage(channels: list[int], kernel: int) -> nn.Sequential:
    layers = OrderedDict()
    for i, (before, after) in enumerate(zip(channels, channels[1:], strict=False), start=1):
        layers[f"conv{i}"] = nn.Conv2d(before, after, kernel, padding=kernel // 2)
        layers[f"relu{i}"] = nn.ReLU()
    return nn.Sequential(layers)


def _glorot(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


def _check(bottleneck: int, depth: int, width: int, kernel: int, dropout: float) -> None:
    for name, value, least in (("bottleneck", bottleneck, 1), ("depth", depth, 0), ("width", width, 1)):
        if value < least:
            raise InputError(f"{name} {value} asked; a Retina-VVS network needs at least {least}")
    if kernel < 1 or kernel % 2 == 0:
        raise InputError(f"kernel {kernel} asked; an odd kernel keeps the size of the image: use {max(1, kernel - 1)}")
    if not 0 <= dropout < 1:
        raise InputError(f"dropout {dropout} asked; use a probability from 0 to below 1")

"""ResNet: residual networks of He et al. (2016), for images of 32 and of 224 pixels."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from rfmodel.errors import InputError, one_of


@dataclass(frozen=True)
class Plan:
    """What the depths differ in."""

    blocks: tuple[int, ...]  # of each stage
    expansion: int  # channels that leave a block over its inner ones; 1 is a basic block, 4 a bottleneck
    large: bool  # made for 224 pixels, not 32

    @property
    def width(self) -> int:
        """Inner channels of the first stage; each later stage doubles them."""
        return 64 if self.large else 16

    @property
    def smallest(self) -> int:
        """Pixels that the last stage sees as one: the large stem quarters, each stage but the first halves."""
        return (4 if self.large else 1) * 2 ** (len(self.blocks) - 1)


PLANS = {
    18: Plan((2, 2, 2, 2), expansion=1, large=True),
    20: Plan((3, 3, 3), expansion=1, large=False),
    32: Plan((5, 5, 5), expansion=1, large=False),
    50: Plan((3, 4, 6, 3), expansion=4, large=True),
    56: Plan((9, 9, 9), expansion=1, large=False),
}


class ResNet(nn.Module):
    """Stem, stages of residual blocks y = relu(F(x) + shortcut(x)), average over the image, and dense logits.

    Depths 20, 32 and 56: image -> conv1(3 x 3, 16) bn1 relu -> layer1..3 -> avgpool flatten fc(classes).
    Depths 18 and 50: image -> conv1(7 x 7, 64, stride 2) bn1 relu maxpool -> layer1..4 -> avgpool flatten fc(classes).
    At depths 18 and 50 with shortcut B the keys of the state dict are torchvision's.

    Parameters
    ----------
    depth : {18, 20, 32, 50, 56}
        Layers with weights along the longest path. 50 is of bottleneck blocks, the others of basic ones.
    shortcut : {"A", "B"}, optional
        Where a block changes the shape. "A": every second pixel and channels of zeros, no parameters; "B": a 1 x 1
        convolution with batch norm. By default A at depths 20, 32 and 56, B at 18 and 50.
    initialisation : {"default", "glorot"}
        "default": convolutions normal with variance 2/(fan out), as torchvision's. "glorot": Glorot uniform weights
        and zero biases, as in biotorch's benchmarks.
    classes : int, optional
        By default 10 at depths 20, 32 and 56, 1000 at 18 and 50.
    channels : int
        Channels of the image; 1 is grey.
    size : int, optional
        Side of the image in pixels, 32 or 224 by default; no parameter depends on it.

    Raises
    ------
    InputError
        If the depth, the shortcut or the initialisation is unknown, `classes` or `channels` not positive, or the image
        smaller than one pixel of the last stage.

    Notes
    -----
    He, Zhang, Ren & Sun (2016), sections 3.3, 4.1 (Table 1) and 4.2. As in torchvision and unlike Table 1, a
    bottleneck block that halves the image does so in its 3 x 3 convolution. Every relu is a module of its own,
    called once, so that an error can be read or delivered there.

    biotorch's ResNets of depth 20, 32 and 56 (Sanfiz & Akrout, 2021) are these with shortcut A and the initialisation
    "glorot", but for the order of channels: its shortcut sets half of the zeros before the others and half after. A
    stage's channels can be numbered anew throughout, so that both are one network.
    """

    def __init__(
        self,
        depth: int = 20,
        shortcut: str | None = None,
        *,
        initialisation: str = "default",
        classes: int | None = None,
        channels: int = 3,
        size: int | None = None,
    ) -> None:
        super().__init__()
        if depth not in PLANS:
            raise InputError(f"depth {depth} asked; known ResNets have depth {', '.join(map(str, PLANS))}")
        plan = PLANS[depth]
        usual = ("B", 1000, 224) if plan.large else ("A", 10, 32)
        asked = zip((shortcut, classes, size), usual, strict=True)
        shortcut, classes, size = (default if value is None else value for value, default in asked)
        one_of("shortcut", shortcut, ("A", "B"))
        one_of("initialisation", initialisation, INITIALISATIONS)
        _check(depth, plan, classes, channels, size)
        side, stride, padding = (7, 2, 3) if plan.large else (3, 1, 1)
        self.conv1 = nn.Conv2d(channels, plan.width, side, stride, padding, bias=False)
        self.bn1 = nn.BatchNorm2d(plan.width)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if plan.large else nn.Identity()
        before = plan.width
        self._stages = [f"layer{i}" for i in range(1, len(plan.blocks) + 1)]
        for i, name in enumerate(self._stages):
            inner = plan.width * 2**i
            setattr(self, name, _stage(plan, i, before, inner, shortcut))
            before = inner * plan.expansion
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(before, classes)
        self.apply(INITIALISATIONS[initialisation])

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (batch, classes) for images (batch, channels, size, size)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        for name in self._stages:
            x = getattr(self, name)(x)
        return self.fc(self.flatten(self.avgpool(x)))


class Basic(nn.Module):
    """Two 3 x 3 convolutions and a shortcut; He et al. (2016), Fig. 5 left."""

    def __init__(self, before: int, inner: int, stride: int, downsample: nn.Module) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, inner, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(inner, inner, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.downsample = downsample
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, inner, height / stride, width / stride)."""
        change = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu2(change + self.downsample(x))


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions and a shortcut; He et al. (2016), Fig. 5 right."""

    def __init__(self, before: int, inner: int, stride: int, downsample: nn.Module) -> None:
        super().__init__()
        after = 4 * inner
        self.conv1 = nn.Conv2d(before, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(inner, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.downsample = downsample
        self.relu3 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, 4 * inner, height / stride, width / stride)."""
        change = self.relu2(self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x))))))
        return self.relu3(self.bn3(self.conv3(change)) + self.downsample(x))


class Pad(nn.Module):
    """Shortcut A: every `stride`-th pixel, and `extra` channels of zeros after the others."""

    def __init__(self, stride: int, extra: int) -> None:
        super().__init__()
        self.stride, self.extra = stride, extra

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, channels + extra, height / stride, width / stride)."""
        return nn.functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))


def _stage(plan: Plan, index: int, before: int, inner: int, shortcut: str) -> nn.Sequential:
    after, stride = inner * plan.expansion, 1 if index == 0 else 2
    block = Basic if plan.expansion == 1 else Bottleneck
    first = block(before, inner, stride, _shortcut(shortcut, before, after, stride))
    return nn.Sequential(first, *(block(after, inner, 1, nn.Identity()) for _ in range(1, plan.blocks[index])))


def _shortcut(kind: str, before: int, after: int, stride: int) -> nn.Module:
    if stride == 1 and before == after:
        return nn.Identity()
    if kind == "A":
        return Pad(stride, after - before)
    return nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))


def _normal(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _glorot(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


INITIALISATIONS = {"default": _normal, "glorot": _glorot}


def _check(depth: int, plan: Plan, classes: int, channels: int, size: int) -> None:
    for name, value, least in (("classes", classes, 1), ("channels", channels, 1), ("size", size, plan.smallest)):
        if value < least:
            raise InputError(f"{name} {value} asked; ResNet-{depth} needs at least {least}")

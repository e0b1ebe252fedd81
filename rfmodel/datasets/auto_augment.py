"""AutoAugment: pairs of operations found by search, one pair drawn for each image; torchvision has the operations.

torchvision applies a policy to one image at a time. Here the images that drew the same operation at the same strength
go through it together, so that a batch costs some sixty calls, not two for each of its images.

Source: E. D. Cubuk et al. (2019), AutoAugment: learning augmentation strategies from data, CVPR, arXiv:1805.09501,
appendix A; strengths, nearest-neighbour sampling and black fill as in torchvision.
"""

from __future__ import annotations

import importlib.util
import math
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from jaxtyping import Shaped, UInt8
from torch import Tensor

from rfmodel.errors import InputError, one_of

POLICIES = ("cifar10", "imagenet")
# operations whose strength has a sign, drawn for each image
SIGNED = {
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "Rotate",
    "Brightness",
    "Color",
    "Contrast",
    "Sharpness",
}


class Step(NamedTuple):
    """One operation of a pair: its name, its probability, and its level 0-9 (None where it has no strength)."""

    operation: str
    probability: float
    level: int | None


def check(policy: str) -> None:
    """Raise `InputError` unless `policy` is known and torchvision is installed."""
    one_of("augmentation auto_augment:", policy, POLICIES)
    if importlib.util.find_spec("torchvision") is None:
        raise InputError(
            f"augmentation auto_augment='{policy}' was asked for, but torchvision is not installed: "
            "`pip install rfmodel[vision]` would do"
        )


def apply(policy: str, images: Shaped[Tensor, "n c h w"], generator: torch.Generator) -> UInt8[Tensor, "n c h w"]:
    """Return the images, each through the two operations of a pair drawn for it.

    Parameters
    ----------
    policy : "cifar10" or "imagenet".
    images : (n, c, h, w) grey levels 0-255, c = 1 or 3; float ones are rounded to whole levels first.
    generator : of the draws, on any device; the global state is neither read nor moved.
    """
    images = images.clone() if images.dtype == torch.uint8 else images.round().clamp_(0, 255).to(torch.uint8)
    n, pairs = len(images), _pairs(policy)
    where = generator.device
    pair = torch.randint(len(pairs), (n,), generator=generator, device=where).tolist()
    chance = torch.rand(n, 2, generator=generator, device=where).tolist()
    positive = torch.randint(2, (n, 2), generator=generator, device=where).tolist()
    for turn in range(2):
        together: dict[tuple[str, float], list[int]] = defaultdict(list)
        for row in range(n):
            step = pairs[pair[row]][turn]
            if chance[row][turn] <= step.probability:
                strength = strength_of(step, *images.shape[2:])
                sign = -1 if step.operation in SIGNED and not positive[row][turn] else 1
                together[step.operation, sign * strength].append(row)
        for (operation, strength), rows in together.items():
            index = torch.tensor(rows, device=images.device)
            images.index_copy_(0, index, _operations()[operation](images.index_select(0, index), strength))
    return images


@cache
def strength_of(step: Step, height: int, width: int) -> float:
    """Return a step's strength: radians' tangent, pixels, degrees, a factor's distance from 1, bits or a grey level.

    Parameters
    ----------
    step : its level runs from 0 to 9.
    height, width : of the image in pixels.
    """
    level = step.level or 0
    largest = {
        "ShearX": 0.3,
        "ShearY": 0.3,
        "TranslateX": 150 / 331 * width,
        "TranslateY": 150 / 331 * height,
        "Rotate": 30.0,
        "Brightness": 0.9,
        "Color": 0.9,
        "Contrast": 0.9,
        "Sharpness": 0.9,
    }
    if step.operation == "Posterize":
        return 8 - round(4 * level / 9)
    # in float32 as torchvision's: a half-way grey level would fall to the other side
    if step.operation == "Solarize":
        return 255 * float(torch.linspace(1.0, 0.0, 10)[level])
    return float(torch.linspace(0.0, largest.get(step.operation, 0.0), 10)[level])


@cache
def _pairs(policy: str) -> list[tuple[Step, Step]]:
    from torchvision.transforms import AutoAugment, AutoAugmentPolicy

    return [tuple(Step(*step) for step in pair) for pair in AutoAugment(AutoAugmentPolicy(policy)).policies]


@cache
def _operations() -> dict[str, Callable[[Tensor, float], Tensor]]:
    from torchvision.transforms.v2 import functional

    def affine(images: Tensor, **change: Any) -> Tensor:
        still = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
        return functional.affine(images, **{**still, **change})

    def sheared(images: Tensor, x: float, y: float) -> Tensor:
        # about the corner: the paper's matrix (1, s, 0; 0, 1, 0) has no offset
        return affine(images, shear=[math.degrees(math.atan(s)) for s in (x, y)], center=[0, 0])

    return {
        "ShearX": lambda images, s: sheared(images, s, 0.0),
        "ShearY": lambda images, s: sheared(images, 0.0, s),
        "TranslateX": lambda images, s: affine(images, translate=[int(s), 0]),
        "TranslateY": lambda images, s: affine(images, translate=[0, int(s)]),
        "Rotate": lambda images, s: functional.rotate(images, s),
        "Brightness": lambda images, s: functional.adjust_brightness(images, 1 + s),
        "Color": lambda images, s: functional.adjust_saturation(images, 1 + s),
        "Contrast": lambda images, s: functional.adjust_contrast(images, 1 + s),
        "Sharpness": lambda images, s: functional.adjust_sharpness(images, 1 + s),
        "Posterize": lambda images, s: functional.posterize(images, int(s)),
        "Solarize": lambda images, s: functional.solarize(images, s),
        "AutoContrast": lambda images, _: functional.autocontrast(images),
        "Equalize": lambda images, _: functional.equalize(images),
        "Invert": lambda images, _: functional.invert(images),
    }

"""From an image of any size to a square of a given side: the centre, or a random part at a random scale.

Images are resized bilinearly with antialiasing, in uint8; torch's kernel agrees with Pillow's within one grey level
and takes a third of the time. Pixels are copied by NumPy: torch's own copies would start threads in every worker.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from rfmodel.datasets.decoding import DECODERS, read
from rfmodel.datasets.images import grey

AREA = (0.08, 1.0)  # of the random part, as a share of the image's
RATIO = (3 / 4, 4 / 3)  # of its width to its height
TRIES = 10
DRAWS = 2 * TRIES + 2  # uniform numbers an image: area and ratio of each try, then the place

Pixels = UInt8[np.ndarray, "h w c"]


@dataclass(frozen=True)
class View:
    """How an image file becomes a square of pixels.

    Parameters
    ----------
    size : side of the square.
    resize : pixels to which the shorter side is brought before the centre is cut out; at least `size`.
    colour : RGB; grey (ITU-R BT.601 luma of the resized image) otherwise.
    decoder : "pillow" or "torchvision".
    """

    size: int
    resize: int
    colour: bool
    decoder: str

    def centre(self, path: Path) -> UInt8[np.ndarray, "size size c"]:
        """Return the image's centre; a smaller image is enlarged."""
        pixels = read(path, DECODERS[self.decoder])
        return self._toned(centre(shorter_side(pixels, self.resize), self.size))

    def random_part(self, path: Path, draws: Float[Tensor, " draws"]) -> UInt8[np.ndarray, "size size c"]:
        """Return a random part of the image, resized; see `random_box`."""
        pixels = read(path, DECODERS[self.decoder])
        top, left, height, width = random_box(*pixels.shape[:2], draws)
        return self._toned(resized(pixels[top : top + height, left : left + width], self.size, self.size))

    def _toned(self, pixels: Pixels) -> Pixels:
        return pixels if self.colour else grey(pixels.transpose(2, 0, 1)[None])[0, 0, :, :, None]


def resized(pixels: Pixels, height: int, width: int) -> UInt8[np.ndarray, "{height} {width} c"]:
    """Return the image at another size, bilinear with antialiasing.

    Parameters
    ----------
    pixels : (h, w, c) uint8.
    height, width : of the result.
    """
    if pixels.shape[:2] == (height, width):
        return pixels
    planes = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
    scaled = functional.interpolate(planes, (height, width), mode="bilinear", antialias=True, align_corners=False)
    return scaled[0].permute(1, 2, 0).numpy()


def shorter_side(pixels: Pixels, side: int) -> Pixels:
    """Return the image with its shorter side brought to `side` pixels; the longer is cut to whole pixels."""
    height, width = pixels.shape[:2]
    shorter = min(height, width)
    return resized(pixels, height * side // shorter, width * side // shorter)


def centre(pixels: Pixels, size: int) -> UInt8[np.ndarray, "{size} {size} c"]:
    """Return the middle `size` x `size` pixels."""
    top, left = (round((side - size) / 2) for side in pixels.shape[:2])
    return pixels[top : top + size, left : left + size]


def random_box(height: int, width: int, draws: Float[Tensor, " draws"]) -> tuple[int, int, int, int]:
    """Return top, left, height and width of a random part of an image.

    Its area is uniform on 8 to 100 % of the image's, the logarithm of its width over its height uniform between those
    of 3/4 and 4/3, its place uniform. The first of ten tries that fits is taken; where none does, the largest centred
    part whose ratio lies within the bounds.

    Parameters
    ----------
    height, width : of the image in pixels.
    draws : (22,) uniform on [0, 1).

    Source: C. Szegedy et al. (2015), Going deeper with convolutions, CVPR, arXiv:1409.4842, section 6.
    """
    numbers = draws.tolist()
    low, high = (math.log(ratio) for ratio in RATIO)
    for share, turn in zip(numbers[:TRIES], numbers[TRIES : 2 * TRIES], strict=True):
        area = height * width * (AREA[0] + share * (AREA[1] - AREA[0]))
        ratio = math.exp(low + turn * (high - low))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(numbers[-2] * (height - h + 1)), int(numbers[-1] * (width - w + 1)), h, w
    w, h = min(width, round(height * RATIO[1])), min(height, round(width / RATIO[0]))
    return (height - h) // 2, (width - w) // 2, h, w

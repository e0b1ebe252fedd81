"""Random shifts, mirror images and rotations of a whole batch at once, on the device the images are on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from rfmodel.errors import InputError


@dataclass(frozen=True)
class Augmentation:
    """Draw for each image its own shift, mirroring and rotation, and apply them to the whole batch at once.

    Pixel x of the result is read from R(-theta)(x - t), about the centre, of the image, which is mirrored
    left and right with probability 1/2. Each shift t is a whole number of pixels, uniform on -m..m with
    m = floor(shift * side); theta is uniform on [-rotation, rotation]. Pixels from outside of the frame
    repeat the nearest pixel of its edge. Without rotation pixels are copied, exactly; with rotation they are
    interpolated bilinearly. It works on images before the mean is taken off, and leaves labels alone.

    Parameters
    ----------
    shift : largest shift, as a fraction of the image's side, in [0, 1).
    flip : whether to mirror.
    rotation : largest angle in degrees, in [0, 180].

    Raises
    ------
    InputError
        If a setting is out of range.
    """

    shift: float = 0.0
    flip: bool = False
    rotation: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.shift < 1:
            raise InputError(
                f"augmentation shift={self.shift} was asked for: a fraction of the side in [0, 1) would do"
            )
        if not 0 <= self.rotation <= 180:
            raise InputError(f"augmentation rotation={self.rotation} was asked for: degrees in [0, 180] would do")

    def __call__(self, images: Float[Tensor, "n c h w"], generator: torch.Generator) -> Float[Tensor, "n c h w"]:
        """Return the augmented images; the tensor itself where every setting is off.

        Parameters
        ----------
        images : (n, c, h, w) float.
        generator : of the random numbers, on any device; the draws made do not depend on the images.
        """
        if not (self.shift or self.flip or self.rotation):
            return images
        n, _, height, width = images.shape
        down = self._shifts(n, height, generator).to(images.device)
        right = self._shifts(n, width, generator).to(images.device)
        mirrored = self._mirrored(n, generator).to(images.device)
        if self.rotation:
            angle = (torch.rand(n, generator=generator, device=generator.device) * 2 - 1) * math.radians(self.rotation)
            return rotated(images, down, right, mirrored, angle.to(images.device))
        return moved(images, down, right, mirrored)

    def _shifts(self, n: int, side: int, generator: torch.Generator) -> Int64[Tensor, " n"]:
        # the tolerance keeps .29 * 100 = 28.999999999999996 at 29 pixels
        largest = math.floor(self.shift * side + 1e-9)
        if largest == 0:
            return torch.zeros(n, dtype=torch.int64)
        return torch.randint(-largest, largest + 1, (n,), generator=generator, device=generator.device)

    def _mirrored(self, n: int, generator: torch.Generator) -> Bool[Tensor, " n"]:
        if not self.flip:
            return torch.zeros(n, dtype=torch.bool)
        return torch.randint(2, (n,), generator=generator, device=generator.device, dtype=torch.int64).bool()


def moved(
    images: Float[Tensor, "n c h w"],
    down: Int64[Tensor, " n"],
    right: Int64[Tensor, " n"],
    mirrored: Bool[Tensor, " n"],
) -> Float[Tensor, "n c h w"]:
    """Return the images mirrored where asked, then shifted by whole pixels; every pixel is a copy.

    Parameters
    ----------
    images : (n, c, h, w).
    down, right : (n,) pixels.
    mirrored : (n,) whether left and right change places.
    """
    n, c, height, width = images.shape
    rows = (torch.arange(height, device=images.device) - down[:, None]).clamp_(0, height - 1)
    columns = (torch.arange(width, device=images.device) - right[:, None]).clamp_(0, width - 1)
    columns = torch.where(mirrored[:, None], width - 1 - columns, columns)
    # one flat index an image and pixel, into (n * h * w): channels, if there are several, share it
    first = torch.arange(n, device=images.device)[:, None, None] * (height * width)
    index = (first + rows[:, :, None] * width + columns[:, None, :]).flatten()
    if c == 1:
        return images.reshape(-1).index_select(0, index).view(n, 1, height, width)
    pixels = images.permute(0, 2, 3, 1).reshape(-1, c)
    return pixels.index_select(0, index).view(n, height, width, c).permute(0, 3, 1, 2)


def rotated(
    images: Float[Tensor, "n c h w"],
    down: Int64[Tensor, " n"],
    right: Int64[Tensor, " n"],
    mirrored: Bool[Tensor, " n"],
    angle: Float[Tensor, " n"],
) -> Float[Tensor, "n c h w"]:
    """Return the images mirrored where asked, rotated about their centre, then shifted, interpolated
    bilinearly.

    Parameters
    ----------
    images : (n, c, h, w).
    down, right : (n,) pixels.
    mirrored : (n,) whether left and right change places.
    angle : (n,) radians, counter-clockwise as displayed.
    """
    _, _, height, width = images.shape
    cosine, sine = angle.cos(), angle.sin()
    sign = 1 - 2 * mirrored.to(angle.dtype)
    # grid_sample's coordinates run from -1 to 1 over each side: pixels are 2 / side, and angles need the
    # sides' ratio
    x, y = -2 * right.to(angle.dtype) / width, -2 * down.to(angle.dtype) / height
    ratio = height / width
    theta = torch.stack(
        [
            torch.stack([sign * cosine, -sign * sine * ratio, sign * (cosine * x - sine * ratio * y)], 1),
            torch.stack([sine / ratio, cosine, sine / ratio * x + cosine * y], 1),
        ],
        1,
    ).to(images.dtype)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)

"""Random crops, shifts, mirror images, rotations and erased squares of a whole batch at once, on the images' device."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor
from torch.nn import functional

from rfmodel.datasets import auto_augment
from rfmodel.errors import InputError


@dataclass(frozen=True)
class Augmentation:
    """Draw for each image its own changes, and apply them to the whole batch at once.

    The order is the papers': crop, mirroring, rotation and shift, AutoAugment, then what `batches` does (the mean is
    taken off), then Cutout. Each image has its own draw, and no draw depends on the images. Labels stay.

    With `crop`, the image is padded by that many pixels of grey level 0 (black, before the mean is taken off) on every
    side, and a window of its own size is taken from there, its place uniform. Pixel x of what follows is read from
    R(-theta)(x - t), about the centre, of the image, which is mirrored left and right with probability 1/2. Each shift
    t is a whole number of pixels, uniform on -m..m with m = floor(shift * side); theta is uniform on
    [-rotation, rotation]. Pixels from outside of the frame repeat the nearest pixel of its edge. Without rotation
    pixels are copied, exactly; with rotation they are interpolated bilinearly.

    Parameters
    ----------
    shift : largest shift, as a fraction of the image's side, in [0, 1).
    flip : whether to mirror.
    rotation : largest angle in degrees, in [0, 180].
    crop : pixels of padding on every side before the random crop; 4 in the usual recipes for CIFAR.
    cutout : side in pixels of the square that `cut_out` erases; 0 erases nothing.
    auto_augment : "cifar10" or "imagenet", a policy of `rfmodel.datasets.auto_augment`; "" for none.

    Raises
    ------
    InputError
        If a setting is out of range, or AutoAugment is asked for where torchvision is not installed.
    """

    shift: float = 0.0
    flip: bool = False
    rotation: float = 0.0
    crop: int = 0
    cutout: int = 0
    auto_augment: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.shift < 1:
            raise InputError(
                f"augmentation shift={self.shift} was asked for: a fraction of the side in [0, 1) would do"
            )
        if not 0 <= self.rotation <= 180:
            raise InputError(f"augmentation rotation={self.rotation} was asked for: degrees in [0, 180] would do")
        for key in ("crop", "cutout"):
            pixels = getattr(self, key)
            if not isinstance(pixels, int) or pixels < 0:
                raise InputError(f"augmentation {key}={pixels} was asked for: whole pixels, at least 0, would do")
        if self.auto_augment:
            auto_augment.check(self.auto_augment)

    def __call__(self, images: Shaped[Tensor, "n c h w"], generator: torch.Generator) -> Shaped[Tensor, "n c h w"]:
        """Return the augmented images, all but Cutout; the tensor itself where every setting is off.

        Parameters
        ----------
        images : (n, c, h, w), uint8 or float grey levels 0-255; a rotation turns uint8 into float32, and AutoAugment
            rounds to uint8.
        generator : of the random numbers, on any device; the draws made do not depend on the images.
        """
        n, _, height, width = images.shape
        mirrored = None
        if self.crop:
            top, left = (
                torch.randint(2 * self.crop + 1, (n,), generator=generator, device=generator.device) for _ in "yx"
            )
            mirrored = self._mirrored(n, generator)
            images = cropped(images, *(draw.to(images.device) for draw in (top, left, mirrored)), self.crop)
        if self.shift or self.rotation or (self.flip and not self.crop):
            images = self._moved(images, generator, mirrored is None)
        if self.auto_augment:
            images = auto_augment.apply(self.auto_augment, images, generator)
        return images

    def cut_out(self, x: Float[Tensor, "n c h w"], generator: torch.Generator) -> Float[Tensor, "n c h w"]:
        """Return x, in place, with a square of each image set to 0, the mean of images whose mean was taken off.

        The square's centre is uniform over the image, so that part of it may fall outside, where it is clipped. With
        an even side s the rows cy - s/2 to cy + s/2 - 1 are erased, and columns alike.

        Parameters
        ----------
        x : (n, c, h, w), after normalisation.
        generator : of the random numbers, on any device.

        Source: T. DeVries & G. W. Taylor (2017), Improved regularization of convolutional neural networks with Cutout,
        arXiv:1708.04552, section 3.2.
        """
        if not self.cutout:
            return x
        kept = []
        for side in x.shape[2:]:
            centre = torch.randint(side, (len(x),), generator=generator, device=generator.device).to(x.device)
            into = torch.arange(side, device=x.device) - (centre[:, None] - self.cutout // 2)
            kept.append((into < 0) | (into >= self.cutout))
        rows, columns = kept
        # a product by 0 and 1 costs half of what a masked fill does
        return x.mul_((rows[:, None, :, None] | columns[:, None, None, :]).to(x.dtype))

    def _moved(self, images: Tensor, generator: torch.Generator, mirror: bool) -> Tensor:
        n, _, height, width = images.shape
        down = self._shifts(n, height, generator).to(images.device)
        right = self._shifts(n, width, generator).to(images.device)
        mirrored = self._mirrored(n, generator) if mirror else torch.zeros(n, dtype=torch.bool)
        mirrored = mirrored.to(images.device)
        if not self.rotation:
            return moved(images, down, right, mirrored)
        angle = (torch.rand(n, generator=generator, device=generator.device) * 2 - 1) * math.radians(self.rotation)
        images = images if images.is_floating_point() else images.float()
        return rotated(images, down, right, mirrored, angle.to(images.device))

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
    images: Shaped[Tensor, "n c h w"],
    down: Int64[Tensor, " n"],
    right: Int64[Tensor, " n"],
    mirrored: Bool[Tensor, " n"],
) -> Shaped[Tensor, "n c h w"]:
    """Return the images mirrored where asked, then shifted by whole pixels; every pixel is a copy.

    Parameters
    ----------
    images : (n, c, h, w).
    down, right : (n,) pixels.
    mirrored : (n,) whether left and right change places.
    """
    height, width = images.shape[2:]
    rows = (torch.arange(height, device=images.device) - down[:, None]).clamp_(0, height - 1)
    columns = (torch.arange(width, device=images.device) - right[:, None]).clamp_(0, width - 1)
    return picked(images, rows, torch.where(mirrored[:, None], width - 1 - columns, columns))


def cropped(
    images: Shaped[Tensor, "n c h w"],
    top: Int64[Tensor, " n"],
    left: Int64[Tensor, " n"],
    mirrored: Bool[Tensor, " n"],
    padding: int,
) -> Shaped[Tensor, "n c h w"]:
    """Return windows of the images padded by zeros, mirrored where asked; every pixel is a copy.

    Parameters
    ----------
    images : (n, c, h, w).
    top, left : (n,) the window's first row and column in the padded image, 0 to 2 padding.
    mirrored : (n,) whether the window's left and right change places.
    padding : pixels of zeros on every side.
    """
    height, width = images.shape[2:]
    rows = top[:, None] + torch.arange(height, device=images.device)
    across = torch.arange(width, device=images.device)
    columns = left[:, None] + torch.where(mirrored[:, None], width - 1 - across, across)
    return picked(functional.pad(images, (padding,) * 4), rows, columns)


def picked(
    images: Shaped[Tensor, "n c h w"], rows: Int64[Tensor, "n y"], columns: Int64[Tensor, "n x"]
) -> Shaped[Tensor, "n c y x"]:
    """Return pixel (rows[i, y], columns[i, x]) of image i at its place (y, x).

    Whole rows are taken first, then the columns within them: half the time of one index for each pixel.

    Parameters
    ----------
    images : (n, c, h, w).
    rows, columns : (n, y) and (n, x), for each image.
    """
    n, c, height, width = images.shape
    first = torch.arange(n * c, device=images.device).view(n, c, 1) * height
    taken = images.reshape(-1, width).index_select(0, (first + rows[:, None]).flatten()).view(n, -1, width)
    across = columns[:, None].expand(n, taken.shape[1], columns.shape[1])
    return taken.gather(2, across).view(n, c, rows.shape[1], columns.shape[1])


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

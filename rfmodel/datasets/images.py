"""Integer arithmetic on uint8 images: grey from RGB, and area means."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from rfmodel.errors import InputError

# ITU-R BT.601 luma, .299 R + .587 G + .114 B, in units of 2^-16; the three weights sum to exactly 2^16.
LUMA = (19595, 38470, 7471)


def grey(images: UInt8[np.ndarray, "n 3 h w"]) -> UInt8[np.ndarray, "n 1 h w"]:
    """Return the luma Y = .299 R + .587 G + .114 B, rounded to whole grey levels.

    The weights are held to 16 binary places, as Pillow's ``convert("L")`` holds them, so the bytes agree.

    Parameters
    ----------
    images : (n, 3, h, w) uint8, planes in RGB order.

    Source: ITU-R Recommendation BT.601-7, section 2.5.1.
    """
    out = np.empty((len(images), 1, *images.shape[2:]), np.uint8)
    for start in range(0, len(images), 4096):  # 4,096 at a time keeps the 32-bit sums of 60,000 images off the heap
        red, green, blue = (images[start : start + 4096, c].astype(np.uint32) for c in range(3))
        out[start : start + 4096, 0] = (red * LUMA[0] + green * LUMA[1] + blue * LUMA[2] + 2**15) >> 16
    return out


def area_mean(images: UInt8[np.ndarray, "n c h w"], factor: int) -> UInt8[np.ndarray, "n c h//{factor} w//{factor}"]:
    """Return the means over `factor` x `factor` blocks of pixels, rounded to whole grey levels (halves up).

    Parameters
    ----------
    images : (n, c, h, w) uint8.
    factor : block side in pixels; divides h and w.

    Raises
    ------
    InputError
        If `factor` does not divide the image's sides.
    """
    n, c, h, w = images.shape
    if factor < 1 or h % factor or w % factor:
        raise InputError(
            f"blocks of {factor} x {factor} pixels were asked for, but the images have {h} x {w}: "
            "a factor that divides both sides would do"
        )
    if factor == 1:
        return images
    blocks = images.reshape(n, c, h // factor, factor, w // factor, factor)
    total = blocks.sum(axis=(3, 5), dtype=np.uint32)
    return ((total + factor**2 // 2) // factor**2).astype(np.uint8)

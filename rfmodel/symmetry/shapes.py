"""Receptive fields with closed forms: Gaussians, differences of Gaussians, Gabors, bars and gratings.

Sizes and positions are in pixels, `(y, x)` with the origin at the top left and y downwards. Orientations are in
degrees, counter-clockwise as displayed, and name the direction of the *carrier* (the direction in which the shape
changes fastest, or its short axis); the bar that a person sees is at `orientation + 90`.
"""

from __future__ import annotations

import numpy as np

from rfmodel.errors import InputError

Shape = tuple[int, int]
Centre = tuple[float, float]


def rotated_coordinates(shape: Shape, centre: Centre | None = None, orientation: float = 0.0):
    """Return the coordinates along and across a direction, in pixels from a centre.

        X = dx cos t - dy sin t,   Y = -dx sin t - dy cos t      (dy points down, t counter-clockwise as displayed)

    Parameters
    ----------
    shape : (height, width) of the canvas in pixels.
    centre : (y, x) in pixels; the default is the unit's own pixel, (height // 2, width // 2).
    orientation : direction of X in degrees, counter-clockwise as displayed.

    Returns
    -------
    along, across : float64 arrays (height, width).

    Raises
    ------
    InputError
        If `shape` is not two positive integers.
    """
    if len(shape) != 2 or any(int(n) != n or n < 1 for n in shape):
        raise InputError(
            f"a canvas of shape {tuple(shape)} cannot be drawn: two positive integers, (height, width), would do"
        )
    height, width = int(shape[0]), int(shape[1])
    cy, cx = (height // 2, width // 2) if centre is None else centre
    dy, dx = np.mgrid[:height, :width].astype(float)
    dy, dx = dy - cy, dx - cx
    t = np.deg2rad(orientation)
    return dx * np.cos(t) - dy * np.sin(t), -dx * np.sin(t) - dy * np.cos(t)


def gaussian(
    shape: Shape = (32, 32),
    centre: Centre | None = None,
    *,
    sigma: float = 3.0,
    aspect: float = 1.0,
    orientation: float = 0.0,
) -> np.ndarray:
    """Return a Gaussian of unit peak, exp(-X^2 a / 2 sigma^2 - Y^2 / 2 a sigma^2).

    Parameters
    ----------
    shape, centre : canvas (height, width) and centre (y, x) in pixels.
    sigma : geometric mean of the two standard deviations, in pixels, positive.
    aspect : ratio a >= 1 of the long (Y) to the short (X) axis.
    orientation : direction of the short axis in degrees, counter-clockwise as displayed.

    Returns
    -------
    ndarray (height, width), float64.

    Raises
    ------
    InputError
        If a size is not positive.
    """
    _positive(sigma=sigma, aspect=aspect)
    along, across = rotated_coordinates(shape, centre, orientation)
    return np.exp(-(along**2 * aspect + across**2 / aspect) / (2 * sigma**2))


def difference_of_gaussians(
    shape: Shape = (32, 32),
    centre: Centre | None = None,
    *,
    sigma: float = 2.0,
    ratio: float = 2.0,
    balance: float = 1.0,
    aspect: float = 1.0,
    orientation: float = 0.0,
) -> np.ndarray:
    """Return a centre-surround field, exp(-r^2 / 2 s^2) - k / q^2 exp(-r^2 / 2 q^2 s^2), r stretched by the aspect.

    Parameters
    ----------
    shape, centre : canvas (height, width) and centre (y, x) in pixels.
    sigma : standard deviation s of the centre in pixels (geometric mean of the axes).
    ratio : q > 1, surround size over centre size.
    balance : k, integrated surround over integrated centre; 1 leaves no response to uniform light.
    aspect : long axis over short axis, >= 1.
    orientation : direction of the short axis in degrees, counter-clockwise as displayed.

    Returns
    -------
    ndarray (height, width), float64.

    Raises
    ------
    InputError
        If a size is not positive.
    """
    _positive(sigma=sigma, ratio=ratio, aspect=aspect)
    centre_part = gaussian(shape, centre, sigma=sigma, aspect=aspect, orientation=orientation)
    surround = gaussian(shape, centre, sigma=sigma * ratio, aspect=aspect, orientation=orientation)
    return centre_part - balance / ratio**2 * surround


def gabor(
    shape: Shape = (32, 32),
    centre: Centre | None = None,
    *,
    sigma: float | tuple[float, float] = 3.0,
    frequency: float = 0.125,
    phase: float = 0.0,
    orientation: float = 0.0,
) -> np.ndarray:
    """Return a Gabor, exp(-X^2 / 2 sx^2 - Y^2 / 2 sy^2) cos(2 pi f X + phase).

    Parameters
    ----------
    shape, centre : canvas (height, width) and centre (y, x) in pixels.
    sigma : standard deviation in pixels, or the pair (sx along the carrier, sy across it).
    frequency : f in cycles per pixel, so that nx = sx f.
    phase : degrees; 0 is even, 90 odd.
    orientation : direction of the carrier in degrees, counter-clockwise as displayed.

    Returns
    -------
    ndarray (height, width), float64.

    Raises
    ------
    InputError
        If a size is not positive.
    """
    sx, sy = (sigma, sigma) if np.isscalar(sigma) else sigma
    _positive(sigma=min(sx, sy))
    along, across = rotated_coordinates(shape, centre, orientation)
    envelope = np.exp(-(along**2) / (2 * sx**2) - across**2 / (2 * sy**2))
    return envelope * np.cos(2 * np.pi * frequency * along + np.deg2rad(phase))


def grating(
    shape: Shape = (32, 32),
    centre: Centre | None = None,
    *,
    frequency: float = 0.125,
    phase: float = 0.0,
    orientation: float = 0.0,
) -> np.ndarray:
    """Return a sinusoidal grating, cos(2 pi f X + phase), with f in cycles per pixel and angles in degrees."""
    along, _ = rotated_coordinates(shape, centre, orientation)
    return np.cos(2 * np.pi * frequency * along + np.deg2rad(phase))


def bar(
    shape: Shape = (32, 32), centre: Centre | None = None, *, width: float = 4.0, orientation: float = 0.0
) -> np.ndarray:
    """Return a bar, 1 where |X| <= width / 2 and 0 elsewhere; `orientation` (degrees) is that of its normal.

    Raises
    ------
    InputError
        If the width is not positive.
    """
    _positive(width=width)
    along, _ = rotated_coordinates(shape, centre, orientation)
    return (np.abs(along) <= width / 2).astype(float)


def _positive(**sizes: float) -> None:
    for name, value in sizes.items():
        if not value > 0:
            raise InputError(f"{name} = {value} is no size: a positive number would do")

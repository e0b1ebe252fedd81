"""Where a field is, how large it is, and how its two signs balance; all in pixels."""

from __future__ import annotations

import numpy as np


def energy_centroid(fields: np.ndarray) -> np.ndarray:
    """Return the centroid of w^2, (n, 2) as (y, x) in pixels from the top-left pixel, of fields (n, height, width)."""
    energy = fields.astype(float) ** 2
    total = energy.sum((1, 2))
    y = energy.sum(2) @ np.arange(fields.shape[1]) / total
    x = energy.sum(1) @ np.arange(fields.shape[2]) / total
    return np.stack([y, x], axis=1)


def radius(fields: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Return the RMS radius sqrt(sum r^2 w^2 / sum w^2), (n,); a circular Gaussian's is its sigma.

    Parameters
    ----------
    fields : ndarray (n, height, width).
    centre : ndarray (n, 2), (y, x) in pixels.

    Returns
    -------
    ndarray (n,), pixels.
    """
    energy = fields.astype(float) ** 2
    dy2 = (np.arange(fields.shape[1]) - centre[:, :1]) ** 2
    dx2 = (np.arange(fields.shape[2]) - centre[:, 1:]) ** 2
    moment = (energy.sum(2) * dy2).sum(1) + (energy.sum(1) * dx2).sum(1)
    return np.sqrt(moment / energy.sum((1, 2)))


def participation(fields: np.ndarray) -> np.ndarray:
    """Return the participation area (sum w^2)^2 / sum w^4, (n,); 2 pi sigma^2 for Gaussians, N^2 / 3 for noise."""
    energy = fields.astype(float) ** 2
    return energy.sum((1, 2)) ** 2 / (energy**2).sum((1, 2))


def surround_index(fields: np.ndarray) -> np.ndarray:
    """Return the mass of the weaker sign over that of the stronger, (n,).

    A balanced difference of Gaussians has 1, a Gaussian 0; but an odd Gabor has 1 as well, and noise nearly so: it
    tells of a surround only where p0 is high.
    """
    positive = np.clip(fields, 0, None).astype(float).sum((1, 2))
    negative = np.clip(-fields, 0, None).astype(float).sum((1, 2))
    return np.minimum(positive, negative) / np.maximum(positive, negative)


def border_fraction(fields: np.ndarray, margin: int = 2) -> np.ndarray:
    """Return the share of w^2 within `margin` pixels of the edge, (n,), of fields (n, height, width)."""
    energy = fields.astype(float) ** 2
    inside = energy[:, margin : energy.shape[1] - margin, margin : energy.shape[2] - margin].sum((1, 2))
    return np.clip(1 - inside / energy.sum((1, 2)), 0, 1)

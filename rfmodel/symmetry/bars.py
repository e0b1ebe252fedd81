"""Orientedness by a bank of bars, after Lindsey et al. (2019), as they published it and with its phase corrected.

A bank of bars of 50 angles over 360 degrees, 30 widths and 30 positions is compared with the field,

    S(angle, width, position) = |mean((G - mean G)(w - mean w))|,

the larger of each pair of opposite angles is kept, S is summed over boxes of 5 x 5 x 5, and the profile s(angle) is the
largest S at the best width, over positions, turned to its own peak and divided by it. Then

    bar_score = s[0] / s[13]   (13 steps: 93.6 degrees),       bar_sd = SD of s.

Source: Lindsey, Ocko, Ganguli & Deny (2019), the notebook Quantify_Orientedness of the code that goes with the paper.
As published, a bar moves along (1, 1) whatever its angle, so that at 135 degrees it does not move across its own axis
at all and an oriented field's score depends on where the field points. `corrected=True` moves each bar along its own
normal, by the same steps of one pixel about the unit's own pixel, (height // 2, width // 2).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.ndimage import uniform_filter

ANGLES, WIDTHS, POSITIONS, ORTHOGONAL, BOX = 50, 30, 30, 13, 5


def bar_scores(fields: np.ndarray, *, corrected: bool = False, chunk: int = 64) -> np.ndarray:
    """Return the two orientedness scores of Lindsey et al. (2019).

    Parameters
    ----------
    fields : ndarray (n, height, width), finite and not uniform.
    corrected : whether a bar's position runs along its own normal (True) or along (1, 1) as published (False).
    chunk : fields at a time.

    Returns
    -------
    ndarray (n, 2): s[0] / s[13], which is unbounded, and SD(s).
    """
    n, height, width = fields.shape
    bank, index = _bank(height, width, corrected)
    scores = np.empty((n, 2))
    for start in range(0, n, chunk):
        part = np.asarray(fields[start : start + chunk], dtype=np.float32).reshape(-1, height * width)
        part = part - part.mean(1, keepdims=True)
        similarity = np.abs(part @ bank) / (height * width)
        profile = _profile(similarity.reshape(len(part), ANGLES, -1, POSITIONS)[:, :, index])
        scores[start : start + chunk, 0] = profile[:, 0] / profile[:, ORTHOGONAL]
        scores[start : start + chunk, 1] = profile.std(1)
    return scores


def _profile(similarity: np.ndarray) -> np.ndarray:
    """Return s(angle), (n, 25), from similarities (n, angles, widths, positions); it repeats every 180 degrees."""
    half = similarity.reshape(len(similarity), 2, ANGLES // 2, WIDTHS, POSITIONS).max(1)
    # The published convolution runs on copies along the angle, so that it wraps there and reflects elsewhere.
    half = uniform_filter(half, size=(1, BOX, BOX, BOX), mode=("wrap", "wrap", "reflect", "reflect"))
    rows = np.arange(len(half))
    best = half.reshape(len(half), -1).argmax(1)
    angle, width, _ = np.unravel_index(best, half.shape[1:])
    profile = half[rows, :, width].max(2)
    turned = profile[rows[:, None], (angle[:, None] + np.arange(ANGLES // 2)) % (ANGLES // 2)]
    return turned / turned.max(1, keepdims=True)


@lru_cache(maxsize=2)
def _bank(height: int, width: int, corrected: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct bars (pixels, angles x distinct widths x positions) and the 30 widths' indices into them."""
    size = max(height, width)
    wanted = 2 * np.round(np.logspace(1, np.log2(max(size / 4, 2)), WIDTHS, base=2))
    widths, index = np.unique(wanted, return_inverse=True)
    angle = 2 * np.pi * np.arange(ANGLES) / ANGLES
    y, x = (axis.ravel() for axis in np.mgrid[:height, :width])
    cosine, sine = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    x, y = x[:, None, None, None], y[:, None, None, None]
    if corrected:
        # A bar is centred on its position: half a width to either side, and opposite angles hold the same bars.
        position = np.arange(POSITIONS) - POSITIONS // 2
        near = cosine * (x - width // 2) + sine * (y - height // 2) - position + widths[:, None] / 2
    else:
        # Summed in the published order, since bars' edges fall on whole pixels at 0 and 180 degrees.
        position = np.arange(POSITIONS)
        near = (cosine * (x - position) + sine * (y - position)) + np.zeros((len(widths), 1))
    bars = ((near >= 0) & (near <= widths[:, None])).astype(np.float32)
    return bars.reshape(height * width, -1), index

"""Saxe's solution: how a mode of a two-layer linear network is learned by gradient descent from balanced weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from rfmodel.errors import InputError


def saxe_overlap(s: ArrayLike, start: ArrayLike, time: ArrayLike) -> np.ndarray:
    r"""Return the overlap of each mode with its target over time.

    .. math::
        \tau \dot a = 2 a (s - a), \qquad
        \frac{a(t)}{s} = \frac{a_0}{a_0 (1 - e^{-2st/\tau}) + s\, e^{-2st/\tau}}

    A mode that one hidden unit carries obeys tau dw1/dt = w2 (s - a) and tau dw2/dt = w1 (s - a), with a = w2 w1.
    Then tau da/dt = (w1^2 + w2^2)(s - a), and w1^2 - w2^2 is conserved: balanced weights, w1 = w2, stay so, and
    w1^2 + w2^2 = 2 a. That is a logistic equation of rate 2 s.

    Parameters
    ----------
    s : (..., modes)
        Singular values, above 0.
    start : (..., modes) or what broadcasts to it
        Strength a(0) of each mode, above 0: the square of either weight.
    time : (points,)
        From 0 on; in units of tau.

    Returns
    -------
    (..., points, modes)

    Raises
    ------
    InputError
        If a singular value or a strength is not above 0, or a time is below it.

    Notes
    -----
    Saxe, McClelland & Ganguli (2013), arXiv 1312.6120, the solution u_f(t) for two layers with equal weights. Written
    with falling exponentials alone, and not divided by a(0), it neither overflows late nor for the smallest start.
    """
    s, start = _positive(s, start)
    time = np.asarray(time, float)
    if not (time >= 0).all():
        raise InputError(f"time = {np.min(time):g} is not in Saxe's solution; use times from 0 on")
    s, start, phase = s[..., None, :], start[..., None, :], 2 * s[..., None, :] * time[:, None]
    return start / (s * np.exp(-phase) - start * np.expm1(-phase))


def saxe_time(s: ArrayLike, start: ArrayLike, level: float = 0.9) -> np.ndarray:
    r"""Return the time at which each mode's overlap reaches a level.

    .. math:: t = \frac{\tau}{2 s} \ln \frac{\lambda\,(s - a_0)}{(1 - \lambda)\, a_0}

    Parameters
    ----------
    s : (..., modes)
        Singular values, above 0.
    start : (..., modes) or what broadcasts to it
        Strength a(0) of each mode, above 0.
    level : float
        Of the overlap a / s, between 0 and 1.

    Returns
    -------
    (..., modes)
        In units of tau; 0 for a mode that is there, or above, from the start.

    Raises
    ------
    InputError
        If a singular value or a strength is not above 0, or the level is not between 0 and 1.

    Notes
    -----
    `saxe_overlap`, solved for the time.
    """
    s, start = _positive(s, start)
    if not 0 < level < 1:
        raise InputError(f"level = {level:g} is reached at no one time; use one between 0 and 1")
    behind = np.maximum(s - start, np.finfo(float).tiny)  # what has nothing to gain is there from the start
    return np.maximum((np.log(behind) - np.log(start) + np.log(level) - np.log1p(-level)) / (2 * s), 0.0)


def _positive(s: ArrayLike, start: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    s, start = np.broadcast_arrays(np.atleast_1d(np.asarray(s, float)), np.asarray(start, float))
    for name, values in (("singular value", s), ("starting strength", start)):
        if not (values > 0).all():
            raise InputError(f"{name} {np.min(values):g}: Saxe's solution has modes above 0 only; leave the others out")
    return s, start

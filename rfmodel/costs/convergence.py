"""Convergence: the arithmetic that a training does until it is nearly as good as it gets."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from rfmodel.errors import InputError


def to_fraction(accuracy: ArrayLike, flops_per_epoch: ArrayLike, fraction: float = 0.9) -> np.ndarray:
    r"""Return the FLOPs of training until the accuracy first reaches a fraction of its final value.

    .. math:: F \cdot e^*, \quad e^* = \min \{ e : a(e) \ge f\, a(E) \}

    with a(e) linear between epochs, E the last epoch and F the FLOPs of one. Evaluation is not counted.

    Parameters
    ----------
    accuracy : array, shape (..., epochs + 1)
        By epoch along the last axis, in any unit whose zero is no accuracy. Epoch 0 is before training and costs
        nothing: a run that starts at the target or above it costs 0.
    flops_per_epoch : float or array, shape (...)
        Of training, see `per_epoch`; one number, or one a run.
    fraction : float
        Above 0, to 1.

    Returns
    -------
    array, shape (...)
        NaN where an accuracy is not finite (a run that diverged: give the epochs that it lacks as NaN) or where the
        final one is not above 0.

    Raises
    ------
    InputError
        If the fraction is impossible, or there is no epoch.

    Notes
    -----
    Hanut & Kadmon, section 4.4 and Fig. 3c, bottom: 90 % of the final test accuracy.
    """
    if isinstance(fraction, bool) or not 0 < fraction <= 1:
        raise InputError(f"fraction {fraction!r} is impossible; use above 0 to 1")
    a = np.asarray(accuracy, dtype=float)
    if a.ndim == 0 or a.shape[-1] == 0:
        raise InputError(f"accuracy of shape {a.shape} has no epochs; give epochs along the last axis")
    final = a[..., -1]
    target = fraction * final
    with np.errstate(invalid="ignore"):
        after = np.argmax(a >= target[..., None], axis=-1)
    before = np.maximum(after - 1, 0)
    low, high = (np.take_along_axis(a, e[..., None], axis=-1)[..., 0] for e in (before, after))
    known = np.isfinite(a).all(axis=-1) & (final > 0)
    share = np.divide(target - low, high - low, out=np.ones_like(target), where=known & (high > low))
    epochs = np.where(after > 0, before + share, 0.0)
    return np.where(known, epochs * np.asarray(flops_per_epoch, dtype=float), np.nan)

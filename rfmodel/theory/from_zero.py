r"""Feedback alignment from vanishing weights, solved: matrix factorisation, or the linear network with k = r.

Let R = C Y = A diag(sigma) B^T. From zero weights W = A diag(w) B^T and Z = Y B diag(z) A^T for all times, and each
direction goes its own way,

.. math:: \dot w = \sigma (1 - z w), \quad \dot z = w (1 - z w), \quad z = w^2 / 2 \sigma,

the last since sigma dz = w dw. It rests at w = (2 sigma)^{1/3}, and u = w / (2 sigma)^{1/3} obeys
du/dt = (sigma^2 / 2)^{1/3} (1 - u^3): no plateau, as gradient descent has, for C moves W from the first moment. The
share z w = u^3 of the direction is learnt, and Y - Z W = Y (I - B diag(u^3) B^T). In steps the directions are as
independent.

About its end, with M = C Z = A diag(m) A^T and m = (sigma^2 / 2)^{1/3}, a disturbance falls at the rates m_i (W outside
the rows of C Y), m_i + 2 m_j (inside) and 2 m_i (Z where C does not see it): every one is positive, so that the end is
stable, and 3 max m is the fastest.
"""

from __future__ import annotations

import numpy as np

from rfmodel.theory.tasks import transposed


def end_from_zero(C: np.ndarray, Y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the Z and W at which feedback alignment from vanishing weights comes to rest.

    Parameters
    ----------
    C : (..., r, rows)
    Y : (..., rows, columns)

    Returns
    -------
    Z, W : (..., rows, r) and (..., r, columns)
        W = A (2 sigma)^(1/3) B^T and Z = Y W^+.
    """
    A, sigma, Bt = np.linalg.svd(C @ Y, full_matrices=False)
    w = np.cbrt(2 * sigma)
    seen = sigma > sigma.max(-1, keepdims=True) * max(Y.shape[-2:]) * np.finfo(float).eps
    inverse = np.divide(1.0, w, out=np.zeros_like(w), where=seen)
    return (Y @ transposed(Bt) * inverse[..., None, :]) @ transposed(A), (A * np.where(seen, w, 0.0)[..., None, :]) @ Bt


def time_to_learn(share: np.ndarray | float, sigma: np.ndarray | float) -> np.ndarray:
    r"""Return when a share of a direction is learnt by feedback alignment from vanishing weights.

    .. math::
        t = (2 / \sigma^2)^{1/3} \left[ \tfrac16 \ln \frac{1 + u + u^2}{(1 - u)^2} + \tfrac{1}{\sqrt 3}
        \left(\arctan \tfrac{2 u + 1}{\sqrt 3} - \tfrac{\pi}{6}\right) \right], \quad u = \text{share}^{1/3}

    Parameters
    ----------
    share : array
        In [0, 1).
    sigma : array
        Singular value of C Y.

    Returns
    -------
    array
        In units of tau.
    """
    u = np.cbrt(share)
    logarithm = np.log((1 + u + u**2) / (1 - u) ** 2) / 6
    turning = (np.arctan((2 * u + 1) / np.sqrt(3)) - np.pi / 6) / np.sqrt(3)
    return np.cbrt(2 / np.square(sigma)) * (logarithm + turning)

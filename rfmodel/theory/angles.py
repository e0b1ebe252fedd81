"""Angles: between feedback and the weights that it stands for, and between the subspaces that two rules find."""

from __future__ import annotations

import numpy as np

from rfmodel.theory.spectra import orthogonal
from rfmodel.theory.tasks import transposed


def alignment(C: np.ndarray, Z: np.ndarray) -> np.ndarray:
    r"""Return the angle between C and Z^T as vectors.

    .. math:: \cos \theta = \operatorname{tr}(C Z) / \|C\|_F \|Z\|_F

    Parameters
    ----------
    C : (..., r, rows)
    Z : (..., rows, r)

    Returns
    -------
    (...)
        Degrees; NaN where either is zero.

    Notes
    -----
    Lillicrap et al. (2016); Garg & Vempala (2022).
    """
    sizes = np.linalg.norm(C, axis=(-2, -1)) * np.linalg.norm(Z, axis=(-2, -1))
    with np.errstate(invalid="ignore"):
        return np.degrees(np.arccos(np.clip((C * transposed(Z)).sum((-2, -1)) / sizes, -1, 1)))


def principal_angles(W: np.ndarray, V: np.ndarray) -> np.ndarray:
    """Return the principal angles between the row spaces of W and V, rising.

    Parameters
    ----------
    W, V : (seeds, r, columns)

    Returns
    -------
    (seeds, r)
        Degrees. Small ones are as sound as large ones: their sines are taken beside their cosines. Rows that depend on
        each other span r dimensions all the same, by their QR decomposition.

    Notes
    -----
    Björck & Golub (1973), Numerical methods for computing angles between linear subspaces. `scipy.linalg`'s function
    takes one pair, and refuses two spaces whose numerical ranks differ.
    """
    A, B = (np.linalg.qr(transposed(one)).Q for one in (W, V))
    cosines = np.linalg.svd(transposed(A) @ B, compute_uv=False)
    sines = np.linalg.svd(B - A @ (transposed(A) @ B), compute_uv=False)[..., ::-1]
    return np.degrees(np.arctan2(sines, cosines))


def random_angles(rngs: list[np.random.Generator], width: int, columns: int) -> np.ndarray:
    """Return the principal angles, rising, of two random subspaces for each generator.

    Their cosines' squares have mean width / columns.

    Parameters
    ----------
    rngs : list of Generator
        One a seed.
    width : int
        Dimensions of either.
    columns : int
        Of the space.

    Returns
    -------
    (seeds, width)
        Degrees.
    """
    pairs = [(orthogonal(rng, columns, width).T, orthogonal(rng, columns, width).T) for rng in rngs]
    return principal_angles(*(np.stack(side) for side in zip(*pairs, strict=True)))

"""Spectra: the singular values of a task or of a matrix, by a law, and matrices that have them."""

from __future__ import annotations

import numpy as np

from rfmodel.errors import InputError
from rfmodel.theory.settings import SpectrumSettings

SMALLEST = 0.25  # of the largest, where a law asks for a smallest and none is given


def singular_values(settings: SpectrumSettings, rows: int, columns: int, rngs: list[np.random.Generator]) -> np.ndarray:
    r"""Return the singular values of each seed's matrix, falling.

    .. math::
        \text{linear: } s_1 + (s_d - s_1)\tfrac{i-1}{d-1}, \quad
        \text{power: } s_1 i^{-a}, \quad
        \text{exponential: } s_1 (s_d / s_1)^{(i-1)/(d-1)}, \quad
        \text{flat: } s_1

    "step" is s_1 for the head and s_d for the rest; "given" are the values as they stand; "gaussian" are those of
    A = sum_j u_j v_j^T with d pairs of standard normal vectors, scaled so that the largest is s_1.

    Parameters
    ----------
    settings : SpectrumSettings
    rows, columns : int
        Of the matrix.
    rngs : list of Generator
        One a seed; only "gaussian" draws from them.

    Returns
    -------
    (seeds, d)

    Raises
    ------
    InputError
        If there are more modes than the matrix has rows or columns, or the law lacks or contradicts something.

    Notes
    -----
    Hanut & Kadmon, section 3, for the Gaussian law.
    """
    require_modes(settings, rows, columns)
    if settings.law == "gaussian":
        return np.stack([_gaussian(settings, rows, columns, rng) for rng in rngs])
    return np.tile(of_law(settings), (len(rngs), 1))


def require_modes(settings: SpectrumSettings, rows: int, columns: int) -> int:
    """Return how many modes a spectrum has, if a matrix has room for them.

    Raises
    ------
    InputError
        If there are more than it has rows or columns.
    """
    modes, most = len(settings.values) or settings.modes, min(rows, columns)
    if modes > most:
        raise InputError(
            f"spectrum of {modes} modes: a matrix of {rows} x {columns} has {most} singular values; use modes = {most} "
            "or fewer"
        )
    return modes


def of_law(settings: SpectrumSettings) -> np.ndarray:
    """Return the singular values (d,) of a law that draws nothing.

    Raises
    ------
    InputError
        If the law lacks or contradicts something, or is one that has to be searched for.
    """
    d, first = settings.modes, settings.largest
    last = SMALLEST * first if settings.smallest is None else settings.smallest
    if last > first:
        raise InputError(f"spectrum.smallest = {last:g} is above spectrum.largest = {first:g}; a smaller one would do")
    place = np.linspace(0.0, 1.0, d)
    if settings.law == "given":
        values = np.sort(np.asarray(settings.values, float))[::-1]
        if not values[0] > 0:
            raise InputError("spectrum.values are all 0; one at least above 0 would do")
        return values
    if settings.law == "step":
        if settings.head is None or settings.head >= d:
            raise InputError(f"spectrum.head = {settings.head} of {d} modes leaves no step; use 1 to {d - 1}")
        return np.where(np.arange(d) < settings.head, first, last)
    laws = {
        "linear": first + (last - first) * place,
        "power": first * np.arange(1, d + 1) ** -settings.exponent,
        "exponential": first * (last / first) ** place,
        "flat": np.full(d, first),
    }
    if settings.law not in laws:
        raise InputError(f"spectrum '{settings.law}' is no law of this model; use {', '.join(sorted(laws))}")
    return laws[settings.law]


def _gaussian(settings: SpectrumSettings, rows: int, columns: int, rng: np.random.Generator) -> np.ndarray:
    left, right = rng.normal(size=(rows, settings.modes)), rng.normal(size=(settings.modes, columns))
    values = np.linalg.svd(left @ right, compute_uv=False)[: settings.modes]
    return settings.largest * values / values[0]


def orthogonal(rng: np.random.Generator, size: int, columns: int | None = None) -> np.ndarray:
    """Return a random matrix (size, columns) with orthonormal columns, uniform over all such.

    Notes
    -----
    Mezzadri (2007), How to generate random matrices from the classical compact groups: the signs of R's diagonal make
    the QR decomposition unique, without which its Q is not uniform.
    """
    Q, R = np.linalg.qr(rng.normal(size=(size, size if columns is None else columns)))
    return Q * np.sign(np.diagonal(R))

r"""The task of the linear network, y = A x + noise, by its second moments: of the population, or of p samples.

With whitened inputs a linear network learns from Sigma_io = <y x^T> and Sigma_oo = <y y^T> alone. Of p samples, whose
inputs are whitened exactly, both are drawn without the samples: the noise that falls on the inputs' row space is
Gaussian in Sigma_io, and what is left of it, independent of that, is a Wishart matrix of p - n degrees of freedom.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from scipy import stats

from rfmodel.errors import InputError
from rfmodel.theory.settings import LinearTaskSettings
from rfmodel.theory.spectra import orthogonal, require_modes, singular_values

COUNTED = 2**53  # whole numbers that a float tells apart
TASK = 0  # of the streams of a seed; see `stream`


def stream(seed: int, code: int) -> np.random.Generator:
    """Return a seed's own generator for one purpose, which no other seed or purpose moves."""
    return np.random.default_rng([seed, code])


def transposed(M: np.ndarray) -> np.ndarray:
    """Return the transpose of each seed's matrix."""
    return np.swapaxes(M, -1, -2)


@dataclass(frozen=True)
class LinearTask:
    r"""The second moments that a linear network learns from, of every seed, and the basis of Sigma_io = U S V^T.

    Parameters
    ----------
    A : (seeds, m, n)
        The map that is to be learnt.
    sigma_io : (seeds, m, n)
        <y x^T>, eq. A2.
    sigma_oo : (seeds, m, m)
        <y y^T>, eq. A3, noise and all.
    U : (seeds, m, m)
    values : (seeds, min(m, n))
        Singular values of Sigma_io, falling.
    V : (seeds, n, n)
    modes : int
        d, the rank of A.
    noise : float
        Standard deviation of each output's noise.
    samples : int
        p; 0 is the population.
    """

    A: np.ndarray
    sigma_io: np.ndarray
    sigma_oo: np.ndarray
    U: np.ndarray
    values: np.ndarray
    V: np.ndarray
    modes: int
    noise: float = 0.0
    samples: int = 0

    @classmethod
    def of_moments(
        cls, A: np.ndarray, sigma_io: np.ndarray, sigma_oo: np.ndarray, modes: int, noise: float = 0.0, samples: int = 0
    ) -> LinearTask:
        """Return the task of given second moments, with the basis of their singular value decomposition."""
        U, values, Vt = np.linalg.svd(sigma_io)
        return cls(A, sigma_io, sigma_oo, U, values, transposed(Vt), modes, noise, samples)

    @property
    def singular_values(self) -> np.ndarray:
        """Those of the task's modes, (seeds, d)."""
        return self.values[:, : self.modes]

    @property
    def S(self) -> np.ndarray:
        """Sigma_io in its own basis, (seeds, m, n)."""
        S = np.zeros_like(self.sigma_io)
        place = np.arange(self.values.shape[1])
        S[:, place, place] = self.values
        return S

    @property
    def rotated_oo(self) -> np.ndarray:
        """Sigma_oo in the basis of Sigma_io, U^T Sigma_oo U, (seeds, m, m)."""
        return transposed(self.U) @ self.sigma_oo @ self.U

    @property
    def unexplained(self) -> np.ndarray:
        """Covariance of the outputs given the inputs, Sigma_oo - Sigma_io Sigma_io^T, (seeds, m, m)."""
        return self.sigma_oo - self.sigma_io @ transposed(self.sigma_io)

    def of_seeds(self, which: slice | list[int]) -> LinearTask:
        """Return the task of some of the seeds."""
        arrays = {one.name: getattr(self, one.name) for one in fields(self)}
        return replace(self, **{name: a[which] for name, a in arrays.items() if isinstance(a, np.ndarray)})


def draw_task(settings: LinearTaskSettings, seeds: int) -> LinearTask:
    r"""Draw every seed's task.

    .. math::
        \Sigma_{io} = A + \sigma G / \sqrt p, \quad
        \Sigma_{oo} = \Sigma_{io} \Sigma_{io}^\top + \sigma^2\, \mathcal W_m(p - n) / p

    with G standard normal and a Wishart matrix independent of it, exactly in law where the inputs of the p samples are
    whitened, X X^T / p = I; of the population A and A A^T + sigma^2 I.

    Parameters
    ----------
    settings : LinearTaskSettings
    seeds : int
        Seed i's task is its own: more seeds leave it as it was.

    Returns
    -------
    LinearTask

    Raises
    ------
    InputError
        If there are more modes than the sizes allow or a mode of singular value 0, or fewer samples than inputs.

    Notes
    -----
    Hanut & Kadmon, section 3 and eqs. A2 to A4. Eq. A55 leaves the noise out of Sigma_oo; it is kept here.
    """
    require_possible(settings)
    m, n, p = settings.outputs, settings.inputs, settings.samples
    rngs = [stream(seed, TASK) for seed in range(seeds)]
    U, V = (np.stack([orthogonal(rng, size) for rng in rngs]) for size in (m, n))
    s = singular_values(settings.spectrum, m, n, rngs)
    d = s.shape[1]
    A = (U[:, :, :d] * s[:, None]) @ transposed(V[:, :, :d])
    if p and settings.noise:
        G, rest = (np.stack(part) for part in zip(*(_of_samples(rng, m, n, p) for rng in rngs), strict=True))
        sigma_io = A + settings.noise * G
        sigma_oo = sigma_io @ transposed(sigma_io) + settings.noise**2 * rest
        return LinearTask.of_moments(A, sigma_io, sigma_oo, d, settings.noise, p)
    values = np.zeros((seeds, min(m, n)))
    values[:, :d] = s
    sigma_oo = A @ transposed(A) + settings.noise**2 * np.eye(m)
    return LinearTask(A, A, sigma_oo, U, values, V, d, settings.noise, p)


def require_possible(settings: LinearTaskSettings) -> None:
    """Refuse a task that cannot be.

    Raises
    ------
    InputError
        If there are more modes than the sizes allow or a mode of singular value 0, or fewer samples than inputs.
    """
    n, p = settings.inputs, settings.samples
    require_modes(settings.spectrum, settings.outputs, n)
    if p and not n <= p <= COUNTED:
        raise InputError(
            f"task.samples = {p} cannot be whitened in {n} inputs; use {n} to {COUNTED}, or 0 for the population"
        )
    if noughts := settings.spectrum.values.count(0):
        raise InputError(
            f"task.spectrum.values has {noughts} values of 0, by which no overlap can be divided; leave them out"
        )


def _of_samples(rng: np.random.Generator, m: int, n: int, p: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what noise of variance one adds to Sigma_io and, beside Sigma_io Sigma_io^T, to Sigma_oo."""
    return rng.normal(size=(m, n)) / np.sqrt(p), wishart(rng, m, p - n) / p


def wishart(rng: np.random.Generator, size: int, freedom: int) -> np.ndarray:
    """Return the second moment, times their number, of so many standard normal vectors (size,)."""
    if freedom < size:  # singular, which scipy's law is not
        X = rng.normal(size=(size, freedom))
        return X @ X.T
    return stats.wishart.rvs(freedom, np.eye(size), random_state=rng).reshape(size, size)

"""The weights before learning, of every seed, and their rotation into the basis of the task."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rfmodel.errors import InputError
from rfmodel.theory.settings import InitialSettings, LinearDynamicsSettings
from rfmodel.theory.spectra import orthogonal
from rfmodel.theory.tasks import LinearTask, stream, transposed

FORWARD, FEEDBACK = 1, 2  # of the streams of a seed


class Weights(NamedTuple):
    """The weights of every seed: arrays of numpy or tensors.

    Parameters
    ----------
    W1 : (seeds, k, n)
    W2 : (seeds, m, k)
    Q : (seeds, k, r)
    P : (seeds, r, m)
        The feedback is B = Q P; gradient descent reads neither.
    """

    W1: np.ndarray
    W2: np.ndarray
    Q: np.ndarray
    P: np.ndarray

    def of_seeds(self, which: slice) -> Weights:
        """Return the weights of some of the seeds."""
        return Weights(*(one[which] for one in self))


def resolved_rank(settings: LinearDynamicsSettings) -> int:
    """Return the rank of the feedback: what was asked, or as many as there are hidden or output units.

    Raises
    ------
    InputError
        If it is above what both can carry.
    """
    k, m, rank = settings.task.hidden, settings.task.outputs, settings.feedback.rank
    if rank is not None and rank > min(k, m):
        raise InputError(f"feedback.rank = {rank} is impossible: B is {k} x {m}; use {min(k, m)} or fewer")
    return min(k, m) if rank is None else rank


def draw_weights(settings: LinearDynamicsSettings, task: LinearTask) -> Weights:
    r"""Draw every seed's weights before learning, in the original basis.

    Forward weights are N(0, forward^2), or, balanced,

    .. math:: W_1 = \epsilon R V_c^\top, \quad W_2 = \epsilon U_c R^\top, \quad R^\top R = I

    in the task's c = min(k, m, n) first modes, so that each overlap is epsilon^2 / s at the beginning. Rows of P and
    columns of Q have norm one: in the mean of N(0, 1/m) and N(0, 1/k), or exactly and at right angles.

    Parameters
    ----------
    settings : LinearDynamicsSettings
    task : LinearTask

    Returns
    -------
    Weights

    Raises
    ------
    InputError
        If the rank is impossible.

    Notes
    -----
    A lower rank takes the first rows and columns of a higher one. Balanced: Saxe, McClelland & Ganguli (2013).
    """
    sizes, rank, seeds = settings.task, resolved_rank(settings), range(len(task.A))
    k, m = sizes.hidden, sizes.outputs
    forward = _balanced_forward if settings.initial.balanced else _random_forward
    W1, W2 = forward(settings.initial.forward, k, task, [stream(seed, FORWARD) for seed in seeds])
    drawn = [_feedback(settings.initial, stream(seed, FEEDBACK), k, m) for seed in seeds]
    Q, P = (np.stack(part) for part in zip(*drawn, strict=True))
    return Weights(W1, W2, np.ascontiguousarray(Q[:, :, :rank]), np.ascontiguousarray(P[:, :rank]))


def _random_forward(
    size: float, k: int, task: LinearTask, rngs: list[np.random.Generator]
) -> tuple[np.ndarray, np.ndarray]:
    _, m, n = task.A.shape
    W1, W2 = (np.stack([rng.normal(size=shape) for rng in rngs]) for shape in ((k, n), (m, k)))
    return size * W1, size * W2


def _balanced_forward(
    size: float, k: int, task: LinearTask, rngs: list[np.random.Generator]
) -> tuple[np.ndarray, np.ndarray]:
    """Return forward weights that are aligned with the task's modes, as many as the network has room for."""
    _, m, n = task.A.shape
    c = min(k, m, n)
    R = np.stack([orthogonal(rng, k, c) for rng in rngs])
    return size * R @ transposed(task.V[:, :, :c]), size * task.U[:, :, :c] @ transposed(R)


def _feedback(settings: InitialSettings, rng: np.random.Generator, k: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Return Q (k, min(k, m)) and P (min(k, m), m), of which lower ranks are parts."""
    most = min(k, m)
    if settings.feedback == "orthonormal":
        return orthogonal(rng, k, most), orthogonal(rng, m, most).T
    return rng.normal(size=(k, most)) / np.sqrt(k), rng.normal(size=(most, m)) / np.sqrt(m)


def rotated(weights: Weights, task: LinearTask) -> Weights:
    r"""Return the weights in the basis of the task.

    .. math:: \bar W_1 = W_1 V, \quad \bar W_2 = U^\top W_2, \quad \bar P = P U

    Q lives among hidden units and is not rotated.

    Notes
    -----
    Hanut & Kadmon, eqs. A14 and A46.
    """
    return Weights(weights.W1 @ task.V, transposed(task.U) @ weights.W2, weights.Q, weights.P @ task.U)


def unrotated(weights: Weights, task: LinearTask) -> Weights:
    """Return the weights in the original basis: the inverse of `rotated`."""
    return Weights(weights.W1 @ transposed(task.V), task.U @ weights.W2, weights.Q, weights.P @ transposed(task.U))

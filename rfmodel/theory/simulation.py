"""The learning rules step by step, in the original basis: the package's own plasticity, for all seeds at once.

Forward weights descend the error; what the feedback learns is `rfmodel.routing.plasticity`, mapped over the seeds. A
step has the size eta = dt / tau, so that a small one follows the flow.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.func import vmap

from rfmodel.routing import plasticity
from rfmodel.theory.equations import learning, pace
from rfmodel.theory.initial import Weights
from rfmodel.theory.integration import Followed, require_finite
from rfmodel.theory.settings import FeedbackSettings, IntegrationSettings
from rfmodel.theory.stability import Watch, largest_step
from rfmodel.theory.tasks import LinearTask, stream, transposed

ONLINE = 3  # of the streams of a seed

Observe = Callable[[float, Weights], dict[str, np.ndarray]]
Moments = Callable[[Weights], tuple[Tensor, Tensor, float]]


def steps_of(settings: IntegrationSettings) -> int:
    """Return how many steps reach the duration."""
    return int(np.ceil(settings.duration / settings.step - 1e-9))


def simulate(
    feedback: FeedbackSettings,
    settings: IntegrationSettings,
    task: LinearTask,
    start: Weights,
    times: np.ndarray,
    observe: Observe,
    manner: str = "full_batch",
    largest: np.ndarray | None = None,
) -> Followed:
    r"""Take the discrete rule's steps, and observe the weights at the times asked for.

    .. math:: \Delta W_1 = \eta B \langle e x^\top \rangle, \quad \Delta W_2 = \eta \langle e x^\top \rangle W_1^\top,
        \quad e = y - W_2 W_1 x

    with Q and P by `plasticity.hebbian`, `plasticity.reconstruction` or `plasticity.oja`, of the size
    eta * rate * exp(-annealing * t). The averages are over the task's second moments ("full_batch") or over fresh
    Gaussian samples that have them ("online").

    Parameters
    ----------
    feedback : FeedbackSettings
    settings : IntegrationSettings
        Of which step, batch and duration are read.
    task : LinearTask
    start : Weights
        In the original basis.
    times : (points,)
        Rising from 0; between two steps the weights are on the line from one to the other.
    observe : callable of (time, weights)
        What is kept of the weights, in the original basis, by name.
    manner : {"full_batch", "online"}
    largest : (seeds,), optional
        Stable steps, which a refusal names; those of `rfmodel.theory.stability.largest_step` by default.

    Returns
    -------
    Followed
        With the weights at the end and the number of steps.

    Raises
    ------
    InputError
        If the weights are not finite at the beginning, or the error grows without bounds; says at which step, and what
        the largest stable one is.

    Notes
    -----
    Hanut & Kadmon, eqs. 4, A1, A5 to A11, A36 and A37.
    """
    require_finite(start, "the state at the beginning")
    batch = settings.batch if manner == "online" else None
    moments = full_batch(feedback, task) if batch is None else online(feedback, task, batch)
    weights = Weights(*(torch.from_numpy(np.array(one, float)) for one in start))
    if largest is None:
        largest = largest_step(feedback, task, start, None, batch)
    watch = Watch(settings.step, manner, task, largest)
    eta, steps, rows = settings.step, steps_of(settings), []
    with torch.no_grad():
        for step in range(steps + 1):
            E, signals, share = moments(weights)
            watch(step, E)
            moved = increments(feedback, weights, E, signals, share, step * eta)
            until = np.inf if step == steps else (step + 1 - 1e-9) * eta
            while len(rows) < len(times) and times[len(rows)] < until:
                time = times[len(rows)]
                rows.append(observe(time, _arrays(_ahead(weights, moved, time - step * eta))))
            if step < steps:
                for name, one in moved.items():
                    getattr(weights, name).add_(one, alpha=eta)
    seen = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    return Followed(seen, _arrays(weights), steps)


def _ahead(weights: Weights, moved: dict[str, Tensor], time: float) -> Weights:
    """Return the weights so long after a step began."""
    return weights._replace(**{name: getattr(weights, name) + time * one for name, one in moved.items()})


def increments(
    feedback: FeedbackSettings, weights: Weights, E: Tensor, signals: Tensor, share: float, time: float
) -> dict[str, Tensor]:
    """Return what a step of size one would add to each weight that learns.

    Parameters
    ----------
    feedback : FeedbackSettings
    weights : Weights
        Tensors, in the original basis.
    E : (seeds, m, n)
        <e x^T>.
    signals : (seeds, samples, m)
        What drives Oja's rule, one row a sample, each scaled by its share of the loss.
    share : float
        Share of the loss that one sample carries; see `plasticity.oja`.
    time : float
        For the annealing.
    """
    W1, W2, Q, P = weights
    names = learning(feedback)
    BE = W2.mT @ E if feedback.name == "gd" else Q @ (P @ E)
    moved = {"W1": BE, "W2": E @ W1.mT}
    if feedback.name == "normative":
        dQ, dP = vmap(plasticity.reconstruction)(Q.mT, P, W2)
        moved["Q"], moved["P"] = -dQ.mT, -dP
    elif len(names) > 2:
        if "Q" in names:
            moved["Q"] = -vmap(plasticity.hebbian)(P, -moved["W2"]).mT
        if "P" in names:
            moved["P"] = -vmap(plasticity.oja, in_dims=(0, 0, None))(P, signals, share)
    rate = pace(feedback, time)
    for name in names[2:]:
        moved[name] = rate * (moved[name] - feedback.decay * getattr(weights, name))
    return moved


def full_batch(feedback: FeedbackSettings, task: LinearTask) -> Moments:
    """Return what a step reads of all samples: their second moments, and rows that have them."""
    sigma_io = torch.from_numpy(task.sigma_io)
    by_targets = torch.from_numpy(transposed(root(task.sigma_oo)).copy())
    noise = torch.from_numpy(transposed(root(task.unexplained)).copy()) if task.noise else None

    def moments(weights: Weights) -> tuple[Tensor, Tensor, float]:
        E = sigma_io - weights.W2 @ weights.W1
        if feedback.drive == "targets":
            return E, by_targets, 1.0
        return E, E.mT if noise is None else torch.cat([E.mT, noise], 1), 1.0

    return moments


def online(feedback: FeedbackSettings, task: LinearTask, batch: int) -> Moments:
    r"""Return what a step reads of fresh samples, each seed's from a stream of its own.

    .. math:: y = \Sigma_{io} x + N \xi, \quad N N^\top = \Sigma_{oo} - \Sigma_{io} \Sigma_{io}^\top

    with x and xi standard normal: the population's own samples, y = A x + sigma xi, and for a task of p samples
    Gaussian ones of the same second moments.
    """
    seeds, m, n = task.sigma_io.shape
    rngs = [stream(seed, ONLINE) for seed in range(seeds)]
    sigma_io = torch.from_numpy(task.sigma_io)
    N = torch.from_numpy(root(task.unexplained)) if task.noise else None
    drawn = torch.empty(seeds, batch, n + (m if task.noise else 0), dtype=torch.float64)

    def moments(weights: Weights) -> tuple[Tensor, Tensor, float]:
        for rng, out in zip(rngs, drawn.numpy(), strict=True):
            rng.standard_normal(out=out)
        x = drawn[:, :, :n]
        y = x @ sigma_io.mT
        if N is not None:
            y = y + drawn[:, :, n:] @ N.mT
        return of_samples(feedback, weights, x, y)

    return moments


def of_samples(feedback: FeedbackSettings, weights: Weights, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, float]:
    """Return what a step reads of samples x (seeds, samples, n) and y (seeds, samples, m), by a mean loss."""
    share = 1.0 / x.shape[1]
    e = (y - (x @ weights.W1.mT) @ weights.W2.mT) * share
    return e.mT @ x, y * share if feedback.drive == "targets" else e, share


def root(covariance: np.ndarray) -> np.ndarray:
    """Return N with N N^T = C for each seed, also where C is singular."""
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(np.clip(values, 0.0, None))[:, None]


def _arrays(weights: Weights) -> Weights:
    return Weights(*(one.numpy() for one in weights))

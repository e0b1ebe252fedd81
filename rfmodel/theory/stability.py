r"""The largest step that the discrete rules bear, from the spectrum, and the watch over a simulation.

A step of size eta is stable where eta times the fastest rate of the linearised rule is below 2. At the solution, a
small error decays by W_1^T W_1 from the right and W_2 B from the left, so that the fastest rate is the sum of their
largest eigenvalues: of the first mode, w_1^2 + w_2 b, with w_2 w_1 = s_1. What b is at the end follows from the
conserved quantities of `rfmodel.theory.equations.conserved`, from small forward weights.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor

from rfmodel.errors import InputError
from rfmodel.theory.equations import energy, learning
from rfmodel.theory.initial import Weights
from rfmodel.theory.settings import FeedbackSettings
from rfmodel.theory.tasks import LinearTask

LOST = 100.0  # times the error at the beginning, or the task's, which no rule reaches that is on its way to learn
FAR = 0.1  # of an overlap from the flow
TINY = 1e-300  # of a rate, so that weights of nought bear any step
FIRST_LEAP = 0.647  # see `largest_step`


def largest_step(
    feedback: FeedbackSettings,
    task: LinearTask,
    start: Weights,
    end: Weights | None = None,
    batch: int | None = None,
) -> np.ndarray:
    r"""Estimate the largest stable step of each seed.

    .. math:: \eta < \min\Bigl(\frac{2}{w_1^2 + w_2 b}, \frac{2}{\kappa \rho}\Bigr)

    Gradient descent is balanced, w_1 = w_2 = b = sqrt(s_1), and has the bound 1 / s_1: the greatest curvature of the
    loss is 2 s_1. Of a fixed B, w_1^2 = 2 b w_2 = (2 b s_1)^{2/3}, and the bound is .84 (b s_1)^{-2/3}; but from
    nought the first steps leap by eta b s_1 each, and beyond .647 (b s_1)^{-2/3}, a number of the scalar map's own,
    they leap over the solution for good. Of B = q p with q Hebbian at the rate kappa, q - q_0 = kappa g,
    w_1^2 = g (q + q_0) and w_2 = g / p. rho is the fastest rate of the feedback's own rule,
    whose pace is kappa: 2 c_1 of Oja's, for the largest eigenvalue c_1 of its covariance, or c_1 (|P|^2 - 1) from
    where P is large at first, which its cubic would otherwise fling away; |Q|^2 + |P|^2 of the normative one, at the
    beginning or at the end; the decay of a Hebbian Q.

    Parameters
    ----------
    feedback : FeedbackSettings
    task : LinearTask
    start : Weights
        In either basis.
    end : Weights, optional
        Where the flow came to, in either basis: the rate is measured there too. The normative rule wants it, whose
        forward weights are as unequal as its first, random feedback makes them.
    batch : int, optional
        Samples of an online step, of which few bear but a share 1 / (1 + (n + 1) / batch): the fourth moments of
        Gaussian inputs.

    Returns
    -------
    (seeds,)

    Notes
    -----
    For the share: Widrow & Stearns (1985), Adaptive signal processing, of the LMS rule.
    """
    seeds = range(len(task.A))
    bounds = np.array([_of_seed(feedback, task.of_seeds(slice(i, i + 1)), start.of_seeds(i)) for i in seeds])
    if end is not None:
        bounds = np.minimum(bounds, [2.0 / max(_rate_at(feedback, end.of_seeds(i)), TINY) for i in seeds])
    return bounds if batch is None else bounds / (1.0 + (task.A.shape[2] + 1) / batch)


def _rate_at(feedback: FeedbackSettings, weights: Weights) -> float:
    """Return the largest eigenvalue of W1^T W1 and that of W2 B, together."""
    W1, W2, Q, P = weights
    heard = W2.T @ W2 if feedback.name == "gd" else P @ W2 @ Q  # of the same eigenvalues as W2 B, but for zeros
    return float(np.linalg.norm(W1, 2) ** 2 + np.abs(np.linalg.eigvals(heard)).max())


def _of_seed(feedback: FeedbackSettings, task: LinearTask, start: Weights) -> float:
    s = float(task.values[0, 0])
    if feedback.name == "gd":
        return 1.0 / s
    P, Q, kappa = np.linalg.norm(start.P, 2), np.linalg.norm(start.Q, 2), feedback.rate
    if feedback.name == "normative":
        end = np.sqrt((Q**2 - P**2) ** 2 + 4 * s)  # of q p = sqrt(s) with q^2 - p^2 conserved
        return min(1.0 / s, 2.0 / (kappa * (max(Q**2 + P**2, end) + feedback.decay)))
    hebbian = "Q" in learning(feedback)
    if feedback.name != "oja":
        gain = np.linalg.norm(start.P, 2) if hebbian else np.linalg.norm(start.Q @ start.P, 2)
        if not hebbian:
            return FIRST_LEAP / (gain * s) ** (2 / 3)
        return min(_forward_bound(s, gain, Q, kappa), 2.0 / max(kappa * feedback.decay, TINY))
    c = float(np.linalg.eigvalsh(task.sigma_oo[0])[-1])
    own = 2.0 / (kappa * (c * max(2.0, P**2 - 1.0) + feedback.decay))
    gain = max(P, 1.0)
    return min(own, _forward_bound(s, gain, Q, kappa) if hebbian else FIRST_LEAP / (gain * Q * s) ** (2 / 3))


def _forward_bound(s: float, p: float, q: float, kappa: float) -> float:
    """Return 2 / (w_1^2 + w_2 b) of a mode at its solution, with b = q p and q Hebbian at the rate kappa."""
    # q grows by kappa g, with g^3 (2 q + kappa g) = (p s)^2 from w_1 w_2 = s.
    g = brentq(lambda g: g**3 * (2 * q + kappa * g) - (p * s) ** 2, 0.0, 1.01 * ((p * s) ** 2 / (2 * q)) ** (1 / 3))
    return 2.0 / (g * (2 * q + kappa * g) + g * (q + kappa * g))


class Watch:
    """Watches a simulation's error, and stops it once it is not finite or has grown without bounds.

    Parameters
    ----------
    step : float
    manner : {"full_batch", "online"}
    task : LinearTask
    largest : (seeds,)
        See `largest_step`.
    """

    def __init__(self, step: float, manner: str, task: LinearTask, largest: np.ndarray) -> None:
        self.eta, self.manner, self.largest = step, manner, largest
        self.scale = torch.from_numpy(energy(task.sigma_io))
        self.bound: Tensor | None = None

    def __call__(self, step: int, E: Tensor) -> None:
        """Look at the error (seeds, m, n) that a step reads.

        Raises
        ------
        InputError
            Names the step size, the first seed that is lost, the time, and the largest stable step.
        """
        power = E.square().sum((1, 2))
        if self.bound is None:
            self.bound = LOST**2 * torch.maximum(power, self.scale)
        kept = power <= self.bound
        if not bool(kept.all()):
            seed = int(torch.nonzero(~kept)[0, 0])
            raise too_large(
                self.eta, f"{self.manner} of seed {seed} diverged", step * self.eta, float(self.largest[seed])
            )


def too_large(step: float, what: str, time: float, largest: float) -> InputError:
    """Return the refusal of a step, with what happened at a time."""
    advice = "" if step > largest else "; this one is below that, so start from smaller weights or halve it"
    return InputError(
        f"integration.step = {step:g} is too large: {what} at time {time:.4g}; the largest stable step is about "
        f"{largest:.2g}{advice}"
    )


def require_near(
    step: float, manners: tuple[str, ...], times: np.ndarray, overlaps: list[np.ndarray], largest: np.ndarray
) -> None:
    """Refuse a full-batch step that is above the largest stable one where it has left the flow, bounded as it may stay.

    A step a little too large does not diverge but goes round the solution for ever.

    Parameters
    ----------
    step : float
    manners : tuple of str
        Of the overlaps but the first.
    times : (points,)
    overlaps : list of (points, seeds, modes)
        The flow's first.
    largest : (seeds,)
        See `largest_step`.

    Raises
    ------
    InputError
        Names the step, the seed, the time, and the largest stable step.
    """
    for manner, overlap in zip(manners, overlaps[1:], strict=True):
        away = np.abs(overlap - overlaps[0]).max(-1) > FAR
        lost = np.flatnonzero(away.any(0) & (step > largest)) if manner == "full_batch" else ()
        if len(lost):
            seed = int(lost[0])
            time = float(times[away[:, seed].argmax()])
            raise too_large(step, f"{manner} of seed {seed} left its flow", time, float(largest[seed]))

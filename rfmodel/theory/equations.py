r"""The equations of motion of the two-layer linear network, in the basis of the task: one small function a law.

Time is in units of tau, the inverse of the learning rate. E = S - W2 W1 is what is left to learn. Every array has the
seeds as its first axis.
"""

from __future__ import annotations

import numpy as np

from rfmodel.theory.initial import Weights
from rfmodel.theory.integration import Flow, State
from rfmodel.theory.settings import FeedbackSettings
from rfmodel.theory.tasks import LinearTask, transposed


def residual(S: np.ndarray, W2: np.ndarray, W1: np.ndarray) -> np.ndarray:
    """Return E = S - W2 W1."""
    return S - W2 @ W1


def delivered(feedback: FeedbackSettings, weights: Weights, E: np.ndarray) -> np.ndarray:
    """Return B E: by gradient descent B is the transpose of W2, else Q P."""
    if feedback.name == "gd":
        return transposed(weights.W2) @ E
    return weights.Q @ (weights.P @ E)


def forward_law(BE: np.ndarray, E: np.ndarray, W1: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the velocities of the forward weights.

    .. math:: \tau \dot W_1 = B E, \quad \tau \dot W_2 = E W_1^\top

    Notes
    -----
    Hanut & Kadmon, eqs. 5 and A26.
    """
    return BE, E @ transposed(W1)


def normative_law(Q: np.ndarray, P: np.ndarray, W2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the velocities of Q and P that follow the transposed weights.

    .. math:: \tau_B \dot Q = (W_2^\top - Q P) P^\top, \quad \tau_B \dot P = Q^\top (W_2^\top - Q P)

    Notes
    -----
    Hanut & Kadmon, eqs. 9, 10 and A29.
    """
    R = transposed(W2) - Q @ P
    return R @ transposed(P), transposed(Q) @ R


def hebbian_law(W1: np.ndarray, PE: np.ndarray) -> np.ndarray:
    r"""Return the velocity of Q by the correlation of hidden activity with the error as P hears it.

    .. math:: \tau \dot Q = W_1 E^\top P^\top

    Notes
    -----
    Hanut & Kadmon, eqs. 18 and A58.
    """
    return W1 @ transposed(PE)


def oja_law(P: np.ndarray, PC: np.ndarray) -> np.ndarray:
    r"""Return the velocity of P by Oja's subspace rule, given P C.

    .. math:: \tau \dot P = P C (I - P^\top P)

    Notes
    -----
    Hanut & Kadmon, eqs. 15, 16 and A57.
    """
    return PC - (PC @ transposed(P)) @ P


def learning(feedback: FeedbackSettings) -> tuple[str, ...]:
    """Return the names of the weights that learn, in the order of a state."""
    Q = feedback.name in ("adaptive_q", "normative") or (feedback.name == "oja" and feedback.learn_q)
    P = feedback.name in ("normative", "oja")
    return ("W1", "W2") + ("Q",) * Q + ("P",) * P


def pace(feedback: FeedbackSettings, time: float) -> float:
    """Return the rate of the feedback's learning against the forward weights', at a time."""
    return feedback.rate * float(np.exp(-feedback.annealing * time))


def flow_of(feedback: FeedbackSettings, task: LinearTask, start: Weights) -> tuple[Flow, State]:
    r"""Return the flow of whatever learns, and its state at the beginning.

    Oja's rule is driven by C = Sigma_oo (eq. A57) or by the covariance of the error,

    .. math:: C = \langle \delta \delta^\top \rangle = E E^\top + \Sigma_{oo} - \Sigma_{io} \Sigma_{io}^\top,

    which is eq. 16 with the share of the noise that no network explains.

    Parameters
    ----------
    feedback : FeedbackSettings
    task : LinearTask
    start : Weights
        In the basis of the task.

    Returns
    -------
    flow, state : see `rfmodel.theory.integration.integrate`
        The state holds the weights named by `learning`, in that order.
    """
    names = learning(feedback)
    S, by_targets = task.S, task.rotated_oo
    noise = transposed(task.U) @ task.unexplained @ task.U if task.noise else None

    def driven(P: np.ndarray, PE: np.ndarray, E: np.ndarray) -> np.ndarray:
        if feedback.drive == "targets":
            return P @ by_targets
        return PE @ transposed(E) + (0.0 if noise is None else P @ noise)

    def flow(time: float, state: State) -> State:
        weights = start._replace(**dict(zip(names, state, strict=True)))
        W1, W2, Q, P = weights
        E = residual(S, W2, W1)
        moved = dict(zip(("W1", "W2"), forward_law(delivered(feedback, weights, E), E, W1), strict=True))
        if feedback.name == "normative":
            moved["Q"], moved["P"] = normative_law(Q, P, W2)
        elif len(names) > 2:
            PE = P @ E
            moved["Q"] = hebbian_law(W1, PE) if "Q" in names else None
            moved["P"] = oja_law(P, driven(P, PE, E)) if "P" in names else None
        for name in names[2:]:
            moved[name] = pace(feedback, time) * (moved[name] - feedback.decay * getattr(weights, name))
        return tuple(moved[name] for name in names)

    return flow, tuple(getattr(start, name) for name in names)


def conserved(feedback: FeedbackSettings, weights: Weights) -> tuple[np.ndarray, np.ndarray] | None:
    r"""Return the two terms whose difference the flow leaves as it was, or None where there are none.

    .. math::
        \text{gd: } W_1 W_1^\top - W_2^\top W_2, \quad
        \text{B fixed: } W_1 W_1^\top - (B W_2 + (B W_2)^\top), \\
        \text{normative: } Q^\top Q - P P^\top, \quad
        \text{Q Hebbian at the rate } \kappa: W_1 W_1^\top - Q Q^\top / \kappa

    The last two want feedback without decay, the last a rate that does not fall.

    Returns
    -------
    pair of (seeds, k, k) or (seeds, r, r), or None
    """
    W1, W2, Q, P = weights
    gram = W1 @ transposed(W1)
    if feedback.name == "gd":
        return gram, transposed(W2) @ W2
    if feedback.name == "fa":
        BW2 = Q @ (P @ W2)
        return gram, BW2 + transposed(BW2)
    if feedback.decay:
        return None
    if feedback.name == "normative":
        return transposed(Q) @ Q, P @ transposed(P)
    if "Q" in learning(feedback) and not feedback.annealing:
        return gram, Q @ transposed(Q) / feedback.rate
    return None


def overlap(S: np.ndarray, W2: np.ndarray, W1: np.ndarray, modes: int) -> np.ndarray:
    r"""Return how much of each mode the network has learnt, (seeds, modes).

    .. math:: \Lambda_i = (W_2 W_1)_{ii} / S_{ii}

    in the basis of the task.

    Notes
    -----
    Hanut & Kadmon, eq. 7.
    """
    place = np.arange(modes)
    return np.einsum("sik,ski->si", W2[:, :modes], W1[:, :, :modes]) / S[:, place, place]


def energy(M: np.ndarray) -> np.ndarray:
    """Return the squared Frobenius norm of each seed's matrix, (seeds,)."""
    return np.einsum("sij,sij->s", M, M)

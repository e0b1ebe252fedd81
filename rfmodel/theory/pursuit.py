r"""Pursuit: when Oja's rule on the residual (eq. 16) stays with the modes it has taught, and when it runs on for ever.

Oja's rule turns P towards what dominates the residual. Once the modes in P's row space are learnt, P E = 0, and all
that is left of the residual lies outside: the joint system rests, as at any P with P E = 0 and E W_1^T = 0. Whether it
stays there is a matter of speed. Let X = P E. In the directions that W_1 has not, to first order,

.. math:: \tau \dot X = X (\kappa E^\top E) - (P W_2 Q) X,

where kappa is the rate of the feedback's learning against the weights'. P turns towards an unlearnt mode j at the rate
kappa s_j^2, and the weights bring the error that it then hears to nought at the rate of an eigenvalue mu_i of P W_2 Q.
The state is left if and only if

.. math:: \kappa\, s_{r+1}^2 > \min_i \operatorname{Re} \mu_i .

From small weights, with P on the top r modes and orthonormal Q, W_1 W_1^T - B W_2 - (B W_2)^T is conserved, so that
mu_i = s_i^{2/3} / 2^{1/3}: the top r are kept if kappa < s_r^{2/3} / (2^{1/3} s_{r+1}^2), which wants a gap in the
spectrum or slow feedback. Slow feedback, though, rests wherever it was when the weights had caught up, as fixed
feedback does.
"""

from __future__ import annotations

import numpy as np


def critical_rate(P: np.ndarray, W2: np.ndarray, Q: np.ndarray, E: np.ndarray) -> np.ndarray:
    """Return the rate of Oja's rule above which a state with P E = 0 is left.

    Parameters
    ----------
    P : (..., r, m)
    W2 : (..., m, k)
    Q : (..., k, r)
    E : (..., m, n)
        The residual S - W2 W1.

    Returns
    -------
    (...)
        Relative to the weights' rate: see `FeedbackSettings.rate`. Infinite where nothing is left to learn.

    Notes
    -----
    Linearised Hanut & Kadmon, eqs. 5 and 16; see the module.
    """
    relaxation = np.linalg.eigvals(P @ W2 @ Q).real.min(-1)
    turning = np.linalg.norm(E, 2, (-2, -1)) ** 2
    with np.errstate(divide="ignore"):
        return np.where(turning > 0, relaxation / turning, np.inf)


def critical_rate_of(values: np.ndarray, rank: int) -> np.ndarray:
    """Return the critical rate of the state in which P holds the top modes, reached from small weights.

    Parameters
    ----------
    values : (..., d)
        Singular values, falling.
    rank : int
        Of the feedback, whose directions have gain one.

    Returns
    -------
    (...)
        s_r^(2/3) / (2^(1/3) s_{r+1}^2); infinite where the rank is d or more.
    """
    if rank >= values.shape[-1]:
        return np.full(values.shape[:-1], np.inf)
    return (values[..., rank - 1] ** 2 / 2) ** (1 / 3) / values[..., rank] ** 2

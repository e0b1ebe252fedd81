"""Plasticity of feedback weights: each rule as the pseudo-gradient that a descending optimiser follows.

A rule's increment is minus what is returned. `weight` is the share of the loss that one sample carries (1/N for a
mean loss over N samples): delta arrives scaled by it, so delta / weight is the per-sample error of the papers, and
the sum over samples times weight is their average, however the batch was split.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass
class Moments:
    """What Oja's rule needs of an error, so that the covariance (m, m) itself is never formed.

    Parameters
    ----------
    product : (r, m)
        Sum of y delta^T over samples, with y = P delta: P C before centring and scaling.
    mean : (m,)
        Mean of delta.
    variance : (m,)
        Variance of delta, divided by the count: the diagonal of C, centred.
    count : int
        Samples (and places). The last three are needed by the centred forms alone.
    """

    product: Tensor
    mean: Tensor | None = None
    variance: Tensor | None = None
    count: int = 0


def oja(
    P: Float[Tensor, "r m"], rows: Float[Tensor, "s m"], weight: float, normalise: str = "none"
) -> Float[Tensor, "r m"]:
    r"""Return the pseudo-gradient of Oja's subspace rule for the projection P.

    .. math:: \Delta P = P C (I - P^\top P), \quad C = \langle \delta \delta^\top \rangle

    C is never formed: with y = P delta, P C = <y delta^T> and P C P^T = (P C) P^T.

    Parameters
    ----------
    P : (r, m)
    rows : (s, m)
        The error (or the labels) as it arrived, one row a sample (and a place, for feature maps).
    weight : float
        Share of the loss that one sample carries.
    normalise : {"none", "max", "std"}
        "none" is eq. 15: the sum over places, the average over samples. "max" is Algorithm 2: the error centred,
        C divided by the greatest of its diagonal. "std" is the released code: centred, divided by the greatest
        standard deviation over units, and summed.

    Returns
    -------
    (r, m)

    Notes
    -----
    Hanut & Kadmon, eq. 15 and Algorithm 2. "max" and "std" read statistics of the batch, so they depend, as in
    the paper, on what a batch is; eq. 15 does not. An error without variance moves nothing.
    """
    product = (rows @ P.T).T @ rows
    variance, mean = torch.var_mean(rows, 0, correction=0)
    return oja_from(P, Moments(product, mean, variance, len(rows)), weight, normalise)


def oja_from(P: Float[Tensor, "r m"], moments: Moments, weight: float, normalise: str) -> Float[Tensor, "r m"]:
    """Return what `oja` does, from the error's moments alone."""
    product = moments.product.to(P.dtype)
    if normalise == "none":
        return -(product - (product @ P.T) @ P) / weight
    mean, variance = moments.mean.to(P.dtype), moments.variance.to(P.dtype)
    # Centring costs no second look at the errors: <(d - m)(d - m)^T> = <d d^T> - m m^T.
    product = product - torch.outer(P @ mean, mean) * moments.count
    # Below the resolution of what was added up, a difference of equal sums is taken for nought.
    resolved = variance > mean.square() * (2 * torch.finfo(moments.product.dtype).eps)
    power = torch.where(resolved, variance, torch.zeros_like(variance)).max() * moments.count
    if normalise == "std":
        power = power / max(moments.count - 1, 1)
    increment = product - (product @ P.T) @ P
    # torch.where, not an if: the value lives on the device.
    return torch.where(power > 0, -increment / power, torch.zeros_like(increment))


def reconstruction(
    Q: Float[Tensor, "r n"], P: Float[Tensor, "r m"], W: Float[Tensor, "m n"]
) -> tuple[Float[Tensor, "r n"], Float[Tensor, "r m"]]:
    r"""Return the gradients, by Q and by P, of half the squared distance of the feedback map to the weights.

    .. math:: L_B = \tfrac12 \|P^\top Q - W\|_F^2

    in the forward orientation; transposed it is the papers' QP against W^T. The difference, of W's size, is not
    formed: P (W - P^T Q) = P W - (P P^T) Q, which costs 2 r m n multiplications in place of 3.

    Notes
    -----
    Hanut & Kadmon, eqs. 8, 9, 14; Algorithm 1.
    """
    return (P @ P.T) @ Q - P @ W, (Q @ Q.T) @ P - Q @ W.T


def hebbian(P: Float[Tensor, "r m"], dW: Float[Tensor, "m n"]) -> Float[Tensor, "r n"]:
    r"""Return the pseudo-gradient of the Hebbian rule for Q, from the layer's own weight gradient.

    .. math:: \nabla_Q = \sum P \delta\, h^\top = P\, \nabla_W, \quad \nabla_W = \sum \delta h^\top

    in the forward orientation.

    Notes
    -----
    Hanut & Kadmon, eq. 18 with eq. 13.
    """
    return P @ dW


def kolen_pollack(Q: Float[Tensor, "r n"], dW: Float[Tensor, "m n"]) -> Float[Tensor, "r m"]:
    r"""Return the pseudo-gradient, by P, of Kolen and Pollack's rule for a factorised map.

    .. math:: \nabla_P = Q\, h \delta^\top = Q\, \nabla_W^\top

    With `hebbian` for Q, B = QP moves to first order as W^T does within what its factors can express.

    Notes
    -----
    Hanut & Kadmon, eq. 2; the factorised form is the released code's for vision transformers.
    """
    return Q @ dW.T


def truncated(
    W: Float[Tensor, "m n"], rank: int, iterations: int = 0
) -> tuple[Float[Tensor, "r n"], Float[Tensor, "r m"]]:
    r"""Return Q and P whose product is the best approximation of W of that rank, its singular values shared out.

    .. math:: W \approx U_r S_r V_r^\top, \quad P = (U_r \sqrt{S_r})^\top, \quad Q = \sqrt{S_r} V_r^\top

    Parameters
    ----------
    W : (m, n)
    rank : int
    iterations : int
        0 is the exact decomposition; otherwise the power iterations of the randomised one (the released code: 2,
        which leaves 1 to 4 % more error than the best).

    Returns
    -------
    Q, P : (rank, n) and (rank, m)
        NaN where W is not finite.

    Notes
    -----
    Eckart & Young (1936); the released code of Hanut & Kadmon starts its normative maps so.
    """
    try:
        U, S, Vh = decomposed(W, rank, iterations)
    except torch.linalg.LinAlgError:
        if bool(W.isfinite().all()):
            raise
        # Weights that have diverged have none; the training sees it by its next look at the loss.
        return W.new_full((rank, W.shape[1]), torch.nan), W.new_full((rank, W.shape[0]), torch.nan)
    root = S[:rank].sqrt()
    return root[:, None] * Vh[:rank], (U[:, :rank] * root).mT


def decomposed(W: Tensor, rank: int, iterations: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return U, S and V^T of W: all of them where `iterations` is 0, else `rank` by that many power iterations."""
    if not iterations:
        return torch.linalg.svd(W, full_matrices=False)
    with torch.random.fork_rng(devices=[W.device] if W.device.type == "cuda" else []):
        torch.manual_seed(0)  # the sketch is random and may not depend on what was drawn before
        U, S, V = torch.svd_lowrank(W, q=rank, niter=iterations)
    return U, S, V.mT

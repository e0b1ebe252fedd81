"""Plasticity of feedback weights: each rule as the pseudo-gradient that a descending optimiser follows.

A rule's increment is minus what is returned. `weight` is the share of the loss that one sample carries (1/N for a
mean loss over N samples): delta arrives scaled by it, so delta / weight is the per-sample error of the papers, and
the sum over samples times weight is their average, however the batch was split.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def oja(
    P: Float[Tensor, "r m"], rows: Float[Tensor, "s m"], weight: float, normalise: str = "none"
) -> Float[Tensor, "r m"]:
    r"""Return the pseudo-gradient of Oja's subspace rule for the projection P.

    .. math:: \Delta P = P C (I - P^\top P), \quad C = \langle \delta \delta^\top \rangle

    C is never formed: with y = P delta, P C = <y delta^T> and P C P^T = <y y^T>.

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
    if normalise == "none":
        y = rows @ P.T
        return -((y.T @ rows) - (y.T @ y) @ P) / weight
    centred = rows - rows.mean(0)
    power = centred.square().sum(0).max()
    if normalise == "std":
        power = power / max(len(rows) - 1, 1)
    y = centred @ P.T
    increment = (y.T @ centred) - (y.T @ y) @ P
    # torch.where, not an if: the value lives on the device.
    return torch.where(power > 0, -increment / power, torch.zeros_like(increment))


def reconstruction(
    Q: Float[Tensor, "r n"], P: Float[Tensor, "r m"], W: Float[Tensor, "m n"]
) -> tuple[Float[Tensor, "r n"], Float[Tensor, "r m"]]:
    r"""Return the gradients, by Q and by P, of half the squared distance of the feedback map to the weights.

    .. math:: L_B = \tfrac12 \|P^\top Q - W\|_F^2

    in the forward orientation; transposed it is the papers' QP against W^T.

    Notes
    -----
    Hanut & Kadmon, eqs. 8, 9, 14; Algorithm 1.
    """
    E = W - P.T @ Q
    return -(P @ E), -(Q @ E.T)

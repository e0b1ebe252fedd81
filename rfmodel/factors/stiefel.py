"""The manifold of matrices with orthonormal columns: its tangents, the way back to it, the distance from it."""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-12  # keeps a column of zeros at zero


def tangent(U: Tensor, G: Tensor) -> Tensor:
    r"""Return the part of a gradient that is tangent to the Stiefel manifold at U.

    .. math:: P_U(G) = G - U \, \mathrm{sym}(U^T G), \quad \mathrm{sym}(A) = \tfrac12 (A + A^T)

    A projection, orthogonal to the normal space {U A : A symmetric}, where U^T U = I.

    Parameters
    ----------
    U, G : Tensor (m, r)

    Notes
    -----
    Absil, Mahony & Sepulchre (2008), eq. 3.35.
    """
    A = U.T @ G
    return G - U @ (0.5 * (A + A.T))


def horizontal(U: Tensor, G: Tensor) -> Tensor:
    r"""Return the part of a gradient that is orthogonal to the columns of U.

    .. math:: (I - U U^T) \, G

    Parameters
    ----------
    U, G : Tensor (m, r)

    Notes
    -----
    SSA (2025) calls it the projection on the Stiefel manifold's tangent space. It is the one on the horizontal space
    of the Grassmann manifold: it also takes away the rotations of U within its own span, which are tangent, so that a
    square U would never move.
    """
    return G - U @ (U.T @ G)


def retract(U: Tensor) -> Tensor:
    """Return the orthonormal Q of U = Q R, with a positive diagonal of R, so that an orthonormal U stays as it is.

    Parameters
    ----------
    U : Tensor (m, r)

    Notes
    -----
    Absil, Mahony & Sepulchre (2008), eq. 4.8.
    """
    Q, R = torch.linalg.qr(U.to(torch.promote_types(U.dtype, torch.float32)))
    sign = torch.where(R.diagonal() < 0, -1.0, 1.0).to(Q.dtype)
    return (Q * sign).to(U.dtype)


def drift(U: Tensor) -> Tensor:
    r"""Return how far the columns of U are from orthonormal, \|U^T U - I\|_F.

    Parameters
    ----------
    U : Tensor (m, r)
    """
    return torch.linalg.matrix_norm(U.T @ U - torch.eye(U.shape[1], dtype=U.dtype, device=U.device))


def to_sphere(U: Tensor) -> Tensor:
    """Return U with each column divided by its length; a column of zeros stays.

    Parameters
    ----------
    U : Tensor (m, r)

    Notes
    -----
    SSA (2024), section 4: "projecting ... SVD component norms onto the unit sphere", and A.1.
    """
    return torch.nn.functional.normalize(U, dim=0, eps=EPSILON)

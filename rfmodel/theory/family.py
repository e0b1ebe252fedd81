r"""The family of eq. 6: what B (S - W2 W1) = 0 alone leaves open, what both conditions leave, and what is reached.

.. math::
    \text{eq. 6 alone: } W_2 W_1 = S - (I - \Pi_P) X, \qquad
    \text{both: } W_2 W_1 = S\, \Pi_V \text{ with } V \supseteq \text{rows of } P S, \qquad
    \text{from vanishing weights: } V = \text{rows of } P S

with Pi_P the projector on P's rows in output space, any X (m, n), and V a space of inputs of k dimensions at most. The
second follows from E W1^T = 0, which makes W2 W1 the least squares S Pi_V on W1's rows V; P S (I - Pi_V) = 0 is then
the first. The third is `rfmodel.theory.stationary.stationary_overlap`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rfmodel.errors import InputError
from rfmodel.theory.stationary import Defect, row_basis, stationary_defect

RESTS = 1e-9  # a defect below it is rounding: the members are products of a few matrices of order one


@dataclass(frozen=True)
class Members:
    """Networks that satisfy eq. 6.

    Parameters
    ----------
    W1, W2 : (members, k, n), (members, m, k)
    overlap : (members, min(m, n))
        Eq. 7; NaN for modes that are not there.
    defect : Defect
        (members,), for B = P.
    stationary : (members,) bool
        Whether E W1^T = 0 too.
    """

    W1: np.ndarray
    W2: np.ndarray
    overlap: np.ndarray
    defect: Defect
    stationary: np.ndarray


@dataclass(frozen=True)
class Freedom:
    """Dimensions of the set of products W2 W1 that are left open.

    Parameters
    ----------
    feedback : int
        By B E = 0 alone, eq. 6.
    both : int
        By E W1^T = 0 as well.
    """

    feedback: int
    both: int


def family(S: np.ndarray, P: np.ndarray, hidden: int, X: np.ndarray) -> Members:
    """Return members of the family of eq. 6, one for each X.

    Where k units cannot express S - (I - Pi_P) X, the part of it that eq. 6 leaves free is replaced by its best
    approximation that they can: the product is of that form again, with another X.

    Parameters
    ----------
    S : (m, n)
        The task in its own basis.
    P : (r, m)
    hidden : int
        k.
    X : (members, m, n)

    Returns
    -------
    Members
        Almost none of them is stationary: X would have to be S Pi_V - S up to what Pi_P removes.

    Raises
    ------
    InputError
        If k units cannot express the r rows that eq. 6 asks for.

    Notes
    -----
    Hanut & Kadmon, eq. 6. Eckart & Young (1936) for the approximation.
    """
    asked, basis = row_basis(P), _asked(S, P, hidden)
    free = (np.eye(len(S)) - asked.T @ asked) @ (S - X)
    along = free @ basis.T @ basis  # rows that W1 has to have in any case
    U, s, Vh = np.linalg.svd(free - along, full_matrices=False)
    s[..., hidden - len(basis) :] = 0.0
    return _members(asked.T @ asked @ S + along + (U * s[..., None, :]) @ Vh, S, P, hidden)


def stationary_family(S: np.ndarray, P: np.ndarray, hidden: int, rows: np.ndarray) -> Members:
    """Return members that satisfy both conditions, S Pi_V, one for each set of rows that V holds beside those of P S.

    Parameters
    ----------
    S : (m, n)
        The task in its own basis.
    P : (r, m)
    hidden : int
        k.
    rows : (members, q, n)
        Of W1, such as those of (I - Q Q^+) W1, which fixed feedback leaves as they were drawn.

    Returns
    -------
    Members

    Raises
    ------
    InputError
        If V is of more than k dimensions.
    """
    basis = _asked(S, P, hidden)
    V = row_basis(np.concatenate([np.broadcast_to(basis, (len(rows), *basis.shape)), row_basis(rows)], -2))
    dimensions = int((V**2).sum((-2, -1)).max().round())
    if dimensions > hidden:
        raise InputError(f"rows of {dimensions} dimensions with those of P S; {hidden} hidden units have {hidden}")
    return _members(S @ V.swapaxes(-1, -2) @ V, S, P, hidden)


def freedom(inputs: int, hidden: int, outputs: int, modes: int, rank: int) -> Freedom:
    r"""Return how many dimensions the family has, as a set of products W2 W1 of k hidden units.

    .. math::
        (m - r) \rho + q (m - r + n - \rho - q), \quad q = \min(k - \rho, m - r, n - \rho); \qquad
        (e - \rho)(n - e), \quad e = \min(k, d); \qquad \rho = \min(r, d)

    Eq. 6 fixes r rows of the product, of rank rho. Of the m - r others, in the basis of P's rows and what is orthogonal
    to them, the part along those rho directions of inputs is free, and the part across is any matrix (m - r, n - rho)
    of rank k - rho: q (m - r + n - rho - q) dimensions, which make (m - r) n in all if k >= m and r <= d. With both
    conditions the product is S Pi_V, which depends on V by the e dimensions that S sees: those beyond the rho of P S
    are any subspace of the n - rho others. That is nothing if r >= d, or r = k: then there is one stationary point.

    Parameters
    ----------
    inputs, hidden, outputs, modes, rank : int
        n, k, m, d, r.

    Returns
    -------
    Freedom
    """
    seen, expressed = min(rank, modes), min(hidden, modes)
    others, across = outputs - rank, min(hidden - seen, outputs - rank, inputs - seen)
    alone = others * seen + across * (others + inputs - seen - across)
    return Freedom(alone, (expressed - seen) * (inputs - expressed))


def _asked(S: np.ndarray, P: np.ndarray, hidden: int) -> np.ndarray:
    basis = row_basis(P @ S)
    basis = basis[(basis**2).sum(-1) > 0]
    if len(basis) > hidden:
        raise InputError(
            f"hidden = {hidden} cannot express the {len(basis)} rows of P S; {len(basis)} or more would do"
        )
    return basis


def _members(product: np.ndarray, S: np.ndarray, P: np.ndarray, hidden: int) -> Members:
    U, s, Vh = np.linalg.svd(product)
    W1, W2 = np.zeros((len(product), hidden, S.shape[1])), np.zeros((len(product), S.shape[0], hidden))
    # No row more than the product has: a spare one asks more of E W1^T = 0 and gives nothing.
    kept = min(hidden, s.shape[-1])
    root = np.sqrt(np.where(s > RESTS * s[..., :1], s, 0.0))[..., :kept]
    W1[:, :kept], W2[..., :kept] = root[..., None] * Vh[:, :kept], U[..., :kept] * root[:, None, :]
    defect = stationary_defect(W1, W2, np.broadcast_to(P, (len(product), *P.shape)), S)
    modes = np.diagonal(S)
    with np.errstate(invalid="ignore", divide="ignore"):  # modes that are not there have no overlap
        overlap = np.where(modes > 0, np.diagonal(product, axis1=-2, axis2=-1) / modes, np.nan)
    return Members(W1, W2, overlap, defect, defect.forward < RESTS)

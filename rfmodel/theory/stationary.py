"""Stationary points: where learning from small weights ends, and how far a state is from having ended."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rfmodel.errors import InputError, one_of

RULES = ("gd", "fa", "adaptive_q", "normative", "oja")
TIED = 1e-9  # of the larger: values nearer each other are one value, and which comes first is not the task's to say


@dataclass(frozen=True)
class Defect:
    """How far a state is from stationary, each condition against the sizes of its factors; 0 where it holds.

    Parameters
    ----------
    feedback : (...)
        ||B E|| / (||B|| ||S||), of tau dW1/dt = B E.
    forward : (...)
        ||E W1^T|| / (||S|| ||W1||), of tau dW2/dt = E W1^T.
    """

    feedback: np.ndarray
    forward: np.ndarray


def stationary_overlap(
    name: str,
    drive: str,
    learn_q: bool,
    S: np.ndarray,
    P: np.ndarray | None,
    rank: int,
    hidden: int,
    C: np.ndarray | None = None,
    decay: float = 0.0,
) -> np.ndarray:
    r"""Return the mode overlaps that a rule reaches from vanishing forward weights, where they have a closed form.

    .. math:: W_2 W_1 = S\, \Pi, \qquad \Lambda_i = \Pi_{ii}, \qquad \Pi \text{ projects on the rows of } P S

    Two conditions hold at rest, B E = 0 and E W1^T = 0 with E = S - W2 W1; eq. 6 is the first alone. The second is
    least squares: W2 W1 = S Pi with Pi the projector on W1's rows. With B = Q P and Q of full column rank the first is
    P S = P W2 W1, so that those rows hold the rows of P S. They hold no others: if W1's rows lie in the rows of P S, so
    do those of P E and of dW1/dt = Q P E, and nothing leads out ("fa", "adaptive_q": P fixed). Where Q is fixed and P
    moves, W1 = Q M(t) has rank r at most, and the rows of P S are r by the end ("oja").

    - "gd": the leading min(hidden, d) modes, the one product of all minima; other stationary points are saddles.
    - "fa", "adaptive_q": P as it was drawn. The overlaps add up to rank P S = min(r, d): all are 1 if r >= d.
    - "oja" by the targets, Q fixed: P's rows become the leading r eigenvectors of C, and if C shares the task's modes
      the leading r overlaps are 1 and the others 0.
    - All others, none: Oja's rule by the residual rests at any P with P E = 0, and stays there below a critical rate
      alone (`rfmodel.theory.pursuit`); where Q moves with P, or both towards W2, W1 gathers more than r rows, which
      ones depending on the way.

    Parameters
    ----------
    name, drive, learn_q : str, str, bool
        Of `rfmodel.theory.settings.FeedbackSettings`.
    S : (..., m, n)
        The task in its own basis: singular values on the diagonal, falling.
    P : (..., r, m) or None
        In that basis, as at the start; "gd" and "oja" do without.
    rank, hidden : int
        r and k.
    C : (..., m, m), optional
        What drives Oja's rule, in that basis; S S^T unless given.
    decay : float
        Of the feedback. Oja's rule forgets directions of C that are not above it; what W1 has learned from them stays.

    Returns
    -------
    (..., min(m, n))
        NaN where there is no closed form, for modes that are not there (S_ii = 0), and for those tied at the cut,
        of which any mixture may be learned.

    Raises
    ------
    InputError
        If the rule is unknown, S is not diagonal, P's shape contradicts S or the rank, or the rank is above k or m.

    Notes
    -----
    Hanut & Kadmon, eqs. 5, 6, 7, A57; Baldi & Hornik (1989) for gradient descent's minima.

    The limit is of vanishing weights first and of time second. Weights of standard deviation epsilon leave
    (I - Q Q^+) W1 as it was drawn for ever, and W2 learns from those k - r rows too, as from random features: overlaps
    then rise above these, at first by (1 - Lambda_i) (k - r) epsilon^2 t / tau, and end at another point
    (`rfmodel.theory.family.stationary_family`).
    """
    one_of("feedback rule", name, RULES)
    s = _singular(S)
    if name != "gd" and rank > min(hidden, S.shape[-2]):
        raise InputError(f"rank = {rank}: B = Q P of {hidden} x {S.shape[-2]} has rank {min(hidden, S.shape[-2])} at "
                         "most; use that or less")  # fmt: skip
    if name == "gd":
        surely, perhaps = _leading(s, hidden)
        overlap = np.where(surely == perhaps, surely, np.nan)
    elif name in ("fa", "adaptive_q"):
        overlap = _of_rows(_checked(P, S, rank) @ S)
    elif name == "oja" and drive == "targets" and not learn_q:
        overlap = _of_targets(S, S @ S.swapaxes(-1, -2) if C is None else C, rank, decay)
    else:
        overlap = np.full(s.shape, np.nan)
    return np.where(s > TIED * s[..., :1], overlap[..., : s.shape[-1]], np.nan)


def _of_rows(rows: np.ndarray) -> np.ndarray:
    """Return the diagonal of the projector on some rows."""
    return (row_basis(rows) ** 2).sum(-2)


def _of_targets(S: np.ndarray, C: np.ndarray, rank: int, decay: float) -> np.ndarray:
    values, vectors = np.linalg.eigh(C)
    values, rows = values[..., ::-1], vectors[..., ::-1].swapaxes(-1, -2)
    surely, perhaps = _leading(values, rank)
    lost = perhaps & (values <= decay) if decay else np.zeros_like(perhaps)
    low = _of_rows((rows * (surely & ~lost)[..., None]) @ S)
    high = _of_rows((rows * perhaps[..., None]) @ S)
    # A row that the decay takes from P has taught W1 something before, and how much is a matter of the way.
    taught = _norm((rows * lost[..., None]) @ S) > np.sqrt(TIED) * _norm(S)
    high = np.where(taught[..., None], 1.0, high)
    return np.where(high - low < np.sqrt(TIED), low, np.nan)


def _leading(values: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which of some falling values are among the first `count` whatever breaks the ties, and which may be."""
    if count >= values.shape[-1]:
        return np.ones(values.shape, bool), np.ones(values.shape, bool)
    last, gap = values[..., count - 1 : count], TIED * values[..., :1]
    perhaps = values >= last - gap
    tied = perhaps.sum(-1, keepdims=True) > count
    return np.where(tied, values > last + gap, perhaps), perhaps


def row_basis(A: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis of the rows of A (..., a, b): rows (..., min(a, b), b), those beyond its rank 0.

    Singular values below max(a, b) times the machine's precision times the largest are taken for 0.
    """
    _, s, Vh = np.linalg.svd(A, full_matrices=False)
    least = max(A.shape[-2:]) * np.finfo(float).eps * s[..., :1]
    return Vh * ((s > least) & (s > 0))[..., None]


def residual_split(E: np.ndarray, B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the energies of the residual inside and outside of B's row space.

    .. math:: \|\Pi_B E\|_F^2, \quad \|E - \Pi_B E\|_F^2

    Learning sees the first alone; B E = 0 says nothing of the second.

    Parameters
    ----------
    E : (..., m, n)
    B : (..., k, m)

    Returns
    -------
    inside, outside : (...)
        They add up to ||E||_F^2.

    Notes
    -----
    Hanut & Kadmon, eq. 6. The rank of B is that of `row_basis`.
    """
    basis = row_basis(B)
    inside = basis @ E
    return (inside**2).sum((-2, -1)), ((E - basis.swapaxes(-1, -2) @ inside) ** 2).sum((-2, -1))


def capture(P: np.ndarray, rank: int) -> np.ndarray:
    r"""Return how much of the leading `rank` modes P transmits, from 0 to 1.

    .. math:: \|\hat P U_r\|_F^2 / r

    with P_hat an orthonormal basis of P's rows; r / m in the mean for a random P.

    Parameters
    ----------
    P : (..., r, m)
        In the task's own basis, where U_r are the first r unit vectors.
    rank : int

    Returns
    -------
    (...)
    """
    return (row_basis(P)[..., :rank] ** 2).sum((-2, -1)) / rank


def stationary_defect(W1: np.ndarray, W2: np.ndarray, B: np.ndarray, S: np.ndarray) -> Defect:
    """Return how far a state is from both conditions of rest.

    Parameters
    ----------
    W1, W2, B, S : (..., k, n), (..., m, k), (..., k, m), (..., m, n)

    Returns
    -------
    Defect

    Notes
    -----
    Hanut & Kadmon, eqs. 5 and 6.
    """
    E = S - W2 @ W1
    feedback, forward = _relative(B @ E, B), _relative(E @ W1.swapaxes(-1, -2), W1)
    return Defect(feedback / _norm(S), forward / _norm(S))


def _norm(A: np.ndarray) -> np.ndarray:
    return np.sqrt((A**2).sum((-2, -1)))


def _relative(A: np.ndarray, factor: np.ndarray) -> np.ndarray:
    size = _norm(factor)
    return _norm(A) / np.where(size > 0, size, 1.0)


def _singular(S: np.ndarray) -> np.ndarray:
    s = np.diagonal(S, axis1=-2, axis2=-1)
    aside = np.sqrt(np.maximum((S**2).sum((-2, -1)) - (s**2).sum(-1), 0.0))
    if (aside > 1e-6 * _norm(S)).any() or (np.diff(s) > TIED * s[..., :1]).any() or (s < 0).any():
        raise InputError("S is not in the task's own basis; singular values on its diagonal, falling, would do")
    return s


def _checked(P: np.ndarray | None, S: np.ndarray, rank: int) -> np.ndarray:
    if P is None or P.shape[-2:] != (rank, S.shape[-2]):
        found = "none" if P is None else " x ".join(map(str, P.shape[-2:]))
        raise InputError(f"P is {found}; rank {rank} and {S.shape[-2]} outputs need {rank} x {S.shape[-2]}")
    return P

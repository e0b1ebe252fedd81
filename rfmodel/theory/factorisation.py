r"""Matrix factorisation Y ~ Z W of width r by three rules, and what each of them conserves.

With the residual E = Y - Z W, in units of tau,

.. math::
    \text{gd: } \dot Z = E W^\top,\ \dot W = Z^\top E; \qquad
    \text{fa: } \dot Z = E W^\top,\ \dot W = C E; \qquad
    \text{fa\_star: } Z = Y W^+,\ \dot W = C E

with a fixed random C (r, rows). It is the two-layer linear network of `rfmodel.theory.equations` with isotropic inputs:
W_2 = Z, W_1 = W, B = C, S = Y, as many hidden units as feedback directions.

Conserved along the flow are W W^T - Z^T Z (gd), W W^T - C Z - (C Z)^T (fa) and W W^T (fa_star, whose E is orthogonal to
the rows of W). Hence, by feedback alignment from zero weights, tr(C Z) = |W|^2 / 2 >= 0: C and Z^T align. And W keeps,
by fa_star, the condition that it began with, while tr(C Y W^T) rises at the rate |dW/dt|^2 and is bounded: the flow
comes to rest from any W of full row rank.

Garg & Vempala (2022), How and when random feedback works: a case study of low-rank matrix factorization.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from rfmodel.errors import InputError
from rfmodel.theory.integration import State
from rfmodel.theory.settings import FactorisationSettings, InitialSettings
from rfmodel.theory.spectra import orthogonal, require_modes, singular_values
from rfmodel.theory.tasks import transposed

STREAMS = {"spectrum": 0, "basis": 1, "weights": 2, "feedback": 3, "subspaces": 4, "search": 5}


@dataclass(frozen=True)
class Problem:
    """All seeds' matrices, feedback and first factors, and the rule that moves them.

    Parameters
    ----------
    rule : {"gd", "fa", "fa_star"}
    values : (seeds, d)
        Singular values of Y, falling.
    Y : (seeds, rows, columns)
    C : (seeds, r, rows)
        Feedback; gradient descent has no use for it.
    Z : (seeds, rows, r)
    W : (seeds, r, columns)
    """

    rule: str
    values: np.ndarray
    Y: np.ndarray
    C: np.ndarray
    Z: np.ndarray
    W: np.ndarray

    @property
    def start(self) -> State:
        """What the rule moves: Z and W, or W alone where Z follows it."""
        return (self.W,) if self.rule == "fa_star" else (self.Z, self.W)

    def by(self, rule: str) -> Problem:
        """Return the twin that begins where this does and moves by another rule."""
        return replace(self, rule=rule)


def streams(name: str, seeds: int) -> list[np.random.Generator]:
    """Return one generator a seed for one of the things that are drawn, whatever else is drawn."""
    return [np.random.default_rng([seed, STREAMS[name]]) for seed in range(seeds)]


def draw(settings: FactorisationSettings, values: np.ndarray | None = None) -> Problem:
    """Draw every seed's Y, C, Z and W.

    Parameters
    ----------
    settings : FactorisationSettings
    values : (d,), optional
        Singular values, in place of those of the settings' law.

    Raises
    ------
    InputError
        If the width is above the matrix's rows or columns, or the spectrum cannot be.

    Notes
    -----
    Another width leaves Y and the factors' first directions as they are, and more seeds leave the first ones.
    """
    require_possible(settings)
    rows, columns, width, seeds = settings.matrix.rows, settings.matrix.columns, settings.rule.width, settings.seeds
    if values is None:
        values = singular_values(settings.matrix.spectrum, rows, columns, streams("spectrum", seeds))
    else:
        values = np.tile(values, (seeds, 1))
    sides = [_sides(rng, rows, columns) for rng in streams("basis", seeds)]
    U, V = (np.stack(side) for side in zip(*sides, strict=True))
    d = values.shape[1]
    Y = (U[..., :d] * values[:, None]) @ transposed(V[..., :d])
    Z, W = _first_factors(settings.initial, U, V, width)
    C = np.stack([_feedback(settings.initial, rng, width, rows) for rng in streams("feedback", seeds)])
    return Problem(settings.rule.name, values, Y, C, Z, W)


def require_possible(settings: FactorisationSettings) -> None:
    """Refuse a factorisation that cannot be.

    Raises
    ------
    InputError
        If the width or the modes are above the matrix's rows or columns, the model is to be followed online, or its
        steps are longer than the time between two points.
    """
    rows, columns, width = settings.matrix.rows, settings.matrix.columns, settings.rule.width
    require_modes(settings.matrix.spectrum, rows, columns)
    most, asked = min(rows, columns), settings.integration
    if width > most:
        raise InputError(
            f"rule.width = {width} is above the {most} that a matrix of {rows} x {columns} has use for; use {most} or "
            "fewer"
        )
    if "online" in asked.manners:
        raise InputError("integration.manners: 'online' has no samples to draw from a matrix; use flow and full_batch")
    between = asked.duration / (asked.points - 1)
    if "full_batch" in asked.manners and asked.step > between * (1 + 1e-12):
        raise InputError(
            f"integration.step = {asked.step:g} is longer than the {between:g} tau between two points; use a step of "
            f"{between:g} or less, or fewer points"
        )


def _sides(rng: np.random.Generator, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Every singular vector, so that another rank of Y leaves the first ones as they are."""
    return orthogonal(rng, rows, min(rows, columns)), orthogonal(rng, columns, min(rows, columns))


def _first_factors(initial: InitialSettings, U: np.ndarray, V: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    if initial.balanced:
        return initial.forward * U[..., :width], initial.forward * transposed(V[..., :width])
    rows, columns = U.shape[1], V.shape[1]
    # A direction's two vectors are drawn together, so that the first directions do not depend on how many there are.
    drawn = np.stack([rng.normal(size=(width, rows + columns)) for rng in streams("weights", len(U))])
    return initial.forward * transposed(drawn[..., :rows]), initial.forward * drawn[..., rows:]


def _feedback(initial: InitialSettings, rng: np.random.Generator, width: int, rows: int) -> np.ndarray:
    if initial.feedback == "orthonormal":
        return orthogonal(rng, rows, width).T
    return rng.normal(size=(width, rows)) / np.sqrt(rows)


def moving(problem: Problem) -> Callable[[float, State], State]:
    """Return the right-hand side of the problem's rule, for `rfmodel.theory.integrate`."""
    Y, C = problem.Y, problem.C

    def gradient_descent(_: float, state: State) -> State:
        Z, W = state
        E = Y - Z @ W
        return E @ transposed(W), transposed(Z) @ E

    def feedback_alignment(_: float, state: State) -> State:
        Z, W = state
        E = Y - Z @ W
        return E @ transposed(W), C @ E

    def star(_: float, state: State) -> State:
        return (C @ beyond(Y, state[0]),)

    return {"gd": gradient_descent, "fa": feedback_alignment, "fa_star": star}[problem.rule]


def beyond(Y: np.ndarray, W: np.ndarray) -> np.ndarray:
    r"""Return what no Z takes from Y with this W: Y (I - \Pi), where Pi projects on the rows of W."""
    Q = np.linalg.qr(transposed(W)).Q
    return Y - (Y @ Q) @ transposed(Q)


def least_squares(Y: np.ndarray, W: np.ndarray) -> np.ndarray:
    r"""Return Z = Y W^+, the best Z for W of full row rank.

    Parameters
    ----------
    Y : (..., rows, columns)
    W : (..., r, columns)

    Returns
    -------
    (..., rows, r)

    Notes
    -----
    By W^T = Q R: Z = Y Q R^{-T}. The normal equations would square the condition of W, which for a width near the
    columns' number is in the hundreds to begin with; the QR decomposition of all seeds costs no more than a product.
    """
    Q, R = np.linalg.qr(transposed(W))
    return transposed(np.linalg.solve(R, transposed(Y @ Q)))


def factors(problem: Problem, state: State) -> tuple[np.ndarray, np.ndarray]:
    """Return Z and W of a state."""
    return (least_squares(problem.Y, state[0]), state[0]) if problem.rule == "fa_star" else (state[0], state[1])


def relative_error(problem: Problem, state: State) -> np.ndarray:
    r"""Return \|Y - Z W\|_F / \|Y\|_F of each seed."""
    E = beyond(problem.Y, state[0]) if problem.rule == "fa_star" else problem.Y - state[0] @ state[1]
    return np.linalg.norm(E, axis=(-2, -1)) / np.linalg.norm(problem.Y, axis=(-2, -1))


def conserved(problem: Problem, state: State) -> tuple[np.ndarray, np.ndarray]:
    """Return the two terms, (seeds, r, r), whose difference the rule's flow leaves as it is: see the module."""
    gram = state[-1] @ transposed(state[-1])
    if problem.rule == "fa_star":
        return gram, np.zeros_like(gram)
    if problem.rule == "gd":
        return gram, transposed(state[0]) @ state[0]
    aligned = problem.C @ state[0]
    return gram, aligned + transposed(aligned)

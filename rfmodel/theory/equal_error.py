"""Equal error: where two rules that began alike are when they are equally far from Y, and how their W then compare.

One of the two is at its end, and the other is stopped on its way: where it first comes down to the higher of the two
last errors. The way is followed again from the last observed state above that error, ever finer, with each seed's own
span of time scaled to one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rfmodel.theory.angles import principal_angles
from rfmodel.theory.factorisation import Problem, moving, relative_error
from rfmodel.theory.integration import State, integrate

ROUNDS, PARTS = 8, 16  # of each round; together they part the time between two points into 16^8
AGREE = 1e-6  # of two errors, relative to |Y|, that are taken for equal


@dataclass
class Above:
    """The last state of each seed that was seen before its error first came down to a target.

    Parameters
    ----------
    target : (seeds,)
        Relative errors.
    """

    target: np.ndarray
    passed: np.ndarray | None = None
    state: State = ()
    error: np.ndarray | None = None

    def see(self, state: State, error: np.ndarray) -> None:
        """Keep what is still above the target, and the first state whatever it is."""
        if self.passed is None:
            self.state, self.error = tuple(one.copy() for one in state), error.copy()
            self.passed = error <= self.target
            return
        self.passed |= error <= self.target
        still = ~self.passed
        self.error[still] = error[still]
        for kept, one in zip(self.state, state, strict=True):
            kept[still] = one[still]


@dataclass(frozen=True)
class Compared:
    """Two rules at equal error.

    Parameters
    ----------
    angles : (seeds, r)
        Principal angles of the row spaces of W, in degrees, rising; NaN where no error is equal.
    error : (seeds,)
        Relative: the one rule's.
    gap : (seeds,)
        The other's error less that.
    """

    angles: np.ndarray
    error: np.ndarray
    gap: np.ndarray


def at_equal_error(one: Problem, end: State, other: Problem, times: np.ndarray, tolerance: float) -> Compared:
    """Return how the row spaces of W of two rules compare where their errors are equal.

    Parameters
    ----------
    one : Problem
    end : tuple of array
        Its state at the last time.
    other : Problem
        Of the same Y, from the same factors.
    times : (points,)
    tolerance : float
        Of the integration.
    """
    target = relative_error(one, end)
    stopped, other_error, reached = stopped_at(other, target, times, tolerance)
    W, error = end[-1], target
    if not reached.all():  # there the other ends first, and this one is stopped
        aim = np.where(reached, -1.0, other_error)  # nought is never below it: followed to its end
        state, found, _ = stopped_at(one, aim, times, tolerance)
        W = np.where(reached[:, None, None], W, state[-1])
        error = np.where(reached, error, found)
    gap = other_error - error
    angles = principal_angles(W, stopped[-1])
    return Compared(np.where((abs(gap) <= AGREE)[:, None], angles, np.nan), error, gap)


def stopped_at(
    problem: Problem, target: np.ndarray, times: np.ndarray, tolerance: float
) -> tuple[State, np.ndarray, np.ndarray]:
    """Follow a rule until each seed's error first comes down to its target.

    Parameters
    ----------
    problem : Problem
    target : (seeds,)
        Relative errors.
    times : (points,)
        Until when, and how closely it is looked at first.
    tolerance : float
        Of the integration.

    Returns
    -------
    state : tuple of array
        At the target, or at the last time of the seeds that never come down to it.
    error : (seeds,)
    reached : (seeds,)
    """
    first = _follow(problem, problem.start, times, target, tolerance)
    reached, found = first.passed.copy(), first
    span = (times[1] - times[0]) * reached
    for _ in range(ROUNDS if reached.any() else 0):
        found = _follow(problem, found.state, np.linspace(0, 1, PARTS + 1), target, tolerance, span)
        span = span / PARTS
    return found.state, found.error, reached


def _follow(
    problem: Problem,
    start: State,
    times: np.ndarray,
    target: np.ndarray,
    tolerance: float,
    span: np.ndarray | float = 1.0,
) -> Above:
    above, flow = Above(target), moving(problem)
    span = np.reshape(span, (-1, 1, 1))

    def scaled(time: float, state: State) -> State:
        return tuple(span * one for one in flow(time, state))

    def observe(_: float, state: State) -> dict[str, np.ndarray]:
        error = relative_error(problem, state)
        above.see(state, error)
        return {"error": error}

    integrate(scaled, start, times, observe, tolerance)
    return above

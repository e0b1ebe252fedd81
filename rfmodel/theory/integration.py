"""Integration: the flow of all seeds at once, by scipy, looked at where it is asked for.

Seeds are a first axis of every array, so that one step of the integrator is a handful of batched products for all of
them. The step is chosen for the root mean square of the error over everything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.integrate import DOP853

from rfmodel.errors import InputError

MOST = 200_000  # evaluations: a flow of the published sizes takes hundreds, one that wanders tens of thousands
State = tuple[np.ndarray, ...]
Flow = Callable[[float, State], State]
Observe = Callable[[float, State], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Followed:
    """What was seen of a flow.

    Parameters
    ----------
    seen : dict of str to array
        What was observed, with a first axis of times.
    last : tuple of array
        The state at the last time.
    evaluations : int
        Of the right-hand side.
    """

    seen: dict[str, np.ndarray]
    last: State
    evaluations: int


def integrate(
    flow: Flow, start: Sequence[np.ndarray], times: np.ndarray, observe: Observe, tolerance: float = 1e-8
) -> Followed:
    """Follow a flow from the first of the times to the last, and observe it at each.

    Parameters
    ----------
    flow : callable of (time, state)
        The derivatives of the state's arrays, in their order and shapes.
    start : sequence of array
        The state at the first time.
    times : (points,)
        Rising; in units of tau.
    observe : callable of (time, state)
        What is kept of a state, by name.
    tolerance : float
        Relative; absolute it is a thousandth of that.

    Raises
    ------
    InputError
        If the state is not finite at the beginning, or becomes so, or the flow is too fast to be followed.

    Notes
    -----
    Dormand and Prince's method of order 8, `scipy.integrate.DOP853`: Hairer, Norsett & Wanner (1993), Solving ordinary
    differential equations I.
    """
    require_finite(start, "the state at the beginning")
    shapes = [one.shape for one in start]
    cuts = np.cumsum([one.size for one in start])[:-1]

    def parts(flat: np.ndarray) -> State:
        return tuple(part.reshape(shape) for part, shape in zip(np.split(flat, cuts), shapes, strict=True))

    def derivative(time: float, flat: np.ndarray) -> np.ndarray:
        return np.concatenate([part.ravel() for part in flow(time, parts(flat))])

    flat = np.concatenate([np.asarray(one, float).ravel() for one in start])
    solver = DOP853(derivative, times[0], flat, times[-1], rtol=tolerance, atol=tolerance * 1e-3)
    rows = [observe(times[0], parts(flat))]
    while len(rows) < len(times):
        with np.errstate(over="ignore", invalid="ignore"):  # told below, in one line
            solver.step()
        if solver.status == "failed" or not np.isfinite(solver.y).all():
            raise InputError(f"the flow is not finite after time {solver.t_old or times[0]:.4g}; start from smaller "
                             "weights, or use smaller singular values")  # fmt: skip
        if solver.nfev > MOST:
            raise InputError(
                f"the flow took {MOST} evaluations until time {solver.t:.4g} of {times[-1]:.4g}; start from smaller "
                "weights (fa_star: larger ones), or use smaller singular values, rates or a shorter duration"
            )
        reached = int(np.searchsorted(times, solver.t, side="right"))
        between = solver.dense_output() if reached > len(rows) else None
        rows += [observe(time, parts(between(time))) for time in times[len(rows) : reached]]
    seen = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    return Followed(seen, parts(solver.y), solver.nfev)


def require_finite(arrays: Sequence[np.ndarray], what: str) -> None:
    """Refuse arrays that hold what is no number.

    Raises
    ------
    InputError
        Says of what, and how many entries.
    """
    bad = sum(int((~np.isfinite(one)).sum()) for one in arrays)
    if bad:
        raise InputError(f"{what} holds {bad} entries that are not finite; finite numbers would do")

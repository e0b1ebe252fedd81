r"""Matrix factorisation in steps: the rules as a network carries them out, by the package's own plasticity functions.

With the full batch's gradient by the map, D = -E = Z W - Y, the forward factor moves by `kolen_pollack(W, D)`, W D^T,
and the hidden one by `hebbian`: Z^T D where errors come back through the weights, C D where they come through fixed
feedback. By gradient descent the two are `reconstruction(W, Z^T, Y)`: the normative rule, with Y in the weights' place.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from rfmodel.errors import InputError
from rfmodel.routing.plasticity import hebbian, kolen_pollack
from rfmodel.theory.factorisation import Problem, least_squares
from rfmodel.theory.integration import State
from rfmodel.theory.stability import FIRST_LEAP, LOST


def step_of(problem: Problem, size: float) -> Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]]:
    """Return one full-batch step of the problem's rule, of all seeds.

    Parameters
    ----------
    problem : Problem
    size : float
        Of the step, in units of tau.

    Returns
    -------
    callable of the state's tensors
        Z and W, or W alone by fa_star: see `Problem.start`.
    """
    Y, C = torch.from_numpy(problem.Y), torch.from_numpy(problem.C)
    onto_forward, onto_hidden = torch.vmap(kolen_pollack), torch.vmap(hebbian)

    def both(state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        Z, W = state
        D = Z @ W - Y
        B = Z.mT if problem.rule == "gd" else C
        return Z - size * onto_forward(W, D).mT, W - size * onto_hidden(B, D)

    def star(state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (W,) = state
        Z = torch.from_numpy(least_squares(problem.Y, W.numpy()))
        return (W - size * onto_hidden(C, Z @ W - Y),)

    return star if problem.rule == "fa_star" else both


def in_steps(
    problem: Problem, times: np.ndarray, size: float, observe: Callable[[float, State], dict[str, np.ndarray]]
) -> tuple[dict[str, np.ndarray], float, int]:
    """Follow a rule in steps from the first of the times to the last, and observe it at each.

    Parameters
    ----------
    problem : Problem
    times : (points,)
        Evenly spaced, in units of tau.
    size : float
        Of a step; where it does not divide the time between two points, the next smaller that does is taken.
    observe : callable of (time, state)
        What is kept of a state; it holds "error", relative.

    Returns
    -------
    seen : dict of str to array
        With a first axis of times.
    size : float
        That was taken.
    steps : int

    Raises
    ------
    InputError
        If the factors diverge.
    """
    between = float(times[1] - times[0])
    count = int(np.ceil(between / size - 1e-9))  # 0.02 goes a hundred times into 2 but for the last digit
    step = step_of(problem, between / count)
    state = tuple(torch.from_numpy(np.array(one)) for one in problem.start)
    rows = [observe(times[0], tuple(one.numpy() for one in state))]
    for time in times[1:]:
        for _ in range(count):
            state = step(state)
        seen = tuple(one.numpy() for one in state)
        if problem.rule != "fa_star":  # which cannot: see `largest_step`
            _refuse_diverged(problem, *seen, size, time)
        rows.append(observe(time, seen))
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}, between / count, count * (len(times) - 1)


def largest_step(problem: Problem) -> np.ndarray:
    r"""Estimate the largest stable step of each seed, from the spectra of Y and of C Y.

    .. math:: \text{gd: } 1 / s_1, \qquad \text{fa: } 0.647\, \|C Y\|_2^{-2/3}

    For small first factors. By gradient descent it is two over the fastest rate of the flow at its end, 2 s_1 of
    balanced factors. By feedback alignment that would be 0.84 in place of 0.647 (`rfmodel.theory.from_zero`), but with
    larger steps than that the first ones leap over the end for good. By fa_star it is infinite: a step is orthogonal to
    the rows of W, so that W only grows, by the step times \|C Y\| at most, and the rates fall as it does.

    Returns
    -------
    (seeds,)
    """
    if problem.rule == "fa_star":
        return np.full(len(problem.Y), np.inf)
    if problem.rule == "gd":
        return 1 / problem.values[:, 0]
    return FIRST_LEAP / np.cbrt(np.linalg.norm(problem.C @ problem.Y, 2, (-2, -1)) ** 2)


def too_large(problem: Problem, size: float, seed: int, what: str) -> InputError:
    """Return the refusal of a step with which a seed was lost."""
    largest = float(largest_step(problem)[seed])
    advice = "" if size > largest else "; this one is below that, so start from smaller weights or halve it"
    return InputError(
        f"integration.step = {size:g} is too large: full_batch of seed {seed} {what}; the largest stable step is about "
        f"{largest:.2g}{advice}"
    )


def _refuse_diverged(problem: Problem, Z: np.ndarray, W: np.ndarray, size: float, time: float) -> None:
    with np.errstate(over="ignore", invalid="ignore"):  # told in one line
        sizes = [np.linalg.norm(one, axis=(-2, -1)) for one in (Z @ W, problem.Y, problem.Z @ problem.W)]
        reached = sizes[0] / np.maximum(*sizes[1:])  # what begins far above Y is not lost on its way down
    lost = np.flatnonzero(~(reached < LOST))  # NaN is not below it
    if len(lost):
        seed = int(lost[0])
        raise too_large(problem, size, seed, f"diverged by time {time:.4g}")

"""One condition of matrix factorisation: the flow of all seeds, the rule in steps, and what both are held against."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from rfmodel.theory.angles import alignment, random_angles
from rfmodel.theory.checking import require_computable
from rfmodel.theory.equal_error import Compared, at_equal_error
from rfmodel.theory.factor_steps import in_steps, largest_step, too_large
from rfmodel.theory.factorisation import (
    STREAMS,
    Problem,
    conserved,
    draw,
    factors,
    moving,
    relative_error,
    require_possible,
    streams,
)
from rfmodel.theory.integration import State, integrate
from rfmodel.theory.separation import eckart_young, stationary_error
from rfmodel.theory.settings import FactorisationSettings
from rfmodel.theory.spectra import SMALLEST
from rfmodel.theory.stability import FAR
from rfmodel.theory.worst_case import Search, worst_spectrum

Progress = Callable[[float], None]
Seen = dict[str, np.ndarray]
VARIABLES = {
    "time": (("point",), "time", "tau"),
    "singular_values": (("seed", "mode"), "singular value of Y", "1"),
    "error": (("manner", "seed", "point"), "error, of |Y|", "1"),
    "optimum": (("seed",), "error of the best approximation of the width, of |Y|", "1"),
    "stationary": (("seed",), "error at the stationary point in closed form, of |Y|", "1"),
    "ratio": (("seed",), "last error of the flow over the optimum", "1"),
    "excess": (("seed",), "last error of the flow less the optimum", "1"),
    "alignment": (("seed", "point"), "angle between C and the transpose of Z", "degrees"),
    "drift": (("seed",), "largest change of the conserved quantity, of its terms' size", "1"),
    "difference": (("manner", "seed"), "largest difference of the error from the flow's", "1"),
    "principal_angle": (("seed", "angle"), "between the rows of W by the rule and by gd, at equal error", "degrees"),
    "principal_angle_random": (("seed", "angle"), "between two random subspaces of the width", "degrees"),
    "equal_error": (("seed",), "error at which the principal angles are taken, of |Y|", "1"),
    "equality": (("seed",), "difference of the two errors there", "1"),
    "search_values": (("candidate", "mode"), "singular value of a spectrum that was searched", "1"),
    "search_ratio": (("candidate",), "its median separation over the search's feedback", "1"),
}


def matrix_factorisation(settings: FactorisationSettings, progress: Progress | None = None) -> xr.Dataset:
    r"""Factorise every seed's Y by one rule, and compare with the optimum, the closed form and gradient descent.

    Parameters
    ----------
    settings : FactorisationSettings
    progress : callable of float, optional
        Told how much is done, from 0 to 1.

    Returns
    -------
    Dataset
        Of the variables in `VARIABLES`, over manner ("flow" first), seed, point, mode, angle (the least first) and, by
        the law "worst", candidate: the way of its search. What a rule lacks is NaN: the alignment of gradient descent
        and its angles to itself; the ratio where the optimum is nought.

    Raises
    ------
    InputError
        If the width, the spectrum or the step cannot be, there is a manner that the model has not, or the factors
        diverge or are not finite.

    Notes
    -----
    Garg & Vempala (2022). The twin by gradient descent begins with the same Y, Z and W: `rfmodel.theory.equal_error`.
    """
    asked, tell = settings.integration, progress or (lambda _: None)
    require_computable(settings)
    require_possible(settings)
    search = _search(settings) if settings.matrix.spectrum.law == "worst" else None
    problem = draw(settings, search.values if search else None)
    times = np.linspace(0.0, asked.duration, asked.points)
    look = _look(problem, _part(tell, 0.0, 0.4, asked.duration))
    flow = integrate(moving(problem), problem.start, times, look, asked.tolerance)
    stepped, took = _stepped(settings, problem, times, _part(tell, 0.4, 0.7, asked.duration))
    errors = _errors(problem, times, asked.step, flow.seen["error"], stepped)
    compared = None
    if problem.rule != "gd":
        compared = at_equal_error(problem, flow.last, problem.by("gd"), times, asked.tolerance)
    tell(1.0)
    values = {"time": times, "error": errors, **_held_against(settings, problem, errors), **_followed(flow.seen)}
    attrs = {
        "model": "matrix_factorisation",
        "width": settings.rule.width,
        "evaluations": flow.evaluations,
        **took,
        "largest_step": float(largest_step(problem).min()),
    }
    return _dataset(settings, values | _angles(settings, compared) | _way(search), attrs)


def _search(settings: FactorisationSettings) -> Search:
    spectrum = settings.matrix.spectrum
    floor = SMALLEST * spectrum.largest if spectrum.smallest is None else spectrum.smallest
    # Draws of its own, so that the ratio over seeds is no better than that of any others.
    return worst_spectrum(spectrum.modes, settings.rule.width, spectrum.largest, floor, seed=[0, STREAMS["search"]])


def _part(tell: Progress, begin: float, end: float, duration: float) -> Progress:
    return lambda time: tell(begin + (end - begin) * time / duration)


def _look(problem: Problem, tell: Progress) -> Callable[[float, State], Seen]:
    one, other = conserved(problem, problem.start)
    before = one - other

    def observe(time: float, state: State) -> Seen:
        tell(time)
        Z, _ = factors(problem, state)
        one, other = conserved(problem, state)
        angle = np.full(len(Z), np.nan) if problem.rule == "gd" else alignment(problem.C, Z)
        error = relative_error(problem, state)
        return {"error": error, "alignment": angle, "change": _norm(one - other - before), "size": _norm(one, other)}

    return observe


def _norm(*terms: np.ndarray) -> np.ndarray:
    return sum(np.linalg.norm(one, axis=(-2, -1)) for one in terms)


def _stepped(
    settings: FactorisationSettings, problem: Problem, times: np.ndarray, tell: Progress
) -> tuple[np.ndarray | None, dict[str, float | int]]:
    """Return the errors (points, seeds) of the rule in steps, and how many steps of what size it took."""
    if "full_batch" not in settings.integration.manners:
        return None, {"steps": 0, "step": settings.integration.step}

    def observe(time: float, state: State) -> Seen:
        tell(time)
        return {"error": relative_error(problem, state)}

    seen, size, steps = in_steps(problem, times, settings.integration.step, observe)
    return seen["error"], {"steps": steps, "step": size}


def _errors(
    problem: Problem, times: np.ndarray, step: float, flow: np.ndarray, stepped: np.ndarray | None
) -> np.ndarray:
    """Return the errors (manners, seeds, points); refuse too large a step that goes round the end for ever."""
    if stepped is None:
        return flow.T[None]
    away = abs(stepped - flow) > FAR
    lost = np.flatnonzero(away.any(0) & (step > largest_step(problem)))
    if len(lost):
        seed = int(lost[0])
        raise too_large(problem, step, seed, f"left its flow at time {times[away[:, seed].argmax()]:.4g}")
    return np.stack([flow.T, stepped.T])


def _held_against(settings: FactorisationSettings, problem: Problem, errors: np.ndarray) -> Seen:
    size, last = np.linalg.norm(problem.values, axis=1), errors[0, :, -1]
    optimum = eckart_young(problem.values, settings.rule.width) / size
    return {
        "singular_values": problem.values,
        "optimum": optimum,
        "stationary": optimum if problem.rule == "gd" else stationary_error(problem.C, problem.Y) / size,
        "ratio": np.divide(last, optimum, out=np.full_like(last, np.nan), where=optimum > 0),
        "excess": last - optimum,
        "difference": abs(errors - errors[0]).max(-1),
    }


def _followed(seen: Seen) -> Seen:
    return {"alignment": seen["alignment"].T, "drift": seen["change"].max(0) / seen["size"].max(0)}


def _angles(settings: FactorisationSettings, compared: Compared | None) -> Seen:
    seeds, width = settings.seeds, settings.rule.width
    if compared is None:
        compared = Compared(np.full((seeds, width), np.nan), *np.full((2, seeds), np.nan))
    return {
        "principal_angle": compared.angles,
        "principal_angle_random": random_angles(streams("subspaces", seeds), width, settings.matrix.columns),
        "equal_error": compared.error,
        "equality": abs(compared.gap),
    }


def _way(search: Search | None) -> Seen:
    return {} if search is None else {"search_values": search.way_values, "search_ratio": search.way_ratios}


def _dataset(settings: FactorisationSettings, values: Seen, attrs: dict[str, object]) -> xr.Dataset:
    variables = {
        name: xr.Variable(dims, values[name], {"long_name": long_name, "units": units})
        for name, (dims, long_name, units) in VARIABLES.items()
        if name in values
    }
    coords = {
        "manner": ["flow", "full_batch"][: len(values["error"])],
        "seed": np.arange(settings.seeds),
        "point": np.arange(settings.integration.points),
        "mode": np.arange(1, variables["singular_values"].sizes["mode"] + 1),
        "angle": np.arange(1, settings.rule.width + 1),
    }
    return xr.Dataset(variables, coords, attrs)

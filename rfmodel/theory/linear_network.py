"""Learning in the two-layer linear network: the flow of its equations beside the discrete rules, for all seeds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from rfmodel.theory import equations
from rfmodel.theory.checking import require_computable
from rfmodel.theory.initial import Weights, draw_weights, resolved_rank, rotated
from rfmodel.theory.integration import Followed, integrate, require_finite
from rfmodel.theory.pursuit import critical_rate_of
from rfmodel.theory.recovery import recovered, recovery_time
from rfmodel.theory.saxe import saxe_time
from rfmodel.theory.settings import FeedbackSettings, LinearDynamicsSettings
from rfmodel.theory.simulation import simulate, steps_of
from rfmodel.theory.stability import largest_step, require_near
from rfmodel.theory.stationary import capture, residual_split, stationary_overlap
from rfmodel.theory.tasks import LinearTask, draw_task, transposed

Progress = Callable[[float], None]
OF_THE_FLOW = ("residual_inside", "residual_outside", "capture")
VARIABLES = {
    "time": (("point",), "time", "tau"),
    "singular_values": (("seed", "mode"), "singular value of Sigma_io", "1"),
    "overlap": (("manner", "seed", "point", "mode"), "overlap of the mode, eq. 7", "1"),
    "error": (("manner", "seed", "point"), "squared error, of the task's", "1"),
    "residual_inside": (("seed", "point"), "squared error inside the row space of B, of the task's", "1"),
    "residual_outside": (("seed", "point"), "squared error outside the row space of B, of the task's", "1"),
    "capture": (("seed", "point"), "share of the leading r modes in the row space of P", "1"),
    "overlap_stationary": (("seed", "mode"), "overlap of the mode at the stationary point, in closed form", "1"),
    "recovery_time": (("seed", "mode"), "first time at which the overlap is 0.9", "tau"),
    "recovery_time_closed": (("seed", "mode"), "the same in closed form, of balanced gradient descent", "tau"),
    "critical_rate": (
        ("seed",),
        "rate of Oja's rule above which the top r modes are left, by eq. 16 and feedback of gain one",
        "1",
    ),
    "recovered": (("seed",), "modes whose overlap is above 0.9 at the end", "1"),
    "difference": (("manner", "seed"), "largest difference of an overlap from the flow's", "1"),
    "drift": (("seed",), "largest change of the conserved quantity, of its terms' size", "1"),
}


def linear_dynamics(settings: LinearDynamicsSettings, progress: Progress | None = None) -> xr.Dataset:
    r"""Follow the learning of one condition by its flow, and by the discrete rules that the settings name.

    .. math:: \tau \dot{\bar W}_1 = \bar B (S - \bar W_2 \bar W_1), \quad
        \tau \dot{\bar W}_2 = (S - \bar W_2 \bar W_1) \bar W_1^\top

    Parameters
    ----------
    settings : LinearDynamicsSettings
    progress : callable, optional
        Told the share that is done, of every manner alike.

    Returns
    -------
    Dataset
        Of the variables in `VARIABLES`, over manner ("flow" first), seed, point and mode. What a rule lacks is NaN:
        capture of gradient descent, a closed form, a conserved quantity.

    Raises
    ------
    InputError
        If sizes, rank or spectrum contradict each other, the weights are not finite, or a step is too large.

    Notes
    -----
    Hanut & Kadmon, sections 3 and 5.1, appendix A.
    """
    require_computable(settings)
    task = draw_task(settings.task, settings.seeds)
    start = draw_weights(settings, task)
    asked = settings.integration
    manners = ("flow", *(one for one in asked.manners if one != "flow"))
    times = np.linspace(0.0, asked.duration, asked.points)
    first = rotated(start, task)
    flow = follow(settings, task, first, times, _told(progress, 0, len(manners), asked.duration))
    end = first._replace(**dict(zip(equations.learning(settings.feedback), flow.last, strict=True)))
    seen = [flow.seen]
    for i, manner in enumerate(manners[1:], 1):
        told = _told(progress, i, len(manners), asked.duration)
        seen.append(simulated(settings, task, start, times, manner, end, told).seen)
    largest = largest_step(settings.feedback, task, first, end)
    require_near(asked.step, manners[1:], times, [one["overlap"] for one in seen], largest)
    attrs = {
        "model": "linear_dynamics",
        "rank": resolved_rank(settings),
        "evaluations": flow.evaluations,
        "steps": steps_of(asked) if len(manners) > 1 else 0,
        "step": asked.step,
        "largest_step": float(largest.min()),
    }
    return _dataset(_tabled(settings, task, first, times, seen), manners, attrs)


def _dataset(values: dict[str, np.ndarray], manners: tuple[str, ...], attrs: dict[str, object]) -> xr.Dataset:
    _, seeds, points, modes = values["overlap"].shape
    return xr.Dataset(
        {
            name: xr.Variable(dims, values[name], {"long_name": long_name, "units": units})
            for name, (dims, long_name, units) in VARIABLES.items()
        },
        coords={
            "manner": list(manners),
            "seed": np.arange(seeds),
            "point": np.arange(points),
            "mode": np.arange(1, modes + 1),
        },
        attrs=attrs,
    )


def follow(
    settings: LinearDynamicsSettings,
    task: LinearTask,
    start: Weights,
    times: np.ndarray,
    told: Progress | None = None,
) -> Followed:
    """Integrate the flow of every seed at once, and observe what the Dataset holds of it.

    Parameters
    ----------
    settings : LinearDynamicsSettings
    task : LinearTask
    start : Weights
        In the basis of the task.
    times : (points,)
    told : callable, optional
        Told each time that is reached.

    Returns
    -------
    Followed
        Seen are overlap (points, seeds, modes) and, of (points, seeds), error, `OF_THE_FLOW`, and the conserved
        quantity's "change" and "size".
    """
    feedback, S = settings.feedback, task.S
    names = equations.learning(feedback)
    flow, state = equations.flow_of(feedback, task, start)
    with np.errstate(over="ignore", invalid="ignore"):  # told here, in one line
        before = _difference(feedback, start)
        require_finite(flow(0.0, state), f"the flow from initial.forward = {settings.initial.forward:g}")

    def observe(time: float, state: tuple[np.ndarray, ...]) -> dict[str, np.ndarray]:
        if told:
            told(time)
        weights = start._replace(**dict(zip(names, state, strict=True)))
        seen = _learned(S, weights, task.modes) | _heard(feedback, S, weights)
        return seen | _kept(feedback, weights, before)

    with np.errstate(over="ignore", invalid="ignore"):  # told by the integration
        return integrate(flow, state, times, observe, settings.integration.tolerance)


def simulated(
    settings: LinearDynamicsSettings,
    task: LinearTask,
    start: Weights,
    times: np.ndarray,
    manner: str,
    end: Weights | None = None,
    told: Progress | None = None,
) -> Followed:
    """Take the discrete rule's steps for every seed at once, and observe overlap and error.

    Parameters
    ----------
    settings : LinearDynamicsSettings
    task : LinearTask
    start : Weights
        In the original basis.
    times : (points,)
    manner : {"full_batch", "online"}
    end : Weights, optional
        Where the flow came to; see `rfmodel.theory.stability.largest_step`.
    told : callable, optional
        Told each time that is reached.

    Returns
    -------
    Followed
    """
    S = task.S
    batch = settings.integration.batch if manner == "online" else None
    largest = largest_step(settings.feedback, task, start, end, batch)

    def observe(time: float, weights: Weights) -> dict[str, np.ndarray]:
        if told:
            told(time)
        return _learned(S, rotated(weights, task), task.modes)

    return simulate(settings.feedback, settings.integration, task, start, times, observe, manner, largest)


def _learned(S: np.ndarray, weights: Weights, modes: int) -> dict[str, np.ndarray]:
    left = equations.energy(equations.residual(S, weights.W2, weights.W1)) / equations.energy(S)
    return {"overlap": equations.overlap(S, weights.W2, weights.W1, modes), "error": left}


def _heard(feedback: FeedbackSettings, S: np.ndarray, weights: Weights) -> dict[str, np.ndarray]:
    """Return what of the error B hears, and what of the leading modes P does; B's row space is P's."""
    E = equations.residual(S, weights.W2, weights.W1)
    gd = feedback.name == "gd"
    inside, outside = residual_split(E, transposed(weights.W2) if gd else weights.P)
    all_of_it = equations.energy(S)
    captured = np.full(len(S), np.nan) if gd else capture(weights.P, weights.P.shape[1])
    return dict(zip(OF_THE_FLOW, (inside / all_of_it, outside / all_of_it, captured), strict=True))


def _difference(feedback: FeedbackSettings, weights: Weights) -> np.ndarray | None:
    terms = equations.conserved(feedback, weights)
    return None if terms is None else terms[0] - terms[1]


def _kept(feedback: FeedbackSettings, weights: Weights, before: np.ndarray | None) -> dict[str, np.ndarray]:
    """Return how far the conserved quantity has moved, and how large its terms are."""
    if before is None:
        nothing = np.full(len(weights.W1), np.nan)
        return {"change": nothing, "size": nothing}
    left, right = equations.conserved(feedback, weights)
    change = np.sqrt(equations.energy(left - right - before))
    return {"change": change, "size": np.sqrt(equations.energy(left)) + np.sqrt(equations.energy(right))}


def _tabled(
    settings: LinearDynamicsSettings,
    task: LinearTask,
    start: Weights,
    times: np.ndarray,
    seen: list[dict[str, np.ndarray]],
) -> dict[str, np.ndarray]:
    overlap = np.stack([one["overlap"] for one in seen]).swapaxes(1, 2)
    flow = seen[0]
    return {
        "time": times,
        "singular_values": task.singular_values,
        "overlap": overlap,
        "error": np.stack([one["error"] for one in seen]).swapaxes(1, 2),
        **{name: flow[name].T for name in OF_THE_FLOW},
        "overlap_stationary": _stationary(settings, task, start),
        "recovery_time": recovery_time(times, overlap[0]),
        "recovery_time_closed": _closed_time(settings, task),
        "critical_rate": _critical_rate(settings, task),
        "recovered": recovered(overlap[0, :, -1]).astype(float),
        "difference": np.abs(overlap - overlap[0]).max((2, 3)),
        "drift": flow["change"].max(0) / flow["size"].max(0),
    }


def _stationary(settings: LinearDynamicsSettings, task: LinearTask, start: Weights) -> np.ndarray:
    rule, rank = settings.feedback, resolved_rank(settings)
    found = stationary_overlap(
        rule.name,
        rule.drive,
        rule.learn_q,
        task.S,
        start.P,
        rank,
        settings.task.hidden,
        task.rotated_oo,
        rule.decay if rule.name == "oja" else 0.0,
    )
    return found[:, : task.modes]


def _closed_time(settings: LinearDynamicsSettings, task: LinearTask) -> np.ndarray:
    """Return when Saxe's solution recovers each mode that the network has room for; NaN where it does not hold."""
    s = task.singular_values
    if settings.feedback.name != "gd" or not settings.initial.balanced:
        return np.full(s.shape, np.nan)
    times = saxe_time(s, settings.initial.forward**2)
    return np.where(np.arange(task.modes) < settings.task.hidden, times, np.nan)


def _critical_rate(settings: LinearDynamicsSettings, task: LinearTask) -> np.ndarray:
    rule = settings.feedback
    if rule.name != "oja" or rule.drive != "residual" or rule.learn_q or rule.decay:  # of a Q and a gain that stay
        return np.full(len(task.A), np.nan)
    return critical_rate_of(task.singular_values, resolved_rank(settings))


def _told(progress: Progress | None, done: int, manners: int, duration: float) -> Progress | None:
    if progress is None:
        return None
    return lambda time: progress((done + time / duration) / manners)

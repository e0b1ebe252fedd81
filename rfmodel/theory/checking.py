"""Checking: what of a condition's settings is seen to be impossible before anything is drawn or integrated."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from math import isqrt

from rfmodel.errors import InputError
from rfmodel.network_settings import Table
from rfmodel.theory import factorisation, tasks
from rfmodel.theory.initial import resolved_rank
from rfmodel.theory.settings import FactorisationSettings, LinearDynamicsSettings, TheorySettings
from rfmodel.theory.spectra import of_law
from rfmodel.theory.worst_case import DRAWS, require_room

WEIGHTS = 2**26  # numbers of all seeds together, of which an integrator of order 8 keeps some twenty copies
RESULTS = 2**27  # numbers of a condition's results
STEPS = 10**7
LEARNT = ("rate", "annealing", "decay")
IDLE = {  # of feedback, by the rule that has no use for it
    "gd": ("rank", "drive", "learn_q", *LEARNT),
    "fa": ("drive", "learn_q", *LEARNT),
    "adaptive_q": ("drive", "learn_q"),
    "normative": ("drive", "learn_q"),
    "oja": (),
}
BOUNDS = {  # beyond which squares of squares are no numbers, or the flow takes for ever
    "largest": (1e-6, 1e3), "smallest": (1e-9, 1e3), "values": (0.0, 1e3), "exponent": (0.0, 10.0),
    "forward": (1e-12, 1e3), "rate": (1e-9, 1e3), "annealing": (0.0, 1e3), "decay": (0.0, 1e3), "noise": (0.0, 1e3),
    "duration": (1e-6, 1e6), "tolerance": (1e-13, 1e-2),
}  # fmt: skip


def check(settings: TheorySettings) -> None:
    """Refuse a condition whose sizes, rank, spectrum, samples or steps cannot be.

    Parameters
    ----------
    settings : LinearDynamicsSettings or FactorisationSettings

    Raises
    ------
    InputError
        Names the key, what was found and what would do.
    """
    require_computable(settings)
    if (idle := next(_idle(settings), None)) is not None:
        raise InputError(idle)
    if isinstance(settings, LinearDynamicsSettings):
        tasks.require_possible(settings.task)
        resolved_rank(settings)
    else:
        factorisation.require_possible(settings)
    if settings.spectrum.law == "worst" and isinstance(settings, FactorisationSettings):
        require_room(settings.spectrum.modes, settings.rule.width)
    elif settings.spectrum.law != "gaussian":
        of_law(settings.spectrum)  # says what the law lacks or contradicts


def _idle(settings: TheorySettings) -> Iterator[str]:
    """Yield each setting of the feedback that changes nothing: two conditions of equal numbers would have two names."""
    if isinstance(settings, LinearDynamicsSettings):
        feedback = settings.feedback
        for key in IDLE[feedback.name]:
            if getattr(feedback, key) != type(feedback).model_fields[key].default:
                yield (
                    f"feedback.{key} = {getattr(feedback, key)}: '{feedback.name}' has no use for it; leave it out, or "
                    "set it where it has one (--only)"
                )


def require_computable(settings: TheorySettings) -> None:
    """Refuse numbers without bound: settings, sizes, steps.

    Raises
    ------
    InputError
        Names the first key, what was found and what would do.
    """
    found = next(chain(_bounds(settings), _size(settings), _search(settings), _steps(settings)), None)
    if found is not None:
        raise InputError(found)


def _sizes(settings: TheorySettings) -> tuple[int, str]:
    """Return how many numbers a seed holds, and of what."""
    if isinstance(settings, FactorisationSettings):
        rows, columns = settings.matrix.rows, settings.matrix.columns
        numbers = rows**2 + columns**2 + rows * columns + min(rows, columns) * (2 * rows + columns)
        return numbers, f"{rows} x {columns}"
    n, k, m = settings.task.inputs, settings.task.hidden, settings.task.outputs
    batch = settings.integration.batch if "online" in settings.integration.manners else 0
    numbers = n * n + m * m + m * n + k * (n + m) + min(k, m) * (k + m) + batch * (n + m)
    drawn = f", and a batch of {batch}" if batch else ""
    return numbers, f"{n} inputs, {k} hidden and {m} output units{drawn}"


def _size(settings: TheorySettings) -> Iterator[str]:
    numbers, what = _sizes(settings)
    if (held := settings.seeds * numbers) > WEIGHTS:
        yield f"seeds = {settings.seeds} of {what} hold {held} numbers; use fewer or smaller ones, at most {WEIGHTS}"
    points, modes = settings.integration.points, len(settings.spectrum.values) or settings.spectrum.modes
    if (held := settings.seeds * points * modes * len(settings.integration.manners)) > RESULTS:
        yield (
            f"integration.points = {points} of {modes} modes and {settings.seeds} seeds are {held} numbers; use fewer, "
            f"at most {RESULTS}"
        )


def _search(settings: TheorySettings) -> Iterator[str]:
    modes, searched = settings.spectrum.modes, settings.spectrum.law == "worst"
    if searched and isinstance(settings, FactorisationSettings) and (held := DRAWS * modes**2) > WEIGHTS:
        yield (
            f"the worst spectrum of {modes} modes: its search holds {DRAWS} matrices, of {held} numbers; use modes = "
            f"{isqrt(WEIGHTS // DRAWS)} or fewer"
        )


def _bounds(table: Table, path: str = "") -> Iterator[str]:
    """Yield each number of the settings, tables inside included, that is beyond its bounds."""
    for name in type(table).model_fields:
        held = getattr(table, name)
        if isinstance(held, Table):
            yield from _bounds(held, f"{path}{name}.")
        elif name in BOUNDS and held is not None:
            low, high = BOUNDS[name]
            beyond = [one for one in (held if isinstance(held, tuple) else (held,)) if not low <= one <= high]
            if beyond:
                yield f"{path}{name} = {beyond[0]:g} is beyond what can be computed; use {low:g} to {high:g}"


def _steps(settings: TheorySettings) -> Iterator[str]:
    own = settings.integration
    if len(own.manners) > 1 and own.duration / own.step > STEPS:
        yield (
            f"integration.step = {own.step:g} takes {own.duration / own.step:.3g} steps to the end; use a larger one, "
            f"at most {STEPS} steps"
        )

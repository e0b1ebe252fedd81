"""Checking: what of a condition's settings is seen to be impossible before anything is drawn or integrated."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from rfmodel.errors import InputError
from rfmodel.network_settings import Table
from rfmodel.theory import factorisation, tasks
from rfmodel.theory.initial import resolved_rank
from rfmodel.theory.settings import FactorisationSettings, LinearDynamicsSettings, TheorySettings
from rfmodel.theory.spectra import of_law
from rfmodel.theory.worst_case import require_room

WEIGHTS = 2**26  # numbers of all seeds together, of which an integrator of order 8 keeps some twenty copies
RESULTS = 2**27  # numbers of a condition's results
STEPS = 10**7
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
    found = next(chain(_bounds(settings), _size(settings), _steps(settings)), None)
    if found is not None:
        raise InputError(found)
    if isinstance(settings, LinearDynamicsSettings):
        tasks.require_possible(settings.task)
        rank = resolved_rank(settings)
        if settings.feedback.name == "gd" and settings.feedback.rank is not None:
            raise InputError(
                f"feedback.rank = {rank}: 'gd' sends the error back by W2's transpose, which has no rank of its own; "
                "leave it out, or use other feedback"
            )
    else:
        factorisation.require_possible(settings)
    if settings.spectrum.law == "worst" and isinstance(settings, FactorisationSettings):
        require_room(settings.spectrum.modes, settings.rule.width)
    elif settings.spectrum.law != "gaussian":
        of_law(settings.spectrum)  # says what the law lacks or contradicts


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

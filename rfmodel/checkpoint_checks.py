"""Checks of a checkpoint's values: each is of the training that goes on from it, or the reason why not is raised.

A whole file may still say anything. What would raise in the middle of a training, or be reported as a result without
being one, is refused here: types, shapes, names and numbers that cannot be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from rfmodel import diagnostics, history
from rfmodel.routing import Routed


class Unfit(ValueError):
    """A value that is not one of this training; the message says which."""


def want(is_so: object, what: str) -> None:
    """Raise `Unfit` of `what` unless something is so."""
    if not is_so:
        raise Unfit(what)


def whole(value: object, what: str, least: int = 0, most: float = math.inf) -> int:
    """Return a whole number of a range."""
    want(type(value) is int and least <= value <= most, f"{what} {value!r:.40}")
    return value


def seconds(value: object, what: str) -> float:
    """Return a time that has passed."""
    want(type(value) is float and 0 <= value < math.inf, f"{what} {value!r:.40}")
    return value


def is_like(found: object, asked: Tensor) -> bool:
    """Whether something is a tensor of the shape and dtype of another."""
    return type(found) is Tensor and found.shape == asked.shape and found.dtype == asked.dtype


def of_module(found: object, module: nn.Module) -> None:
    """Refuse tensors that are not those of a module by name, shape and dtype."""
    asked = module.state_dict()
    want(type(found) is dict, "no weights")
    if odd := sorted(set(map(str, found)) ^ set(asked)):
        raise Unfit(f"weights of another network: '{odd[0]}' is in one of them only")
    for name, value in asked.items():
        if isinstance(value, Tensor):
            want(is_like(found[name], value), f"weights of another network: '{name}' is of another form")


def of_optimiser(found: object, optimiser: torch.optim.Optimizer, fresh: torch.optim.Optimizer) -> None:
    """Refuse moments that are not those of an optimiser's parameters.

    Parameters
    ----------
    found : object
        By number of the parameter and name.
    optimiser : Optimizer
    fresh : Optimizer
        One of the same kind and options over one parameter of one entry, which has done a step.
    """
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    (moments,) = fresh.state.values() or ({},)
    want(type(found) is dict and all(type(key) is int for key in found), "no moments of an optimiser")
    for key, own in found.items():
        want(0 <= key < len(parameters) and type(own) is dict, f"moments of a parameter {key}")
        want(set(own) == set(moments), f"moments {sorted(map(str, own))} of an optimiser that has {sorted(moments)}")
        for name, value in own.items():
            one = moments[name]
            form = parameters[key].detach() if getattr(one, "ndim", 0) else one
            want(is_like(value, form) if isinstance(one, Tensor) else value is None, f"moment '{name}' of another form")


def of_history(found: object, rows: int, routed: Routed) -> None:
    """Refuse what is not a history of so many rows."""
    by_name = dict.fromkeys(history.BY_EDGE, {str(edge) for edge in routed.edges})
    by_name |= dict.fromkeys(history.BY_SITE, set(routed.losses)) if routed.losses else {}
    names = {*history.WHOLE, *by_name}
    want(type(found) is dict and set(found) == names, "no history of this version")
    for name in names:
        want(type(found[name]) is list and len(found[name]) == rows, f"a history of {name} without its {rows} rows")
        for row in found[name]:
            is_named = name in by_name and type(row) is dict and (set(row) == by_name[name] or not row)
            values = row.values() if is_named else [row]
            is_of_its_form = is_named or name not in by_name
            want(is_of_its_form and all(map(_is_number, values)), f"a history of {name} with {row!r:.40}")


def of_numbers(found: object) -> dict[str, list[float]]:
    """Return the rows of a history that hold one number an epoch.

    Raises
    ------
    Unfit
        If it is no history.
    """
    want(
        type(found) is dict and all(isinstance(name, str) and type(row) is list for name, row in found.items()),
        "no history",
    )
    rows = {name: row for name, row in found.items() if all(map(_is_number, row))}
    want(len({len(row) for row in found.values()}) <= 1, "a history of rows of different lengths")
    return rows


def of_diagnostics(found: object, done: int, routed: Routed) -> None:
    """Refuse what are not samples of diagnostics up to a step."""
    edges = {str(edge) for edge in routed.edges}
    want(type(found) is dict, "no diagnostics")
    for step, sample in found.items():
        whole(step, "diagnostics of step", 0, done)
        want(type(sample) is dict and set(sample) == {*diagnostics.EDGES, *diagnostics.WHOLE}, "odd diagnostics")
        for name, row in sample.items():
            by_edge = name in diagnostics.EDGES
            want(type(row) is dict and set(row) == edges if by_edge else True, f"diagnostics {name} of other edges")
            want(all(map(_is_number, row.values() if by_edge else [row])), f"diagnostics {name} without numbers")


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


def whatever(take: Callable[[], object]) -> None:
    """Do what takes a value over; whatever it raises of a value that it cannot use becomes `Unfit`."""
    try:
        take()
    except (Unfit, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # torch's and xarray's own, of values that they are given
        raise Unfit(f"what cannot be taken up ({' '.join(str(error).split())[:160] or type(error).__name__})") from None


def part(state: Mapping[str, object], name: str) -> object:
    """Return a part of the state by its name."""
    want(name in state, f"no '{name}'")
    return state[name]

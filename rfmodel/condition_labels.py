"""Condition labels: from a condition's name, in which braces stand for axes, to what each of its points is called."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from string import Formatter
from typing import Any

from rfmodel.errors import InputError

LONGEST = 200  # characters of a label: it stands in tables, figures and file attributes
FORM = re.compile(r"(?!.*[0-9]{3})[^{}]*")  # of a value in braces: no width or precision of a hundred or more


def label(file: str, name: str, values: Mapping[str, Any], axes: Mapping[str, Any]) -> str:
    """Return what a point of a condition is called.

    Parameters
    ----------
    file : str
        Named in errors.
    name : str
        As in "LDFA, r = {rank}".
    values : mapping of key to value
        Where the point stands, and what is set for every run.
    axes : mapping
        Those of the condition; one that the name leaves out is added, so that no two points share a label.

    Raises
    ------
    InputError
        If braces hold no axis or a form that its value cannot take, or the label is longer than 200 characters.
    """
    short = {key.rpartition(".")[2]: value for key, value in values.items()}
    told = [part for _, part, _, _ in _fields(file, name) if part is not None]
    if missing := [part for part in told if part not in short]:
        raise InputError(f"{file}: condition name '{name}' asks for '{missing[0]}', which is no axis of it")
    try:
        first = name.format(**short)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{file}: condition name '{name}' cannot be written: {error}; use {{axis}} alone") from None
    untold = [key for key in axes if key != "seed" and key.rpartition(".")[2] not in told]
    parts = [first] if first else []
    found = ", ".join(parts + [f"{key.rpartition('.')[2]} {_short(values[key])}" for key in untold]) or "all"
    if len(found) > LONGEST:
        raise InputError(
            f"{file}: condition '{found[:40]}…' has a name of {len(found)} characters; {LONGEST} at most would do"
        )
    return found


def _fields(file: str, name: str) -> list[tuple]:
    try:
        fields = list(Formatter().parse(name))
        if any(field is not None and not field.isidentifier() for _, field, _, _ in fields):
            raise ValueError("use an axis in braces, as in {rank}")
        if any(form and not FORM.fullmatch(form) for _, _, form, _ in fields):
            raise ValueError("use at most two digits after a colon, as in {rank:>2}")
    except ValueError as error:
        raise InputError(f"{file}: condition name '{name}' cannot be read: {error}") from None
    return fields


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)

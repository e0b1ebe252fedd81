"""Errors that a user can act on: one line that says what was asked, what was found and what would do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something the user gave cannot be used; the message is one line, and the command line exits with 2."""


class MissingData(InputError):
    """A data set was asked for that is not on this machine."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the known name closest to `name`, or "" where none is close."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{found[0]}'?" if found else ""


def one_of(what: str, name: object, known: Iterable[str]) -> str:
    """Return `name` if it is among `known`.

    Raises
    ------
    InputError
        If it is not; the message lists the known names and the nearest one.
    """
    names = sorted(known)
    if name not in names:
        raise InputError(f"{what} '{name}' is unknown: known are {', '.join(names)}{nearest(str(name), names)}")
    return str(name)

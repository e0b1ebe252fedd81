"""What is asked for, refused where it is impossible."""

from __future__ import annotations

from numbers import Integral

from rfmodel.errors import InputError


def positive(what: str, number: object) -> None:
    """Refuse what is no whole number from 1."""
    if isinstance(number, bool) or not isinstance(number, Integral) or number < 1:
        raise InputError(f"{what} {number!r} is impossible; use a whole number from 1")

"""TOML within bounds: a file's text becomes tables, whose size, depth and numbers stay small whatever it holds."""

from __future__ import annotations

import re
import tomllib
from typing import Any

LARGEST = 2**20  # characters of a file
DEEPEST = 32  # tables and arrays inside one another, and parts of one dotted key
WHOLE = 2**1000  # bound on whole numbers: a larger one is no float, and may not even be printed
# Parts of one key; tomllib takes the square of their number, and a long text of them would take hours.
DOTTED = re.compile(rf"""(?:(?:(?<![\w-])[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{DEEPEST}}}""")


def parsed(text: str) -> dict[str, Any]:
    """Return the tables of a TOML text.

    Raises
    ------
    ValueError
        If the text is no TOML, longer than 2^20 characters, deeper than 32 levels, or holds a whole number of
        more than 1,000 bits; the message is a part of a line.
    """
    if len(text) > LARGEST:
        raise ValueError(f"{len(text)} characters, more than {LARGEST}")
    if DOTTED.search(text):
        raise ValueError(f"a key of more than {DEEPEST} parts")
    try:
        tables = tomllib.loads(text)
    except RecursionError:
        raise ValueError(f"arrays or tables deeper than {DEEPEST} levels") from None
    _check(tables)
    return tables


def _check(tables: dict[str, Any]) -> None:
    level: list[Any] = [tables]
    for _ in range(DEEPEST):
        for value in level:
            if isinstance(value, int) and abs(value) >= WHOLE:
                raise ValueError("a whole number of more than 1000 bits")
        level = [
            inner
            for value in level
            if isinstance(value, dict | list)
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return
    raise ValueError(f"arrays or tables deeper than {DEEPEST} levels")

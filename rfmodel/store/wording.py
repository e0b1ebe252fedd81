"""Wording: text that may hold anything, as one line that a terminal shows and nothing obeys."""

from __future__ import annotations


def one_line(text: object, longest: int = 400) -> str:
    """Return a text as one line of at most `longest` characters: blanks joined, what cannot be shown escaped."""
    line = escaped(" ".join(str(text)[: 4 * longest].split()))
    return line if len(line) <= longest else f"{line[: longest - 3]}..."


def escaped(text: str, kept: str = "") -> str:
    """Return a text with every character escaped that a terminal would not show but obey, except those of `kept`."""
    return "".join(c if c in kept or c.isprintable() else c.encode("unicode_escape").decode() for c in text)

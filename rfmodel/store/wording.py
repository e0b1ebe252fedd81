"""Wording: text that may hold anything, as one line that a terminal shows and nothing obeys."""

from __future__ import annotations

from rfmodel.terminal import escaped

__all__ = ["escaped", "one_line"]


def one_line(text: object, longest: int = 400) -> str:
    """Return a text as one line of at most `longest` characters: blanks joined, what cannot be shown escaped."""
    line = escaped(" ".join(str(text)[: 4 * longest].split()))
    return line if len(line) <= longest else f"{line[: longest - 3]}..."

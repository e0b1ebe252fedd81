"""What text from outside becomes before a terminal sees it: characters that steer a terminal are spelt out.

Names, titles and errors may come from a file that nobody vouches for, and a terminal obeys escape sequences: they
rename windows, write the clipboard, hide what follows. All that the command line prints passes through here.
"""

from __future__ import annotations

import unicodedata

LONGEST = 2000  # characters of an error line
SPACES = "".join(chr(code) for code in range(0x3001) if unicodedata.category(chr(code)) == "Zs")  # of any width


def plain(text: str) -> str:
    r"""Return a text whose characters can all be seen: others stand as escapes, such as \x1b and \u202e.

    Line breaks (\n) and spaces of any width stay.
    """
    return text if text.isprintable() else escaped(text, kept="\n" + SPACES)


def one_line(text: str) -> str:
    """Return `plain` text on one line, shortened in its middle where it is longer than 2,000 characters."""
    line = plain(" ".join(text.splitlines()))
    half = LONGEST // 2
    return line if len(line) <= LONGEST else f"{line[:half]} … {line[-half:]}"


def escaped(text: str, kept: str = "") -> str:
    """Return a text with every character escaped that a terminal would not show but obey, except those of `kept`."""
    return "".join(c if c in kept or c.isprintable() else c.encode("unicode_escape").decode() for c in text)

"""What text from outside becomes before a terminal sees it: characters that steer a terminal are spelt out.

Names, titles and errors may come from a file that nobody vouches for, and a terminal obeys escape sequences: they
rename windows, write the clipboard, hide what follows. All that the command line prints passes through here.
"""

from __future__ import annotations

import unicodedata

LONGEST = 2000  # characters of an error line


def plain(text: str) -> str:
    r"""Return a text whose characters can all be seen: others stand as escapes, such as \x1b and \u202e.

    Line breaks (\n) and spaces of any width stay.
    """
    return text if text.isprintable() else "".join(map(_seen, text))


def one_line(text: str) -> str:
    """Return `plain` text on one line, shortened in its middle where it is longer than 2,000 characters."""
    line = plain(" ".join(text.splitlines()))
    half = LONGEST // 2
    return line if len(line) <= LONGEST else f"{line[:half]} … {line[-half:]}"


def _seen(character: str) -> str:
    if character == "\n" or character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape").decode()

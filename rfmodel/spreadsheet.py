"""Words in tables that a spreadsheet may open: none of them is taken for a formula."""

from __future__ import annotations

import re

BREAKS = re.compile("[\r\n]+")
FORMULA = ("=", "+", "-", "@")


def word(text: str) -> str:
    """Return a text as a cell of one line, with an apostrophe before one that a spreadsheet would compute.

    Condition and layer names come from files that nobody vouches for, and a cell such as =HYPERLINK(...) is executed
    where it is opened. Numbers are not words: a negative one stays a number. The apostrophe is part of the cell for
    readers that are no spreadsheet.
    """
    line = BREAKS.sub(" ", text)  # a bare carriage return would begin a row, and what follows it a cell
    return f"'{line}" if line.lstrip().startswith(FORMULA) or line.startswith("\t") else line

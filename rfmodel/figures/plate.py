"""One figure of a report, and how conditions are divided over several."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from matplotlib.figure import Figure

from rfmodel.figures.theme import CONDITION_PALETTE

PLAIN = re.compile(r"[A-Za-z0-9._-]{1,120}")
ROWS = 12  # conditions in a figure with one row a condition
OVERLAID = len(CONDITION_PALETTE)


@dataclass(frozen=True)
class Plate:
    """One figure of a report: its file name without suffix, section, title and caption.

    A name in which a layer's stands, and which is none for every file system, is spelt in plain letters with a hash.
    """

    name: str
    section: str
    title: str
    caption: str
    figure: Figure

    def __post_init__(self) -> None:
        if not PLAIN.fullmatch(self.name):
            digest = hashlib.sha256(self.name.encode(errors="backslashreplace")).hexdigest()[:8]
            object.__setattr__(self, "name", f"{re.sub('[^A-Za-z0-9.-]+', '-', self.name)[:80]}-{digest}")


def pages(labels: list[str], most: int) -> list[tuple[str, list[str]]]:
    """Return file-name suffixes and the conditions of each page."""
    chunks = [labels[i : i + most] for i in range(0, len(labels), most)]
    return [("" if len(chunks) == 1 else f"-{i + 1}", chunk) for i, chunk in enumerate(chunks)]

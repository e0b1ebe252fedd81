"""SVD-space alignment (Roy et al.): what studies of it found beside backpropagation, DFA and the published numbers.

python analysis/ssa.py STUDY [STUDY ...] [--out FOLDER] [--command "HOW THE FIRST WAS RUN" --command "THE SECOND"]
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import ssa_account
import ssa_tables
from beside import Given, kept_reading, opened, provenance, table

from rfmodel import figures, store
from rfmodel.errors import InputError

NAME = "ssa"
NETWORKS = ("mlp", "small_conv", "vgg13", "lenet", "resnet", "mobilenet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("studies", nargs="+", metavar="STUDY", help="folders that `rfmodel run` wrote")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="where to write")
    parser.add_argument("--command", action="append", default=[], help="what a study was run by, in their order")
    parser.add_argument("--account", default="ssa_large", help="protocol whose SSA is counted; '' counts nothing")
    parser.add_argument("--condition", default="VGG-13, SSA", help="of that protocol")
    asked = parser.parse_args()
    try:
        given = [opened(folder, NETWORKS) for folder in asked.studies]
        refuse_twins(given)
        asked.out.mkdir(parents=True, exist_ok=True)
        parts = [f"# {NAME}", "", f"    {shlex.join(['python', 'analysis/ssa.py', *sys.argv[1:]])}"]
        for place, one in enumerate(given):
            parts += ["", *section(one, asked.out, asked.command[place : place + 1])]
        if asked.account:
            parts += ["", *ssa_account.section(asked.account, asked.condition, asked.out)]
    except (InputError, OSError) as error:
        sys.stderr.write(f"{Path(sys.argv[0]).name}: {error}\n")
        sys.exit(2)
    written = asked.out / f"{NAME}.md"
    text = "\n".join(parts) + "\n" + kept_reading(written)
    store.write_aside(written, lambda path: path.write_text(text, encoding="utf-8"))


def section(given: Given, folder: Path, command: list[str]) -> list[str]:
    """Write the figures of a study, and return the lines of its part of the page."""
    study = given.study
    lines = [f"## {given.title}", "", *(f"    {line}" for line in command), *([""] if command else [])]
    lines += [provenance(given), "", *table(given)]
    lines += ["", "### Is SSA on par with backpropagation here?", "", *ssa_tables.on_par(given)]
    lines += [
        "",
        "### Error by epoch",
        "",
        *ssa_tables.errors(study),
        *drawn(given, figures.error_plates(study), folder),
    ]
    if figures.aligned(study):
        lines += ["", "### Angle with backpropagation at the end", "", *ssa_tables.angles(study)]
        lines += drawn(given, figures.alignment_plates(study), folder)
    if figures.factored(study)[0]:
        lines += ["", "### Factored layers at the end", "", *ssa_tables.factors(study)]
        lines += drawn(given, figures.factor_plates(study), folder)
        lines += ["", "### Operations and memory at the end", "", *ssa_account.at_ends(study)]
    return lines


def short(given: Given) -> str:
    """Return what a study's pictures are called by."""
    return given.name.removeprefix(f"{NAME}_")


def refuse_twins(given: list[Given]) -> None:
    """Refuse studies whose pictures would have one name."""
    for one, count in Counter(map(short, given)).items():
        if count > 1:
            raise InputError(f"{count} of the studies are called '{one}', as are their pictures; rename a folder")


def drawn(given: Given, plates: Iterable[figures.Plate], folder: Path) -> list[str]:
    """Write plates as pictures, and return the lines that show them."""
    lines: list[str] = []
    for plate in plates:
        name, picture = f"{NAME}_{short(given)}_{plate.name}.png", figures.png(plate.figure)
        store.write_aside(folder / name, lambda path, picture=picture: path.write_bytes(picture))
        lines += ["", f"![{plate.title}]({name})", "", f"{plate.title}. {plate.caption}"]
    return lines


if __name__ == "__main__":
    main()

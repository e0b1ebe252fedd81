"""What the command line prints: lists of protocols, studies, runs, data sets and timings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.table import Table
from rich.text import Text

from rfmodel import protocols
from rfmodel.errors import InputError
from rfmodel.progress import plain_console
from rfmodel.runs import Run
from rfmodel.terminal import plain

NARROWEST = 8  # of a column that is folded


def show_table(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]], whole: bool = False) -> None:
    """Print rows of cells as a table; where `whole`, only the first column is folded, if that makes the others fit."""
    cells, console = [[plain(str(cell)) for cell in row] for row in (columns, *rows)], plain_console()
    widths = [max(map(len, column)) for column in list(zip(*cells, strict=True))[1:]]
    left = console.width - sum(widths) - NARROWEST - 1
    is_whole = whole and left >= len(cells[0])  # a line beside each column
    padding = 0 if is_whole and left < 3 * len(cells[0]) else 1
    table = Table(title=Text(plain(title)), title_justify="left", padding=(0, padding))
    for place, column in enumerate(cells[0]):
        table.add_column(Text(column), overflow="fold", no_wrap=is_whole and place > 0)
    for row in cells[1:]:
        table.add_row(*map(Text, row))
    console.print(table)


def show_protocols() -> None:
    """Print the protocols that come with rfmodel."""
    read = [protocols.load(name) for name in protocols.names()]
    rows = [(p.name, len({r.condition for r in p.runs}), len(p.runs), p.title) for p in read]
    show_table("protocols (rfmodel show NAME, rfmodel run NAME)", ("name", "conditions", "runs", "title"), rows)


def show_protocol(name: str) -> None:
    """Print a protocol's conditions and what differs between them."""
    read = protocols.load(name)
    if read.theory:
        columns, told = ("condition", "settings"), [(run.condition, _settings_of(run)) for run in read.runs]
        return _show_described(read, columns, told)
    rows: dict[str, list] = {}
    for run in read.runs:
        rules = {site: rule.model_dump() for site, rule in run.settings.rules.items()}
        settings = run.settings
        sizes = {size: settings.network.place(size) for size in ("bottleneck", "depth", "width")}
        told = [settings.network.name, *(f"{size} {value:g}" for size, value in sizes.items() if value == value)]
        classes = [f"{settings.data.classes} classes"] if settings.data.classes else []
        row = rows.setdefault(run.condition, [", ".join(told + classes), json.dumps(rules) if rules else "bp", 0])
        row[-1] += 1
    columns = ("condition", "network", "rules", "runs")
    _show_described(read, columns, [(condition, *row) for condition, row in rows.items()])


def _show_described(read: protocols.Protocol, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    plain_console().print(f"{read.title}\n{read.description}\nSource: {read.source}")
    if read.presets:
        plain_console().print(f"Presets: {', '.join(read.presets)} (--preset, the first by default)")
    show_table(f"{read.name}: {len(read.runs)} runs", columns, rows)


def _settings_of(run: Run) -> str:
    """Return what a condition of a solvable model sets otherwise than its defaults."""
    told = run.settings.model_dump(mode="json", exclude_defaults=True, exclude={"theory"})
    return json.dumps(told)


def show_data(folder: Path | None) -> None:
    """Print the data sets and which are found in a folder."""
    from rfmodel import datasets

    rows = [(name, datasets.state_of(name, folder)) for name in datasets.DATASETS]
    show_table(f"data sets in {folder or 'no folder: give --data DIR or set RFMODEL_DATA'}", ("name", "state"), rows)


def show_files(name: str, rows: Iterable[tuple[str, int | None, bool | None]]) -> None:
    """Print the files of a data set against what was published.

    Raises
    ------
    InputError
        If a file is missing, or differs from one whose checksum is published.
    """
    rows = list(rows)
    verdict = {True: "as published", False: "differs", None: "no checksum published"}
    show_table(
        name,
        ("file", "bytes", "MD5"),
        [(f, "missing" if b is None else b, "" if b is None else verdict[ok]) for f, b, ok in rows],
    )
    bad = [f for f, b, ok in rows if b is None or ok is False]
    if bad:
        raise InputError(
            f"{name}: {', '.join(bad)} missing or not as published; download the set again, or go on if "
            "it was repacked on purpose"
        )


def show_rows(title: str, rows: Iterable[Mapping[str, object]], whole: bool = False) -> None:
    """Print a list of dicts with equal keys as a table."""
    rows = list(rows)
    show_table(title, rows[0].keys(), [row.values() for row in rows], whole)

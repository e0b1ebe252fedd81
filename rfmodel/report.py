"""One page to take away: what was run, what came out, with which intervals, from which settings.

The page needs nothing beside it: style and pictures are inside, there are no scripts, and every string from a
study is escaped. The same pictures and the table as `numbers.csv` lie beside it for use elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import xarray as xr

from rfmodel import figures
from rfmodel.published import Published, published_of
from rfmodel.report_differences import differences, differences_csv, differences_section
from rfmodel.report_numbers import numbers_section, published_section, what_was_run
from rfmodel.report_page import made, page, write_plates, write_text
from rfmodel.report_settings import settings_and_provenance


def write_report(
    study: xr.Dataset,
    folder: Path,
    title: str | None = None,
    protocol: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Write a study's report, `report.html`, with its figures, `numbers.csv` and `differences.csv` beside it.

    Parameters
    ----------
    study : Dataset
        As `rfmodel.open_study` returns it.
    folder : Path
        Where to write; made if it is not there. Every file is written aside and renamed, the page last.
    title : str, optional
        Heading of the page.
    protocol : str, optional
        The protocol's name, or its text, which is then kept on the page; what it holds of published values is
        shown beside the study's.
    progress : callable of (title), optional
        Told of each figure as it is drawn.

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    InputError
        If no run has finished, the protocol's published values are not as they should be, or the folder cannot be
        written.
    """
    study = figures.tidied(study)
    figures.require_finished(study)
    published = _published(protocol)
    compared = figures.compare(study, published)
    folder = made(folder)
    rows = figures.numbers(study)
    sections = write_plates(figures.plates(study, compared=compared), folder, progress)
    write_text(folder / "numbers.csv", figures.numbers_csv(rows))
    parts = {"What was run": what_was_run(study, rows)}
    parts |= sections
    parts |= {"Published values": published_section(published, compared)} if published != Published() else {}
    if found := differences(study):
        write_text(folder / "differences.csv", differences_csv(found))
        parts["Differences"] = differences_section(found)
    parts |= {"Numbers": numbers_section(study, rows), "Settings and provenance": settings_and_provenance(study)}
    write_text(folder / "report.html", page(title or "Receptive fields and the teaching signal", protocol, parts))
    return folder / "report.html"


def _published(protocol: str | None) -> Published:
    """Return the published values that a protocol's text holds; a name holds none."""
    return published_of(protocol) if protocol and "\n" in protocol.strip() else Published()

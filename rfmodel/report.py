"""One page to take away: what was run, what came out, with which intervals, from which settings.

The page needs nothing beside it: style and pictures are inside, there are no scripts, and every string from a
study is escaped. The same pictures and the table as `numbers.csv` lie beside it for use elsewhere.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from html import escape
from importlib.resources import files
from pathlib import Path

import xarray as xr

from rfmodel import figures
from rfmodel.errors import InputError
from rfmodel.published import Published, published_of
from rfmodel.report_differences import differences, differences_csv, differences_section
from rfmodel.report_numbers import numbers_section, published_section, what_was_run
from rfmodel.report_settings import settings_and_provenance
from rfmodel.store import write_aside

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # no script, and nothing from elsewhere


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
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        found = error.strerror or error
        raise InputError(f"the report's folder '{folder}' cannot be made: {found}; give a folder that can be") from None
    rows = figures.numbers(study)
    sections: dict[str, list[str]] = {}
    for plate in figures.plates(study, compared=compared):
        if progress is not None:
            progress(plate.title)
        data = figures.png(plate.figure)
        write_aside(folder / f"{plate.name}.png", lambda path, data=data: path.write_bytes(data))
        sections.setdefault(plate.section, []).append(_figure(plate, data))
    write_aside(folder / "numbers.csv", lambda path: _write(path, figures.numbers_csv(rows)))
    parts = {"What was run": what_was_run(study, rows)}
    parts |= {name: "".join(drawn) for name, drawn in sections.items()}
    parts |= {"Published values": published_section(published, compared)} if published != Published() else {}
    if found := differences(study):
        text = differences_csv(found)
        write_aside(folder / "differences.csv", lambda path: _write(path, text))
        parts["Differences"] = differences_section(found)
    parts |= {"Numbers": numbers_section(study, rows), "Settings and provenance": settings_and_provenance(study)}
    page = _page(title or "Receptive fields and the teaching signal", protocol, parts)
    write_aside(folder / "report.html", lambda path: _write(path, page))
    return folder / "report.html"


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="backslashreplace")  # a folder's name may be no text


def _published(protocol: str | None) -> Published:
    """Return the published values that a protocol's text holds; a name holds none."""
    return published_of(protocol) if protocol and "\n" in protocol.strip() else Published()


def _page(title: str, protocol: str | None, parts: dict[str, str]) -> str:
    style = files("rfmodel").joinpath("report.css").read_text(encoding="utf-8")
    links = " ".join(f'<a href="#s{i}">{escape(name)}</a>' for i, name in enumerate(parts))
    body = "".join(
        f'<section id="s{i}"><h2>{escape(name)}</h2>{html}</section>' for i, (name, html) in enumerate(parts.items())
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head>\n"
        f"<body><header><h1>{escape(title)}</h1>{_protocol(protocol)}</header><nav>{links}</nav>\n{body}</body></html>\n"
    )


def _protocol(protocol: str | None) -> str:
    if not protocol:
        return ""
    if "\n" not in protocol.strip():
        return f"<p>Protocol: <b>{escape(protocol.strip())}</b></p>"
    return f"<details><summary>Protocol</summary><pre>{escape(protocol)}</pre></details>"


def _figure(plate: figures.Plate, data: bytes) -> str:
    source = "data:image/png;base64," + base64.b64encode(data).decode("ascii")
    image = f'<img alt="{escape(plate.title)}: {escape(plate.section)}" src="{source}">'
    caption = f"<figcaption>{escape(plate.caption)}</figcaption>"
    return f'<figure><h3>{escape(plate.title)}</h3><div class="wide">{image}</div>{caption}</figure>'

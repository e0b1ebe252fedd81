"""The page of a report: one file with its style and pictures inside, no scripts, every string of a study escaped."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from html import escape
from importlib.resources import files
from pathlib import Path

from rfmodel import figures
from rfmodel.errors import InputError
from rfmodel.store import write_aside

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # no script, and nothing from elsewhere
Progress = Callable[[str], None] | None


def made(folder: Path) -> Path:
    """Return a report's folder, made if it is not there.

    Raises
    ------
    InputError
        If it cannot be made.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        found = error.strerror or error
        raise InputError(f"the report's folder '{folder}' cannot be made: {found}; give a folder that can be") from None
    return folder


def write_plates(plates: Iterable[figures.Plate], folder: Path, progress: Progress) -> dict[str, str]:
    """Write each figure as a PNG, and return the page's sections of them by name.

    Parameters
    ----------
    plates : iterable of Plate
        Drawn one at a time.
    folder : Path
        Each is written aside and renamed.
    progress : callable of (title), optional
        Told of each as it is drawn.
    """
    sections: dict[str, list[str]] = {}
    for plate in plates:
        if progress is not None:
            progress(plate.title)
        data = figures.png(plate.figure)
        write_aside(folder / f"{plate.name}.png", lambda path, data=data: path.write_bytes(data))
        sections.setdefault(plate.section, []).append(_figure(plate, data))
    return {name: "".join(drawn) for name, drawn in sections.items()}


def write_text(path: Path, text: str) -> None:
    """Write a text aside and rename it; characters that are none, as in a folder's name, are written as escapes."""
    write_aside(path, lambda at: at.write_text(text, encoding="utf-8", errors="backslashreplace"))


def page(title: str, protocol: str | None, parts: dict[str, str]) -> str:
    """Return the page of sections that are HTML already.

    Parameters
    ----------
    title : str
    protocol : str, optional
        A name, or a text, which is kept folded.
    parts : dict of section to HTML
    """
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

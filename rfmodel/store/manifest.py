"""The manifest: what a study's finished runs are, kept so that it need not be read from a thousand files each time.

It is a cache. The run files alone say what is finished; a manifest that is lost, damaged or of another version is made
anew, and of several processes that write it the last one wins, for each entry bears the stamp of the file it was read
from: size, time of change, and number on the disk.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

from rfmodel.errors import InputError
from rfmodel.store.paths import checked, manifest_path, run_path
from rfmodel.store.writing import Unwritable, write_aside

SCHEMA = 1
Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class Entry:
    """A finished run, as its file says.

    Parameters
    ----------
    name, condition : str
    seed : int
    state : str
        "done" or "diverged".
    epochs : int
    accuracy : float
        On the test images after the last epoch.
    seconds : float
    position : int
        Of its condition in the protocol.
    preset : str
    size, mtime_ns, inode : int
        The stamp of the file: bytes, nanoseconds, number.
    """

    name: str
    condition: str
    seed: int
    state: str
    epochs: int
    accuracy: float
    seconds: float
    position: int
    preset: str
    form: str
    size: int
    mtime_ns: int
    inode: int


TYPES = {field.name: {"str": str, "int": int, "float": float}[field.type] for field in fields(Entry)}


def entries(folder: str | os.PathLike[str]) -> dict[str, Entry]:
    """Return the finished runs of a study by name, in the names' order, and keep the manifest up to date.

    Only files that are new or have changed are read, and of those the attributes. Where the folder cannot be written
    the manifest is not.

    Parameters
    ----------
    folder : path
        A study's.

    Raises
    ------
    InputError
        If a run file is damaged, of another schema or another run's, or the folder cannot be read.
    """
    folder = Path(folder)
    stamps, known = _stamps(folder), _known(manifest_path(folder))
    found = {name: known[name] for name in stamps if name in known and _stamp(known[name]) == stamps[name]}
    stale = found.keys() != known.keys()
    try:
        for name in [name for name in stamps if name not in found]:
            with suppress(FileNotFoundError):  # removed meanwhile
                found[name] = _read(run_path(folder, name), stamps[name])
                stale = True
    finally:  # what was read before a damaged file need not be read again
        if stale:
            _keep(manifest_path(folder), found)
    return dict(sorted(found.items()))


def _stamps(folder: Path) -> dict[str, Stamp]:
    """Return the stamps of a study's run files by stem."""
    found = {}
    try:
        with os.scandir(folder / "runs") as listed:
            for entry in listed:
                if entry.name.endswith(".nc") and not entry.name.startswith("."):
                    with suppress(FileNotFoundError):
                        if entry.is_file():
                            told = entry.stat()
                            found[entry.name.removesuffix(".nc")] = (told.st_size, told.st_mtime_ns, told.st_ino)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InputError(f"the study's folder '{folder}' cannot be read ({error.strerror}); give another") from None
    return dict(sorted(found.items()))


def _stamp(entry: Entry) -> Stamp:
    return entry.size, entry.mtime_ns, entry.inode


def _read(path: Path, stamp: Stamp) -> Entry:
    """Return the entry of a file; the stamp is older than the reading, so that a change meanwhile is seen next time."""
    from rfmodel.store.attributes import read_attributes

    try:
        read = read_attributes(path)
    except InputError:
        path.stat()  # not damaged where it is not there any more
        raise
    row = {key: _one_nan(held) for key, held in read.items() if key != "epochs_done"}
    return Entry(**row, epochs=read["epochs_done"], size=stamp[0], mtime_ns=stamp[1], inode=stamp[2])


def _known(path: Path) -> dict[str, Entry]:
    """Return what a manifest says; nothing where it is not whole."""
    try:
        kept = json.loads(path.read_bytes().decode("utf-8"))
        if kept["schema"] != SCHEMA or kept["checksum"] != _checksum(kept["runs"]):
            return {}
        return {entry.name: entry for entry in map(_entry, kept["runs"])}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _entry(row: dict) -> Entry:
    if {key: type(held) for key, held in row.items()} != TYPES:
        raise ValueError("no entry")
    checked(row["name"])
    return Entry(**{key: _one_nan(held) for key, held in row.items()})


def _one_nan(held: str | int | float) -> str | int | float:
    """Return what is no number as the same object always, by which entries of a run that has none are equal."""
    return math.nan if held != held else held


def _keep(path: Path, found: dict[str, Entry]) -> None:
    rows = [vars(entry) for _, entry in sorted(found.items())]
    text = json.dumps({"schema": SCHEMA, "checksum": _checksum(rows), "runs": rows})
    with suppress(Unwritable):
        write_aside(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def _checksum(rows: list[dict]) -> str:
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

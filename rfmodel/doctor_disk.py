"""Whether a folder's file system does what a study's store stands on: tried with files that are removed."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

LOW = 1.0  # GiB
MOUNTS = Path("/proc/mounts")


def disk(out: Path) -> tuple[str, str]:
    """Return the free space at an output folder, its file system, what it fails to do, and a verdict.

    Parameters
    ----------
    out : Path
        Need not be there yet; then the nearest folder above it is tried.
    """
    folder = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not folder.is_dir():
        return f"'{folder}' is a file, and a folder is needed; another --out would do", "broken"
    free = shutil.disk_usage(folder).free / 2**30
    told = f"{folder}: {free:.1f} GiB free, {kind(folder)}"
    if reason := tried(folder):
        return f"{told}; {reason}", "broken"
    done = "creates exclusively, renames atomically, flushes"
    return f"{told}, {done}", "ok" if free >= LOW else "note"


def kind(folder: Path) -> str:
    """Return the type of the file system that a folder lies on, as the system names it."""
    try:
        rows = [line.split() for line in MOUNTS.read_text(errors="replace").splitlines()]
    except OSError:
        return "file system unknown"
    place = folder.resolve()
    found = {Path(row[1]): row[2] for row in rows if len(row) > 2 and place.is_relative_to(row[1])}
    return found[max(found, key=lambda path: len(path.parts))] if found else "file system unknown"


def tried(folder: Path) -> str:
    """Return what the file system of a folder does not do, of what claims and results need; "" where it does all."""
    first, second = (folder / f".rfmodel-{uuid.uuid4().hex}.part" for _ in range(2))
    try:
        _create(first, b"first")
        try:
            _create(first, b"again")
            return "a file that is there is created again: claims of runs would not hold"
        except FileExistsError:
            pass
        _create(second, b"second")
        os.replace(second, first)
        if first.read_bytes() != b"second" or second.exists():
            return "a file renamed over another does not replace it: results would not appear whole"
        _flush(folder)
    except OSError as error:
        return f"cannot be written ({error.strerror or error}); another --out would do"
    finally:
        for path in (first, second):
            path.unlink(missing_ok=True)
    return ""


def _create(path: Path, content: bytes) -> None:
    file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    try:
        os.write(file, content)
        os.fsync(file)
    finally:
        os.close(file)


def _flush(folder: Path) -> None:
    if os.name != "posix":
        return
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)

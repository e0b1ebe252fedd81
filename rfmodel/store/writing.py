"""Writing: a file beside its place, flushed to the disk and renamed, so that it appears whole or not at all."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from rfmodel.errors import InputError
from rfmodel.store.alive import Process, this_process
from rfmodel.store.wording import one_line

REASONS = {
    errno.ENOSPC: ("the disk is full", "free some space and go on"),
    errno.EDQUOT: ("the disk quota is used up", "free some space and go on"),
    errno.EROFS: ("the disk is read-only", "give a folder on another disk"),
    errno.EACCES: ("permission is denied", "give a folder that is yours"),
    errno.EPERM: ("permission is denied", "give a folder that is yours"),
    errno.EIO: ("the disk reports an input/output error", "look after the disk and go on"),
    errno.ESTALE: ("the file server has lost the folder", "look after the connection and go on"),
    errno.ENOENT: ("its folder is not there, or the file was taken away meanwhile", "make the folder and go on"),
    errno.ENOTDIR: ("its folder is a file", "give another folder"),
    errno.EISDIR: ("a folder has its name", "move that away and go on"),
    errno.ENAMETOOLONG: ("its name is too long", "give a shorter one"),
    errno.EFBIG: ("it is larger than a file may be here", "raise the limit and go on"),
}
NO_FLUSH = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF, errno.EACCES, errno.EPERM, errno.EISDIR}
ASIDE = re.compile(r"\..*\.(?P<machine>[0-9a-f]{12})-(?P<pid>\d{1,10})-(?P<start>\d{1,20})-[0-9a-f]{8}\.part", re.S)
NAMED = 150  # bytes of a file's name that its aside bears, below what a file system takes with the rest
DAY = 86_400  # seconds


class Unwritable(InputError):
    """A file cannot be written; the message names it and says why. Nothing was left half written."""


def unwritable(path: Path, error: BaseException) -> Unwritable:
    """Return what says, in one line, that a file cannot be written and why."""
    code = getattr(error, "errno", None)
    told = one_line(getattr(error, "strerror", None) or error, 200) or type(error).__name__
    reason, remedy = REASONS.get(code, (told, "see to that and go on"))
    where = one_line(path, 4096)
    return Unwritable(f"'{where}' cannot be written: {reason}; nothing was left half written; {remedy}")


def write_aside(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside `path`, flush it to the disk, and rename it: it appears whole or not at all.

    Parameters
    ----------
    path : Path
    write : callable of (path)
        Writes the file at the path that it is given.

    Raises
    ------
    Unwritable
        If the disk is full or the folder cannot be written; nothing is left behind that a reader would take for a file.
    """
    aside = _aside(path)
    try:
        write(aside)
        with open(aside, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(aside, path)
        _flush_folder(path.parent)
    except (OSError, RuntimeError) as error:  # HDF5 and torch report a full disk as RuntimeError
        raise unwritable(path, error) from None
    finally:
        with suppress(OSError):  # a disk that turned read-only keeps it; `sweep` removes it later
            aside.unlink(missing_ok=True)


def _aside(path: Path) -> Path:
    """Return a name beside `path`, with no suffix that a reader looks for, which tells whether its writer lives."""
    me = this_process()
    name = path.name.encode(errors="surrogateescape")[:NAMED].decode(errors="ignore")
    return path.with_name(f".{name}.{me.machine}-{me.pid}-{me.start}-{os.urandom(4).hex()}.part")


def _flush_folder(folder: Path) -> None:
    """Flush a folder's names to the disk, where the system can; a rename might not outlive a power cut before."""
    try:
        file = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
    except OSError as error:
        if error.errno not in NO_FLUSH:
            raise


def sweep(folder: Path) -> list[Path]:
    """Remove what dead writers left half written in a study's folder, its `runs`, `rules` and `theory`.

    Never a living writer's: one of this machine is asked for. What another machine wrote is left until it is a day
    older than a file made now on the same disk, by the clock that stamps both. What cannot be removed stays.

    Parameters
    ----------
    folder : Path
        A study's.

    Returns
    -------
    list of Path
        What was removed.
    """
    removed = []
    for place in (folder, folder / "runs", folder / "rules", folder / "theory"):
        parts = [(path, ASIDE.fullmatch(path.name)) for path in _parts(place)]
        alive = {path: _writer(found).lives() if found else None for path, found in parts}
        old = {path for path in alive if alive[path] is False} | _day_old([p for p in alive if alive[p] is None])
        for path in sorted(old):
            with suppress(OSError):
                path.unlink()
                removed.append(path)
    return removed


def _parts(place: Path) -> Iterator[Path]:
    try:
        with os.scandir(place) as found:
            yield from [
                Path(entry.path)
                for entry in found
                if entry.name.startswith(".") and entry.name.endswith(".part") and entry.is_file(follow_symlinks=False)
            ]
    except OSError:
        return  # not there, or not to be read


def _writer(found: re.Match[str]) -> Process:
    return Process(found["machine"], int(found["pid"]), int(found["start"]))


def _day_old(paths: list[Path]) -> set[Path]:
    """Return which of the files are more than a day older than one made now beside them."""
    if not paths:
        return set()
    fresh = _aside(paths[0].with_name("now"))
    old = set()
    try:
        fresh.write_bytes(b"0")
        now = fresh.stat().st_mtime
        for path in paths:
            with suppress(FileNotFoundError):  # another sweeps too
                old |= {path} if path.stat().st_mtime < now - DAY else set()
        return old
    except OSError:
        return set()
    finally:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)


def refuse_lost(path: Path) -> None:
    """Refuse a file in a folder that is not there, before what goes into it is computed.

    Raises
    ------
    InputError
        The message names the folder.
    """
    if not path.parent.is_dir():
        raise InputError(f"'{path}' cannot be written: '{path.parent}' is no folder; one that is there would do")

"""Writing: a file beside its place, flushed to the disk and renamed, so that it appears whole or not at all."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Callable
from pathlib import Path

from rfmodel.errors import InputError


def write_aside(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside `path`, flush it to the disk, and rename it: it appears whole or not at all.

    Raises
    ------
    InputError
        If the disk is full or the folder cannot be written; nothing is left behind.
    """
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")  # no suffix that a reader looks for
    try:
        write(aside)
        with open(aside, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(aside, path)
    except (OSError, RuntimeError) as error:  # HDF5 and torch report a full disk as RuntimeError
        code = getattr(error, "errno", None)
        reason = "the disk is full" if code == errno.ENOSPC else str(error).splitlines()[0]
        raise InputError(f"'{path}' cannot be written: {reason}; nothing was left half written") from None
    finally:
        aside.unlink(missing_ok=True)


def refuse_lost(path: Path) -> None:
    """Refuse a file in a folder that is not there, before what goes into it is computed.

    Raises
    ------
    InputError
        The message names the folder.
    """
    if not path.parent.is_dir():
        raise InputError(f"'{path}' cannot be written: '{path.parent}' is no folder; one that is there would do")

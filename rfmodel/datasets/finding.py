"""Where a data set lies: the data folder, and for CIFAR a folder or an archive under it."""

from __future__ import annotations

import gzip
import os
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from rfmodel.datasets.layouts import LAYOUTS, Layout
from rfmodel.errors import InputError, MissingData

VARIABLE = "RFMODEL_DATA"
LARGEST_MEMBER = 2**29  # bytes; the largest published file has 155 MB
LARGEST_ARCHIVE = 2**29  # bytes, unpacked; a published archive has 186 MB


@dataclass(frozen=True)
class Found:
    """A layout and the folder or archive it was found in."""

    layout: Layout
    path: Path


def data_folder(name: str, folder: str | Path | None) -> Path:
    """Return `folder`, or the environment variable RFMODEL_DATA where it is None.

    Raises
    ------
    MissingData
        If neither is given.
    """
    chosen = folder if folder is not None else os.environ.get(VARIABLE)
    if not chosen:
        fetch = f", and `rfmodel data download {name} --data DIR` fetches it" if name in LAYOUTS else ""
        raise MissingData(
            f"{name} was asked for, but no data folder was given: --data DIR or {VARIABLE} would do{fetch}"
        )
    return Path(chosen).expanduser()


def find(name: str, folder: Path) -> Found:
    """Return the first of the layouts of `name` that lies in `folder`: folders before archives, pickles
    before binary.

    `folder` may also be the layout's own folder.

    Raises
    ------
    MissingData
        If there is none; the message names the folder, the layouts and the command that helps.
    """
    for layout in LAYOUTS[name]:
        for path in (folder / layout.folder, folder):
            if path.name == layout.folder and path.is_dir():
                return Found(layout, path)
    for layout in LAYOUTS[name]:
        if (folder / layout.archive).is_file():
            return Found(layout, folder / layout.archive)
    understood = ", ".join(f"{layout.folder}/ or {layout.archive}" for layout in LAYOUTS[name])
    state = "" if folder.is_dir() else ", which is not a folder"
    raise MissingData(
        f"{name} was not found in {folder}{state}: understood are {understood}; "
        f"`rfmodel data download {name} --data {folder}` fetches it"
    )


def batch_files(found: Found) -> Iterator[tuple[str, Path, bytes]]:
    """Yield the name, path (for messages) and content of each batch file that is there, in no fixed order.

    An archive is read in one pass and nothing is written.

    Raises
    ------
    InputError
        If a file or archive cannot be read, or an archive holds a member whose path leads out of its folder
        or that is not a plain file or folder.
    """
    names = [*found.layout.train, *found.layout.test]
    if found.path.is_dir():
        for name in names:
            if (found.path / name).is_file():
                with _readable(found.path / name):
                    content = _content(found.path / name)
                yield name, found.path / name, content
        return
    with (
        _readable(found.path),
        gzip.open(found.path) as unpacked,
        tarfile.open(fileobj=_Bounded(unpacked), mode="r|") as archive,
    ):
        for member in archive:
            _check_member(found.path, member)
            name = PurePosixPath(member.name)
            if member.isfile() and str(name.parent) == found.layout.folder and name.name in names:
                content = archive.extractfile(member).read()
                yield name.name, found.path / name, content


def _content(path: Path) -> bytes:
    if (size := path.stat().st_size) > LARGEST_MEMBER:
        raise ValueError(f"it has {size} bytes: the published files are below {LARGEST_MEMBER}")
    return path.read_bytes()


class _Bounded:
    """What is read of an archive, up to a bound: a small file may unpack to more than the disk holds."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._left = file, LARGEST_ARCHIVE

    def read(self, count: int) -> bytes:
        content = self._file.read(count)
        self._left -= len(content)
        if self._left < 0:
            raise ValueError(f"it unpacks to more than {LARGEST_ARCHIVE} bytes, and the published archive to fewer")
        return content


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, tarfile.TarError, zlib.error, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} cannot be read ({error}): a fresh copy would do") from error


def _check_member(archive: Path, member: tarfile.TarInfo) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise InputError(
            f"{archive} holds {member.name!r}, a path out of its own folder: the published archive does not"
        )
    if not (member.isfile() or member.isdir()):
        raise InputError(
            f"{archive} holds {member.name!r}, a link or device: the published archive has plain files only"
        )
    if member.size > LARGEST_MEMBER:
        raise InputError(
            f"{archive} holds {member.name!r} of {member.size} bytes: the published files are below {LARGEST_MEMBER}"
        )

"""Which published files are there, and whether they are byte for byte the published ones."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from rfmodel.datasets.download import md5
from rfmodel.datasets.finding import data_folder, find
from rfmodel.datasets.layouts import LAYOUTS
from rfmodel.errors import one_of


class FileCheck(NamedTuple):
    """One file: name, size (None: not there), and whether its MD5 is the published one (None: none known)."""

    file: str
    bytes: int | None
    md5_ok: bool | None


def verify(name: str, folder: str | Path | None = None) -> list[FileCheck]:
    """Return a row for each file of the layout that `load` would read, missing ones included.

    Parameters
    ----------
    name : "cifar10" or "cifar100".
    folder : where to look; the environment variable RFMODEL_DATA where None.

    Raises
    ------
    MissingData
        If the data set is not there at all.
    InputError
        If the name is unknown.
    """
    found = find(one_of("data set with files", name, LAYOUTS), data_folder(name, folder))
    layout = found.layout
    if found.path.is_file():
        return [_check(found.path, layout.md5)]
    return [_check(found.path / file, layout.files.get(file)) for file in (*layout.train, *layout.test)]


def _check(path: Path, published: str | None) -> FileCheck:
    if not path.is_file():
        return FileCheck(path.name, None, None)
    return FileCheck(path.name, path.stat().st_size, None if published is None else md5(path) == published)

"""Folders of images laid out as ImageNet is, `train/<class>/` and `val/<class>/`, and what lies in them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from rfmodel.datasets.finding import data_folder
from rfmodel.errors import InputError, MissingData

NAME = "image_folder"
LONGEST = 1000  # characters of a subfolder's path
SUFFIXES = (".jpg", ".jpeg", ".png")
FORM = "train/<class>/ and val/<class>/ with JPEG or PNG images"


@dataclass(frozen=True, eq=False)
class Listing:
    """The files of one part of an image folder, class by class, each class in the order of its names.

    Parameters
    ----------
    root : the folder that holds train/ and val/.
    part : "train", "val" or "test".
    names : of the files, relative to `root`, with forward slashes.
    labels : (n,) class indices.
    sizes : (n,) bytes.
    """

    root: Path
    part: str
    names: tuple[str, ...]
    labels: Int64[np.ndarray, " n"]
    sizes: Int64[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.names)

    def path(self, row: int) -> Path:
        """Return where an image lies."""
        return self.root / self.names[row]

    def without(self, rows: Sequence[int]) -> Listing:
        """Return the listing less some of its rows."""
        kept = np.setdiff1d(np.arange(len(self)), np.asarray(rows, np.int64))
        names = tuple(self.names[row] for row in kept)
        return Listing(self.root, self.part, names, self.labels[kept], self.sizes[kept])


def image_root(folder: str | Path | None, path: str = "") -> Path:
    """Return the folder that holds train/: the data folder, or the subfolder `path` of it.

    Raises
    ------
    MissingData
        If it is not there, or has no train/, or neither val/ nor test/.
    InputError
        If `path` leads out of the data folder, by "..", an absolute path or a link.
    """
    base = data_folder(NAME, folder)
    if "\0" in path or len(path) > LONGEST:
        raise InputError(f"path={path[:40]!r}… was asked for: the name of a subfolder would do")
    root = base / path
    if Path(path).is_absolute() or ".." in Path(path).parts or not within(root, base):
        raise InputError(f"path='{path}' was asked for, which leads out of {base}: a subfolder of it would do")
    if not root.is_dir():
        raise MissingData(f"{NAME} was asked for, but {root} is not a folder: one with {FORM} would do")
    needed = {"train/": ("train",), "val/": ("val", "test")}
    for missing, either in needed.items():
        if not any((root / part).is_dir() for part in either):
            found = ", ".join(f"{name}/" for name in _subfolders(root)[:6])
            raise MissingData(
                f"{NAME} in {root} has no {missing} (found are {found or 'no folders'}): {FORM} would do, "
                "or path = the subfolder that has them"
            )
    return root


def parts(root: Path) -> tuple[str | None, str]:
    """Return the folder whose images choose (None: they are held out of train/) and the folder that tests.

    A test/ with class folders is the test split, and val/ then chooses. Otherwise val/ is the test split. A test/
    without class folders, as ImageNet's, has no labels and is left out.
    """
    labelled = (root / "test").is_dir() and bool(_subfolders(root / "test"))
    if not (root / "val").is_dir():
        return None, "test"
    return ("val", "test") if labelled else (None, "val")


def class_names(root: Path) -> tuple[str, ...]:
    """Return the names of the folders in train/, sorted; hidden ones are no classes.

    Raises
    ------
    InputError
        If there are fewer than two.
    """
    names = _subfolders(root / "train")
    if len(names) < 2:
        with _readable(root / "train"):
            count = sum(entry.is_file() for entry in (root / "train").iterdir())
        raise InputError(
            f"{root / 'train'} holds {len(names)} class folders and {count} files: two or more folders, "
            "one for each class, with images in them would do"
        )
    return names


def listed(
    root: Path, part: str, every: tuple[str, ...], count: int, base: Path | None = None
) -> tuple[Listing, list[str]]:
    """Return the images of the first `count` classes of one part, and the names of files that are no images by name.

    Hidden files are passed over. Links are followed to files and to class folders, not to folders within those; and
    only within `base`, the data folder.

    Raises
    ------
    InputError
        If a class is missing, is in this part alone, or is empty; if a link leads out, or what has an image's name is
        no file.
    """
    there = _subfolders(root / part)
    for name in there:
        if name not in every:
            raise InputError(
                f"class '{name}' is in {root / part}, but train/ has no such folder among its {len(every)}: "
                "the same classes in both would do"
            )
    names, labels, sizes, strays = [], [], [], []
    for label, name in enumerate(every[:count]):
        if name not in there:
            raise InputError(
                f"class '{name}' of train/ is not in {root / part}, which has {len(there)} classes: "
                "the same classes in both would do"
            )
        before = len(names)
        for file, size in _files(root / part / name, root if base is None else base):
            relative = file.relative_to(root).as_posix()
            if file.suffix.lower() not in SUFFIXES:
                strays.append(relative)
                continue
            names.append(relative)
            labels.append(label)
            sizes.append(size)
        if len(names) == before:
            raise InputError(
                f"class folder {root / part / name} holds no image ({', '.join(SUFFIXES)}): "
                "images in it, or no such folder, would do"
            )
    return Listing(root, part, tuple(names), np.array(labels, np.int64), np.array(sizes, np.int64)), strays


def within(path: Path, base: Path) -> bool:
    """Return whether a path, its links followed, lies in a folder; a circle of links leads nowhere."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(base))


def _subfolders(folder: Path) -> tuple[str, ...]:
    with _readable(folder), os.scandir(folder) as entries:
        return tuple(sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")))


def _files(folder: Path, base: Path) -> Iterator[tuple[Path, int]]:
    """Yield each file at any depth, folder by folder, with its size in bytes; hidden ones are passed over."""
    if folder.resolve() != folder:
        _refuse_outside(folder, base)
    with _readable(folder):
        for top, folders, files in os.walk(folder, onerror=_raise):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(name for name in files if not name.startswith(".")):
                file = Path(top, name)
                found = file.lstat()
                if stat.S_ISLNK(found.st_mode):
                    _refuse_outside(file, base)
                    found = file.stat()
                if not stat.S_ISREG(found.st_mode):
                    raise InputError(f"{file} is a pipe or device, or leads to one: a plain file would do")
                yield file, found.st_size


def _refuse_outside(path: Path, base: Path) -> None:
    if not within(path, base):
        raise InputError(
            f"{path} leads out of the data folder {base}: a copy would do, or a data folder that holds both, with "
            "path = the subfolder"
        )


def _raise(error: OSError) -> None:
    raise error


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{error.filename or folder} cannot be read ({error.strerror}): a whole copy would do"
        ) from error

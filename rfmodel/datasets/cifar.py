"""CIFAR-10 and CIFAR-100 from their published files, each file checked before it is used."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8

from rfmodel.datasets.finding import Found, batch_files, data_folder, find
from rfmodel.datasets.layouts import CLASSES, Layout
from rfmodel.datasets.progress import Progress, silent
from rfmodel.datasets.restricted_pickle import RefusedPickle, read_record
from rfmodel.errors import InputError, MissingData

SIDE = 32
PIXELS = 3 * SIDE * SIDE


class Arrays(NamedTuple):
    """Images (n, 3, 32, 32) uint8 and labels (n,) int64 of one file or split."""

    images: UInt8[np.ndarray, "n 3 32 32"]
    labels: Int64[np.ndarray, " n"]


def read_cifar(
    name: str, folder: str | Path | None = None, *, partial: bool = False, progress: Progress | None = None
) -> tuple[Arrays, Arrays, str]:
    """Return the published training and test images of CIFAR-10 or CIFAR-100, in file order.

    Parameters
    ----------
    name : "cifar10" or "cifar100" (fine labels).
    folder : where to look; the environment variable RFMODEL_DATA where None.
    partial : admit batch files with fewer rows than published, for trials on a part of the data.
    progress : called with ("reading cifar10", files read, files) after each file.

    Returns
    -------
    train, test, source : the arrays, and where they came from.

    Raises
    ------
    MissingData
        If the data set, or one of its files, is not there.
    InputError
        If a file is corrupt: the message has its name and what is wrong.

    Source: https://www.cs.toronto.edu/~kriz/cifar.html
    """
    found = find(name, data_folder(name, folder))
    layout, rows = found.layout, {**found.layout.train, **found.layout.test}
    batches: dict[str, Arrays] = {}
    for file, path, content in batch_files(found):
        batch = _pickled(path, content, layout) if layout.kind == "python" else _binary(path, content, layout)
        _check_rows(path, batch, rows[file], partial)
        _check_labels(path, batch.labels, len(CLASSES[name]), name)
        batches[file] = batch
        (progress or silent)(f"reading {name}", len(batches), len(rows))
    _check_complete(name, found, rows, batches)
    train, test = (_joined([batches[file] for file in files]) for files in (layout.train, layout.test))
    return (
        train,
        test,
        f"{found.path.name}, {layout.kind} layout of https://www.cs.toronto.edu/~kriz/cifar.html",
    )


def _pickled(path: Path, content: bytes, layout: Layout) -> Arrays:
    try:
        record = read_record(content)
    except RefusedPickle as error:
        published = max(layout.train.values()) * PIXELS
        raise InputError(
            f"{path} of {len(content)} bytes holds {error}; a published file of this layout has "
            f"more than {min(published, 10_000 * PIXELS)} bytes, and a fresh copy would do"
        ) from error
    for key in ("data", layout.label):
        if key not in record:
            raise InputError(f"{path} has no '{key}': found are {', '.join(sorted(record)) or 'no keys'}")
    data, labels = record["data"], record[layout.label]
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != PIXELS:
        form = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise InputError(f"{path} has pixels of {form}: uint8 (rows, {PIXELS}) is the published form")
    return Arrays(data.reshape(-1, 3, SIDE, SIDE), _whole_numbers(path, labels))


def _whole_numbers(path: Path, labels: object) -> Int64[np.ndarray, " n"]:
    plain = isinstance(labels, list) and all(type(label) is int and abs(label) < 2**31 for label in labels)
    array = isinstance(labels, np.ndarray) and labels.ndim == 1 and labels.dtype.kind in "iu"
    if not (plain or array):
        raise InputError(f"{path} has labels that are no list of whole numbers, but {type(labels).__name__}")
    return np.asarray(labels, np.int64)


def _binary(path: Path, content: bytes, layout: Layout) -> Arrays:
    row = layout.label_bytes + PIXELS
    if not content or len(content) % row:
        raise InputError(
            f"{path} has {len(content)} bytes, {len(content) % row} more than a multiple of {row} "
            f"(one row): it is truncated or another file, and a fresh copy would do"
        )
    table = np.frombuffer(content, np.uint8).reshape(-1, row)
    return Arrays(table[:, layout.label_bytes :].reshape(-1, 3, SIDE, SIDE), table[:, layout.label].astype(np.int64))


def _check_rows(path: Path, batch: Arrays, published: int, partial: bool) -> None:
    images, labels = len(batch.images), len(batch.labels)
    if images != labels:
        raise InputError(f"{path} has {images} images but {labels} labels: a fresh copy would do")
    if images > published or images == 0 or (images < published and not partial):
        raise InputError(
            f"{path} has {images} rows, the published file has {published}: a fresh copy would do, "
            f"or partial=True for a trial on fewer rows"
        )


def _check_labels(path: Path, labels: Int64[np.ndarray, " n"], classes: int, name: str) -> None:
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        raise InputError(
            f"{path} has label {labels[wrong[0]]} in row {wrong[0]}: {name} has classes 0 to {classes - 1}"
        )


def _check_complete(name: str, found: Found, rows: dict[str, int], batches: dict[str, Arrays]) -> None:
    absent = [file for file in rows if file not in batches]
    if absent:
        raise MissingData(
            f"{name} in {found.path} lacks {', '.join(absent)}: `rfmodel data download {name} "
            f"--data {found.path.parent}` fetches the whole set"
        )


def _joined(parts: list[Arrays]) -> Arrays:
    return Arrays(np.concatenate([part.images for part in parts]), np.concatenate([part.labels for part in parts]))

"""Tiny CIFAR sets in the published formats, for tests that need no download."""

from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path

import numpy as np

from rfmodel.datasets.layouts import CLASSES, LAYOUTS, Layout


def layout_of(name: str, kind: str) -> Layout:
    """Return the published layout of one kind."""
    return next(layout for layout in LAYOUTS[name] if layout.kind == kind)


def rows_of(name: str, file_number: int, rows: int) -> tuple[np.ndarray, list[int]]:
    """Return pixels (rows, 3072) that differ from file to file, and labels that run through the classes."""
    pixels = np.random.default_rng(file_number).integers(0, 256, (rows, 3072), dtype=np.uint8)
    classes = len(CLASSES[name])
    return pixels, [(row + file_number) % classes for row in range(rows)]


def content(name: str, layout: Layout, pixels: np.ndarray, labels: list[int], protocol: int = 2) -> bytes:
    """Return the bytes of one batch file."""
    if layout.kind == "python":
        return pickle.dumps({"data": pixels, layout.label: labels, "batch_label": "a batch"}, protocol=protocol)
    coarse = np.full((len(labels), layout.label_bytes - 1), 7, np.uint8)
    return np.concatenate([coarse, np.array(labels, np.uint8)[:, None], pixels], axis=1).tobytes()


def write(folder: Path, name: str, kind: str, rows: int = 20) -> Path:
    """Write every batch file of one layout with `rows` rows each; return the layout's folder."""
    layout = layout_of(name, kind)
    inner = folder / layout.folder
    inner.mkdir(parents=True)
    for number, file in enumerate([*layout.train, *layout.test]):
        (inner / file).write_bytes(content(name, layout, *rows_of(name, number, rows)))
    return inner


def archive(folder: Path, name: str, kind: str, rows: int = 20, extra: tarfile.TarInfo | None = None) -> Path:
    """Write the layout's .tar.gz, with one more (empty) member if asked for; return its path."""
    layout = layout_of(name, kind)
    path = folder / layout.archive
    with tarfile.open(path, "w:gz") as tar:
        if extra is not None:
            tar.addfile(extra, io.BytesIO())
        for number, file in enumerate([*layout.train, *layout.test]):
            body = content(name, layout, *rows_of(name, number, rows))
            member = tarfile.TarInfo(f"{layout.folder}/{file}")
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return path

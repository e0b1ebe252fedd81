"""Folders of tiny images, made with Pillow, that tests read back."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image


def smooth(seed: int, height: int = 40, width: int = 50) -> Image.Image:
    """A colour image without sharp edges, so that JPEG keeps it nearly."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def flat(level: int, height: int = 40, width: int = 50) -> Image.Image:
    """An image of one grey level: any crop or scale of it is the same."""
    return Image.fromarray(np.full((height, width, 3), level, np.uint8))


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    """The bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": 95} | options if kind == "JPEG" else options))
    return buffer.getvalue()


def write_folder(root: Path, classes: str = "ant bee cat", train: int = 10, val: int = 3, **more: int) -> Path:
    """Write JPEG images of one level each: part p, class c, image i have the level of `level_of`."""
    for part, count in {"train": train, "val": val, **more}.items():
        for label, name in enumerate(classes.split()):
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                (folder / f"{i:03d}.jpg").write_bytes(encoded(flat(level_of(part, label, i))))
    return root


def level_of(part: str, label: int, i: int) -> int:
    """A grey level that tells the images of a small folder apart."""
    return {"train": 10, "val": 100, "test": 180}[part] + 20 * label + i

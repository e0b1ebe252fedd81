"""From the bytes of a JPEG or PNG file to RGB pixels, by torchvision or by Pillow.

Orientation in EXIF is ignored, as torchvision ignores it. Grey, palette and CMYK images become RGB; transparency is
dropped. Both decoders give the same bytes for baseline and progressive JPEG, and for PNG of 8 bits.
"""

from __future__ import annotations

import importlib.util
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from rfmodel.errors import InputError, one_of

MAGIC: dict[bytes, type[Image.Image]] = {b"\xff\xd8\xff": JpegImageFile, b"\x89PNG\r\n\x1a\n": PngImageFile}
# what a damaged file makes Pillow, zlib and torchvision raise
DAMAGED = (OSError, SyntaxError, ValueError, RuntimeError, LookupError, TypeError, EOFError, struct.error, zlib.error)

Decoder = Callable[[bytes], UInt8[np.ndarray, "h w 3"]]


class Unreadable(ValueError):
    """A file is not an image that can be decoded; the message is the reason."""


def header(file: BinaryIO) -> Image.Image:
    """Return a JPEG or PNG image whose header is read and whose pixels are not.

    Parameters
    ----------
    file : open at its start; the pixels are read from it when they are asked for.

    Raises
    ------
    Unreadable
        If this is no such image, have 16 bits a channel, or announce more pixels than Pillow's guard against
        decompression bombs admits.
    """
    first = file.read(max(len(magic) for magic in MAGIC))
    kinds = [kind for magic, kind in MAGIC.items() if first.startswith(magic)]
    if not kinds:
        raise Unreadable("neither JPEG nor PNG" if first else "empty")
    file.seek(0)
    try:
        # the class itself: Image.open would warn of a bomb, on lines of its own
        image = kinds[0](file)
    except DAMAGED as error:
        raise Unreadable(f"header: {_reason(error)}") from error
    width, height = image.size
    if Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS:
        raise Unreadable(f"{width} x {height} pixels, more than Pillow's guard of {Image.MAX_IMAGE_PIXELS}")
    if image.mode.startswith(("I", "F")):
        raise Unreadable(f"pixels of mode {image.mode}, more than 8 bits a channel")
    return image


def by_pillow(content: bytes) -> UInt8[np.ndarray, "h w 3"]:
    """Return the image's RGB pixels, decoded by Pillow.

    Raises
    ------
    Unreadable
        If it cannot be decoded to its end.
    """
    image = header(io.BytesIO(content))
    try:
        if "transparency" in image.info:
            image = image.convert("RGBA")
        return np.array(image.convert("RGB"))
    except DAMAGED as error:
        raise Unreadable(_reason(error)) from error


def by_torchvision(content: bytes) -> UInt8[np.ndarray, "h w 3"]:
    """Return the image's RGB pixels, decoded by torchvision.

    Raises
    ------
    Unreadable
        If it cannot be decoded to its end.
    """
    from torchvision.io import ImageReadMode, decode_image

    header(io.BytesIO(content))
    try:
        planes = decode_image(torch.frombuffer(bytearray(content), dtype=torch.uint8), mode=ImageReadMode.RGB)
    except DAMAGED as error:
        raise Unreadable(_reason(error)) from error
    return np.ascontiguousarray(planes.permute(1, 2, 0).numpy())


DECODERS: dict[str, Decoder] = {"pillow": by_pillow, "torchvision": by_torchvision}


def decoder_name(asked: str) -> str:
    """Return "torchvision" or "pillow": what was asked for, or for "auto" torchvision where it is installed.

    Raises
    ------
    InputError
        If the name is unknown, or torchvision is asked for and not installed.
    """
    one_of("decoder", asked, ("auto", *DECODERS))
    there = importlib.util.find_spec("torchvision") is not None
    if asked == "torchvision" and not there:
        raise InputError(
            "decoder='torchvision' was asked for, but torchvision is not installed: `pip install rfmodel[vision]` "
            "or decoder = 'pillow' would do"
        )
    return ("torchvision" if there else "pillow") if asked == "auto" else asked


def read(path: Path, decode: Decoder) -> UInt8[np.ndarray, "h w 3"]:
    """Return a file's RGB pixels.

    Raises
    ------
    Unreadable
        If the file cannot be read or decoded.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Unreadable(error.strerror or "cannot be read") from error
    return decode(content)


def read_header(path: Path) -> None:
    """Read a file's header alone.

    Raises
    ------
    Unreadable
        If the file cannot be read, or `header` refuses it.
    """
    try:
        with path.open("rb") as file:
            header(file)
    except OSError as error:
        raise Unreadable(error.strerror or "cannot be read") from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:80] or type(error).__name__

"""A run file's bytes: sealed by a checksum at their end, and seen to be such as the HDF5 library can be trusted with.

A damaged file that the library opens may keep it busy for ever. So the bytes are looked at first: those with a seal by
the seal, and in all of them the heaps, in which the library follows lengths without looking where they lead.
"""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

SEAL = b"\nrfmodel sha256 "  # after it 64 hexadecimal digits, at the very end, where no HDF5 reader looks
HEAP, HEAD = b"GCOL\x01\x00\x00\x00", struct.Struct("<HHIQ")  # a heap's mark; number, references, nothing, length


class Unfit(ValueError):
    """What a file holds is not what a run file holds."""


def sealed(image: bytes) -> bytes:
    """Return a file's bytes with a seal at their end."""
    return image + SEAL + hashlib.sha256(image).hexdigest().encode()


def image_of(path: Path) -> bytes:
    """Return a file's bytes.

    Raises
    ------
    OSError
        If they cannot be read.
    Unfit
        If it is no file, or its bytes are not those that were written.
    """
    path.stat()
    if not path.is_file():
        raise Unfit("it is no file, but a folder, pipe or device")
    return checked_image(path.read_bytes())


def checked_image(image: bytes) -> bytes:
    """Return bytes whose seal, if they have one, holds, and whose heaps end where they say.

    Raises
    ------
    Unfit
        If one does not.
    """
    at = len(image) - 64 - len(SEAL)
    bears = at >= 0 and image[at : at + len(SEAL)] == SEAL
    if bears and hashlib.sha256(memoryview(image)[:at]).hexdigest().encode() != image[-64:]:
        raise Unfit("its bytes have not their checksum")
    start = image.find(HEAP)
    while start >= 0:
        if not _ends(image, start):
            raise Unfit("its heap of words is damaged")
        start = image.find(HEAP, start + 1)
    return image


def _ends(image: bytes, start: int) -> bool:
    """Whether the objects of a heap fill it, each with a length that leads on."""
    if start + 16 > len(image):
        return True  # cut short, which the library sees
    end, place = start + int.from_bytes(image[start + 8 : start + 16], "little"), start + 16
    while place + HEAD.size <= min(end, len(image)):
        number, _, _, length = HEAD.unpack_from(image, place)
        place += HEAD.size + -(-length // 8) * 8 if number else length
        if number == 0 and length < HEAD.size or place > end:
            return False
    return True

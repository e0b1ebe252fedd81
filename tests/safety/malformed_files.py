"""Files gone wrong: real ones, cut, flipped, doubled or filled with what an attacker would write."""

from __future__ import annotations

import os
import pickle
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

from hypothesis import strategies as st

EXTRA = (
    b"", b"\x00", b"\xff" * 8, b"\x00" * 4096, b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"\x80\x04.", b"{}", b"[]", b"null",
    b"NaN", b'"', b"{", b"\xed\xa0\x80", b"\x1b]0;owned\x07", b"[" * 3000, b"9" * 5000, b"1e999", b"../../x",
    b"\x80\x02cposix\nsystem\n",
)  # fmt: skip


class Payload:
    """Pickles as a call of `os.system` that makes a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch '{self.canary}'",)


def payloads(canary: Path) -> list[bytes]:
    """Return pickles that would make `canary`, bare and within a record, of every protocol; and bombs."""
    found = [
        pickle.dumps(record, protocol=protocol)
        for protocol in range(6)
        for record in (Payload(canary), {"data": Payload(canary), "labels": [1]}, {"labels": [Payload(canary)]})
    ]
    made = str(canary).encode()
    found.append(b"c__builtin__\neval\n(S'open(\"" + made + b'", "w")\'\ntR.')
    found.append(
        b"\x80\x04\x8c\x08builtins\x8c\x04exec\x93\x8c" + bytes([len(made) + 14]) + b"open('" + made + b"', 'w')\x85R."
    )
    doubled = b"\x80\x02" + b"U\x01a\x85q\x00" + b"".join(b"h%ch%c\x86q%c" % (i, i, i + 1) for i in range(100))
    found.append(b"\x80\x02}" + doubled[2:] + b"K\x01s.")  # a key whose hash takes 2^100 steps
    found.append(b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n" + doubled[2:] + b"R.")
    found.append(b"\x80\x02}r\xff\xff\xff\xff.")  # room for 2^32 remembered objects
    found.append(b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x.")
    found.append(b"\x80\x02" + b"(" * 100_000 + b".")
    found.append(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".")
    return found


@st.composite
def spoilt(draw: st.DrawFn, contents: Sequence[bytes], more: Sequence[bytes] = ()) -> bytes:
    """Draw one of some files' bytes with one to three things wrong, or something else altogether."""
    content = contents[draw(st.integers(0, len(contents) - 1))]
    others = [*EXTRA, *more, *contents]
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(content)))
        to = draw(st.integers(at, min(len(content), at + 64)))
        other = others[draw(st.integers(0, len(others) - 1))]
        how = draw(st.integers(0, 6))
        if how == 0:
            content = content[:at]
        elif how == 1:
            flipped = bytes(255 - byte for byte in content[at:to])
            content = content[:at] + flipped + content[to:]
        elif how == 2:
            content = content[:at] + content[to:]
        elif how == 3:
            content = content[:at] + other + content[to:]
        elif how == 4:
            content = content + other
        elif how == 5:
            content = content[:at] + bytes([draw(st.integers(0, 255))]) + content[at + 1 :]
        else:
            content = other
    return content


def png(width: int, height: int, rows: bytes = b"") -> bytes:
    """Return a PNG that announces a size, whatever it holds."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def jpeg(width: int, height: int, image: bytes) -> bytes:
    """Return a JPEG with another size in its header."""
    at = next(image.index(bytes([0xFF, mark])) for mark in (0xC0, 0xC1, 0xC2) if bytes([0xFF, mark]) in image)
    return image[: at + 5] + struct.pack(">HH", height, width) + image[at + 9 :]


PICTURES = (
    png(1, 1),
    png(2**31 - 1, 2**31 - 1),
    png(40_000, 40_000),
    png(12_000, 12_000),
    png(0, 0),
    png(2**30, 1),
    png(1, 100_000),
)

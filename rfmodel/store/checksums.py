"""Checksums: of what a run file says, however it is packed, and of a file's bytes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from rfmodel.store.netcdf import Content

CHECKSUM = "checksum"  # the attribute that holds it, and is not part of what it sums up


def digest(source: bytes | str | os.PathLike[str]) -> str:
    """Return the SHA-256 of bytes, or of a file, in hexadecimal.

    Parameters
    ----------
    source : bytes or path

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return hashlib.sha256(source).hexdigest()
    with open(Path(source), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_content(content: Content) -> str:
    """Return the SHA-256 of what a file says: every name, dimension, type, value and attribute, in hexadecimal.

    Compression, byte order, and the order of variables and attributes count for nothing; each bit of a NaN does.

    Parameters
    ----------
    content : Content
        As it is read, not as it was before it was written.
    """
    found = hashlib.sha256()
    for name, (dims, values, attrs) in sorted(content.variables.items()):
        told = [name, dims, name in content.coordinates, token(values), values.shape, described(attrs)]
        found.update(_line(told))
        found.update(packed(values))
    found.update(_line(described({key: held for key, held in content.attrs.items() if key != CHECKSUM})))
    return found.hexdigest()


def _line(told: object) -> bytes:
    return json.dumps(told, sort_keys=True).encode() + b"\n"


def token(values: np.ndarray) -> str:
    """Return the type of an array, whatever its byte order, and of words whatever their length."""
    return "U" if values.dtype.kind == "U" else values.dtype.newbyteorder("<").str


def packed(values: np.ndarray) -> bytes | memoryview:
    """Return an array's bytes, little end first; words as JSON, which tells where each ends."""
    if values.dtype.kind in "UO":
        return json.dumps(values.ravel().tolist()).encode()
    values = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return values.reshape(-1).view(np.uint8).data


def described(attrs: Mapping[str, object]) -> dict[str, object]:
    """Return attributes as JSON can hold them, to the last bit of their numbers.

    Parameters
    ----------
    attrs : mapping
        Of words, lists of words, numbers and arrays.
    """
    return {key: _described(held) for key, held in attrs.items()}


def _described(held: object) -> object:
    if isinstance(held, str) or (isinstance(held, list) and all(isinstance(word, str) for word in held)):
        return held
    values = np.asarray(held)
    return {"type": token(values), "shape": values.shape, "bytes": bytes(packed(values)).hex()}


def restored(told: Mapping[str, object]) -> dict[str, object]:
    """Return the attributes that `described` told of: words, lists of words, NumPy scalars and arrays."""
    return {key: _restored(held) if isinstance(held, dict) else held for key, held in told.items()}


def _restored(told: Mapping) -> np.ndarray | np.generic:
    values = np.frombuffer(bytes.fromhex(told["bytes"]), told["type"]).reshape(told["shape"]).copy()
    return values if values.ndim else values[()]

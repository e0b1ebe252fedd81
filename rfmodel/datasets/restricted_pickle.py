"""Read a pickled record of arrays, lists, strings, bytes and numbers, and nothing else.

A pickle is a program: its GLOBAL and REDUCE instructions import and call any Python object. The published
CIFAR files need a few names, those by which NumPy arrays and their bytes were written. Each is answered here
by an object of this module, so that a file reaches no importable object at all, not even NumPy's own
reconstruction code.
"""

from __future__ import annotations

import io
import math
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from rfmodel.datasets.pickle_bounds import outgrown

LONGEST_MESSAGE = 200  # characters


class RefusedPickle(ValueError):
    """A pickle that asks for something other than plain data, or that cannot be read to its end."""

    def __init__(self, message: str) -> None:
        # the file chooses the names that are quoted: keep them on one line and short
        super().__init__(message.encode("unicode_escape").decode()[:LONGEST_MESSAGE])


class _Kind:
    """Stands in for a number type while it is unpickled: b, i, u or f of at most 8 bytes."""

    __slots__ = ("dtype",)

    def __init__(self, code: str | bytes, *_copy_and_align: object) -> None:
        text = code.decode("latin1") if isinstance(code, bytes) else code
        if not isinstance(text, str) or not re.fullmatch(r"b1|[iu][1248]|f[248]", text):
            raise RefusedPickle(f"an array of type {text!r}: only whole and floating-point numbers are admitted")
        self.dtype = np.dtype(text)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1].decode("latin1") if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "=", "|"):
            raise RefusedPickle(f"byte order {order!r}")
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """Stands in for an array while it is unpickled; its state: version, shape, type, column-major, bytes."""

    __slots__ = ("array",)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, kind, column_major, content = state
        if not isinstance(kind, _Kind) or not isinstance(content, bytes):
            raise RefusedPickle("an array whose content is not bytes of a number type")
        if any(type(length) is not int or length < 0 for length in shape):
            raise RefusedPickle(f"an array of shape {shape!r}")
        expected = math.prod(shape) * kind.dtype.itemsize
        if len(content) != expected:
            raise RefusedPickle(f"an array of shape {shape} with {len(content)} bytes where {expected} are expected")
        self.array = np.frombuffer(content, kind.dtype).reshape(shape, order="F" if column_major else "C")


class _Admitted:
    """An admitted callable; without attributes, so that a BUILD instruction has nothing to overwrite."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)

    def __setstate__(self, state: object) -> None:
        raise RefusedPickle("changes to an admitted name")


def _encode(text: str, encoding: str) -> bytes:
    """Bytes as Python 3 writes them in protocol 2: code points 0-255, by Latin-1."""
    if encoding not in ("latin1", b"latin1"):
        raise RefusedPickle(f"encoding {encoding!r}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """Empty bytes, which Python 3 writes in protocol 2 as a call of `bytes` without arguments."""
    return b""


def _admitted(module: str, name: str) -> Callable[..., Any] | None:
    numpy_core = module in ("numpy.core.multiarray", "numpy._core.multiarray")
    if numpy_core and name == "_reconstruct":
        return lambda _class, _shape, _code: _Array()
    if (module, name) == ("numpy", "dtype"):
        return _Kind
    if (module, name) == ("_codecs", "encode"):
        return _encode
    if module in ("__builtin__", "builtins") and name == "bytes":
        return _no_bytes
    if (module, name) == ("numpy", "ndarray"):
        # only ever the first argument of _reconstruct, which does not look at it
        return _refuse_ndarray
    return None


def _refuse_ndarray(*_arguments: object) -> None:
    raise RefusedPickle("a call of numpy.ndarray")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        call = _admitted(module, name)
        if call is None:
            raise RefusedPickle(f"{module}.{name}: only arrays, lists, dicts, strings, bytes and numbers are admitted")
        return _Admitted(call)


def read_record(content: bytes) -> dict[str, Any]:
    """Return the dict of a pickle, its arrays as NumPy arrays and its keys as strings.

    Parameters
    ----------
    content : the whole file, written by Python 2 or 3; NumPy writes arrays in this form up to protocol 4.

    Returns
    -------
    The record; strings written by Python 2 come back as bytes, except in keys. Arrays are read-only.

    Raises
    ------
    RefusedPickle
        If the pickle names anything but the few names by which arrays are written, ends early, is not a
        pickle, or holds something other than a dict.
    """
    try:
        if bomb := outgrown(content):
            raise RefusedPickle(f"{bomb}: only arrays, lists, dicts, strings, bytes and numbers are admitted")
        record = _Unpickler(io.BytesIO(content), encoding="bytes").load()
        if not isinstance(record, dict):
            raise RefusedPickle(f"a pickle of {type(record).__name__} where a dict is expected")
        return {_text(key): value.array if isinstance(value, _Array) else value for key, value in record.items()}
    except RefusedPickle:
        raise
    # a damaged pickle can raise nearly anything (Python's documentation of pickle)
    except Exception as error:
        reason = str(error) or "no more to read"
        raise RefusedPickle(f"no complete pickle: {type(error).__name__}, {reason}") from error


def _text(key: object) -> str:
    text = key.decode("latin1") if isinstance(key, bytes) else str(key)
    return text.encode("unicode_escape").decode()  # keys are quoted in messages of one line

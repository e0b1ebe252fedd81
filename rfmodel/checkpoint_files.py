"""Checkpoint files: plain values and tensors with a header and a checksum, opened by `torch.load(weights_only=True)`.

What is not plain data is refused, whatever wrote it: a file may say anything of itself, also how large it is, and the
checksum only tells damage from a whole file. It is taken over the content as read, in the order in which it is kept:
types, names, numbers bit by bit, and each tensor's dtype, shape, strides and bytes as they lie in memory.
"""

from __future__ import annotations

import hashlib
import struct
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rfmodel.errors import InputError

FORMAT, SCHEMA = "rfmodel checkpoint", 1
KEYS = ("format", "schema", "identity", "fingerprint", "versions", "state", "sha256")
REPEATED = 16  # times that a file's content may be referred to from within it: tied weights are, once or twice
DTYPES = {
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex128),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
}


class Damaged(InputError):
    """A checkpoint file that is not whole, or none."""


def content(identity: str, fingerprint: str, state: dict) -> dict:
    """Return what a file of this state holds; tensors that lie densely in memory of the processor are not copied.

    Raises
    ------
    InputError
        If the state holds what is neither plain nor a tensor.
    """
    made = {
        "format": FORMAT,
        "schema": SCHEMA,
        "identity": identity,
        "fingerprint": fingerprint,
        "versions": {"torch": str(torch.__version__), "rfmodel": _own_version()},
        "state": plain(state),
    }
    return made | {"sha256": digest(made)}


def write(made: dict, path: Path) -> None:
    """Write what `content` made.

    Raises
    ------
    OSError
        If the disk will not have it.
    """
    try:
        with open(path, "wb") as file:  # through a file of Python's: half the time of torch's own
            torch.save(made, file)
    except RuntimeError as error:  # torch closes its archive and then complains of where the disk's own error left it
        raise error.__context__ if isinstance(error.__context__, OSError) else error from None


def read(path: Path) -> dict:
    """Return what a file holds, if it is whole.

    Raises
    ------
    Damaged
        If it is not a checkpoint, or not as it was written; the message says why and does not name the file.
    """
    try:
        found = _loaded(path)
        if type(found) is not dict or tuple(found) != KEYS or found["format"] != FORMAT:
            raise Damaged("it is no checkpoint of rfmodel")
        if digest({key: found[key] for key in KEYS[:-1]}, REPEATED * path.stat().st_size) != found["sha256"]:
            raise Damaged("its checksum does not fit its content")
        if type(found["state"]) is not dict or type(found["schema"]) is not int:
            raise Damaged("it is no checkpoint of rfmodel")
    except Damaged:
        raise
    except OSError as error:
        raise Damaged(error.strerror or type(error).__name__) from None
    except Exception as error:  # a damaged pickle raises whatever its bytes spell
        raise Damaged(f"it is cut short or overwritten: {type(error).__name__}") from None
    return found


def _loaded(path: Path) -> object:
    with zipfile.ZipFile(path) as file:
        parts = file.infolist()
    # torch.save packs nothing: what says that it holds more than its file would unfold in memory.
    size = path.stat().st_size
    if any(part.compress_type != zipfile.ZIP_STORED or part.file_size != part.compress_size for part in parts):
        raise Damaged("it is packed, as no checkpoint is")
    if sum(part.file_size for part in parts) > size:
        raise Damaged("it says that it holds more than its size")
    return torch.load(path, weights_only=True, map_location="cpu")


def _own_version() -> str:
    try:
        return version("rfmodel")
    except PackageNotFoundError:
        return "unknown"


def plain(value: object, where: str = "state") -> object:
    """Return a value as dicts, lists, words, numbers, and dense tensors on the processor.

    Parameters
    ----------
    value : object
    where : str
        What the message of a refusal calls it.

    Raises
    ------
    InputError
        If it holds anything else.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Tensor):
        return _dense(value, where)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value)
    if isinstance(value, dict) and all(type(key) in (str, int) for key in value):
        return {key: plain(part, f"{where}.{key}") for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part, f"{where}[{i}]") for i, part in enumerate(value)]
    raise InputError(
        f"a checkpoint cannot hold {where}, which is {type(value).__name__}; tensors, numbers, words, lists and dicts "
        "would do, or --checkpoint never"
    )


def _dense(tensor: Tensor, where: str) -> Tensor:
    tensor = tensor.detach()
    if tensor.layout is not torch.strided or tensor.dtype not in DTYPES:
        raise InputError(
            f"a checkpoint cannot hold {where}, a tensor of {tensor.layout} and {tensor.dtype}; a dense one of numbers "
            "would do, or --checkpoint never"
        )
    tensor = tensor.cpu().resolve_conj().resolve_neg().as_subclass(Tensor)
    # Of a view, torch.save would write all that lies behind it.
    return tensor if _is_dense(tensor) and tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()


def _is_dense(tensor: Tensor) -> bool:
    """Whether the entries fill a run of memory, each its own place, in whatever order."""
    expected = 1
    for stride, size in sorted((st, n) for st, n in zip(tensor.stride(), tensor.shape, strict=True) if n != 1):
        if stride != expected and tensor.numel():
            return False
        expected *= size
    return True


def digest(value: object, most: float = float("inf")) -> str:
    """Return the SHA-256 of a plain value in hexadecimal digits.

    Parameters
    ----------
    value : object
        As `plain` returns it.
    most : float
        Bytes to look at before giving up: one small list may refer to another a thousand times, and so on.

    Raises
    ------
    Damaged
        If there are more bytes, or something is not plain.
    """
    total = _Sum(most)
    total.add(value)
    return total.sha.hexdigest()


class _Sum:
    """A checksum under way."""

    def __init__(self, most: float) -> None:
        self.sha, self.left = hashlib.sha256(), most

    def add(self, value: object) -> None:
        kind = type(value)
        if kind is Tensor:
            self._tensor(value)
        elif kind is dict:
            self._take(b"d%d;" % len(value))
            for key, part in value.items():
                if type(key) not in (str, int):
                    raise Damaged(f"it holds a name of type {type(key).__name__}")
                self.add(key)
                self.add(part)
        elif kind is list:
            self._take(b"l%d;" % len(value))
            for part in value:
                self.add(part)
        else:
            self._take(_word(value))

    def _take(self, data: bytes | np.ndarray) -> None:
        self.left -= len(data) + 1
        if self.left < 0:
            raise Damaged("it says that it holds more than its size")
        self.sha.update(data)

    def _tensor(self, tensor: Tensor) -> None:
        if tensor.layout is not torch.strided or tensor.dtype not in DTYPES or tensor.device.type != "cpu":
            raise Damaged(f"it holds a tensor of {tensor.layout}, {tensor.dtype}, {tensor.device}")
        if not _is_dense(tensor) or tensor.is_conj() or tensor.is_neg():
            raise Damaged("it holds a tensor that is not dense")
        self._take(f"t{tensor.dtype}{tuple(tensor.shape)}{tensor.stride()};".encode())
        if tensor.numel():  # the bytes themselves: no copy
            self._take(tensor.as_strided((tensor.numel(),), (1,)).view(torch.uint8).numpy())


def _word(value: object) -> bytes:
    if value is None:
        return b"n"
    if type(value) is bool:
        return b"b1" if value else b"b0"
    if type(value) is int:
        return b"i%d;" % value
    if type(value) is float:
        return b"f" + struct.pack("<d", value)
    if type(value) is str:
        return b"s%d;" % len(value) + value.encode("utf-8", "surrogatepass")
    raise Damaged(f"it holds something of type {type(value).__name__}")

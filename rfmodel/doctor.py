"""Diagnosis: what this machine has for rfmodel, and what would keep a study from running well, as rows of one table.

Nothing found amiss ends the look: each row says for itself what is broken.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import NamedTuple

from rfmodel.doctor_compiler import compiles
from rfmodel.doctor_disk import disk
from rfmodel.doctor_machine import bf16, devices, memory, processor, threads
from rfmodel.errors import InputError, MissingData

OK, NOTE, MISSING, BROKEN = "ok", "note", "missing", "broken"
GIVES = {
    "torchvision": "faster decoding of JPEG folders, AutoAugment, reference weights",
    "timm": "reference networks",
    "distributed": "`rfmodel run --dask`: runs on a cluster",
}
FORM = re.compile(  # of a line of the package's metadata, as "torch>=2.6" or "timm; extra == 'vision'"
    r"""(?P<name>[\w.-]+)\s*(?:\[.*\])?\s*(?:>=\s*(?P<least>[\d.]+))?[^;]*(?:;\s*extra\s*==\s*['"](?P<extra>\w+))?"""
)
Look = Callable[[], tuple[str, str]]  # found, verdict


class Row(NamedTuple):
    """One finding: what was looked at, what was found, and "ok", "note", "missing" (optional) or "broken"."""

    what: str
    found: str
    verdict: str


def examine(data_folder: Path | None = None, out: Path | None = None) -> list[Row]:
    """Look at everything that a study needs or could use.

    Parameters
    ----------
    data_folder : Path, optional
        Where published data sets lie; the environment variable RFMODEL_DATA where None.
    out : Path, optional
        Where studies would be kept; "runs" where None.
    """
    looks: list[tuple[str, Look]] = [
        ("python", lambda: (f"{platform.python_version()} ({sys.executable})", OK)),
        ("platform", lambda: (platform.platform(), OK)),
        ("rfmodel", _rfmodel),
        *_packages(),
        ("processor", processor),
        ("threads", threads),
        ("memory", memory),
        ("devices", devices),
        ("bf16", bf16),
        ("torch.compile", compiles),
        ("output", lambda: disk(out or Path("runs"))),
        *_data(data_folder),
        ("ffmpeg", _ffmpeg),
    ]
    return [_row(what, look) for what, look in looks]


def _row(what: str, look: Look) -> Row:
    try:
        found, verdict = look()
    except Exception as error:  # a broken library raises what it likes, and the other rows are wanted all the same
        found, verdict = f"{type(error).__name__}: {error}", BROKEN
    return Row(what, " ".join(found.split())[:300], verdict)


def _rfmodel() -> tuple[str, str]:
    try:
        found = version("rfmodel")
    except PackageNotFoundError:
        return "not installed as a package; `pip install -e .` in the checkout would do", BROKEN
    from rfmodel.provenance import commit

    return f"{found}, commit {commit()}", OK


def _packages() -> Iterator[tuple[str, Look]]:
    """Yield a look at each dependency, and at those of the extras that users choose."""
    try:
        asked = [FORM.match(line) for line in requires("rfmodel") or ()]
    except PackageNotFoundError:
        return  # the row before says so
    for found in asked:
        if found and found["extra"] in (None, "vision", "cluster"):
            yield found["name"], lambda found=found: _package(found["name"], found["least"], found["extra"])


def _package(name: str, least: str | None, extra: str | None) -> tuple[str, str]:
    try:
        found = version(name)
    except PackageNotFoundError:
        if extra is None:
            return f"not installed; pip install {name} would do", BROKEN
        return f"not installed; pip install 'rfmodel[{extra}]' would give {GIVES.get(name, 'it')}", MISSING
    if least is not None and _numbers(found) < _numbers(least):
        return f"{found}, and {least} or later is needed", BROKEN
    return found, OK


def _numbers(text: str) -> list[int]:
    found = re.match(r"\d+(\.\d+)*", text)
    numbers = [int(part) for part in found[0].split(".")] if found else []
    return numbers + [0] * (4 - len(numbers))


def _data(folder: Path | None) -> Iterator[tuple[str, Look]]:
    chosen = folder if folder is not None else os.environ.get("RFMODEL_DATA") or None
    yield "data folder", lambda: _data_folder(chosen)
    for name in ("natural_patches", "cifar10", "cifar100", "image_folder"):
        yield f"data: {name}", lambda name=name: _data_set(name, chosen)


def _data_folder(chosen: str | Path | None) -> tuple[str, str]:
    if chosen is None:
        return "none; --data DIR or RFMODEL_DATA names one, and natural_patches need none", NOTE
    path = Path(chosen).expanduser()
    if not path.is_dir():
        return f"'{path}' is not a folder; --data with one that is there would do", BROKEN
    if not os.access(path, os.R_OK | os.X_OK):
        return f"'{path}' cannot be read by this user", BROKEN
    return str(path), OK


def _data_set(name: str, folder: str | Path | None) -> tuple[str, str]:
    from rfmodel import datasets

    if name in ("natural_patches", "image_folder"):
        if name == "image_folder" and (folder is None or not (Path(folder).expanduser() / "train").is_dir()):
            return "none: a folder with train/CLASS/*.jpg would do", MISSING
        state = datasets.state_of(name, folder)
        return state, OK if name == "natural_patches" or "classes in" in state else BROKEN
    try:
        files = datasets.verify(name, folder)
    except MissingData:
        return f"none: `rfmodel data download {name} --data DIR` fetches it", MISSING
    except InputError as error:
        return str(error), BROKEN
    gone = [file.file for file in files if file.bytes is None]
    other = [file.file for file in files if file.md5_ok is False]
    if gone or other:
        told = [f"{', '.join(gone)} not there"] * bool(gone) + [f"{', '.join(other)} not as published"] * bool(other)
        # A set that was repacked on purpose has other bytes, and trains all the same.
        return f"{'; '.join(told)}; a fresh copy would do", BROKEN if gone else NOTE
    known = sum(file.md5_ok is True for file in files)
    return f"{len(files)} files, {known} with the published MD5", OK if known == len(files) else NOTE


def _ffmpeg() -> tuple[str, str]:
    path = shutil.which("ffmpeg")
    return (path, OK) if path else ("not found; it would let `rfmodel animate` write MP4, and GIF needs none", MISSING)

"""The consolidated file of a study: what its run files say, stacked, so that a thousand runs open like one.

It is a cache. It bears the size, the time and the number of every run file that it was made of; those that changed are
read again, and where it is lost, damaged or of another schema, all are. Nothing is known from it alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rfmodel.errors import InputError
from rfmodel.store import results
from rfmodel.store.checksums import described, restored
from rfmodel.store.netcdf import unreadable
from rfmodel.store.stacking import Stack, Variable, appended, stacked
from rfmodel.store.writing import write_aside

MANY = 50  # runs to read that are worth a file
SCHEMA = [1, results.SCHEMA]  # of this file, and of what it was made of
Stamp = tuple[int, int, int]  # a file's size, time in ns and number


@dataclass
class Stacked:
    """The runs of a study, stacked.

    Parameters
    ----------
    stacks : list of Stack
    stamps : list of dict
        The run files of each stack in order, and the stamp of each.
    fresh : int
        How many files were read for it.
    changed : bool
        Whether the consolidated file says other than this.
    """

    stacks: list[Stack]
    stamps: list[dict[str, Stamp]]
    fresh: int
    changed: bool


def consolidated_path(folder: Path) -> Path:
    """Return where a study keeps what all of its run files say."""
    return folder / "consolidated.npz"


def consolidate(folder: str | os.PathLike[str], fewest: int = MANY) -> bool:
    """Write a study's consolidated file, if its runs are many and the one that is there is not of them.

    Parameters
    ----------
    folder : path
        A study's folder.
    fewest : int
        Runs that are many.

    Returns
    -------
    bool
        Whether it was written: a folder that cannot be written to has none, and is no worse.

    Raises
    ------
    InputError
        If there is no finished run, or a run's file cannot be read.
    """
    paths = results.run_files(folder)
    if len(paths) < fewest:
        return False
    found = read_stacks(Path(folder), paths)
    return found.changed and write_stacks(Path(folder), found)


def read_stacks(folder: Path, paths: Sequence[Path]) -> Stacked:
    """Return what run files say: from the consolidated file what has not changed since, the others from themselves.

    Parameters
    ----------
    folder : Path
        A study's folder.
    paths : sequence of Path
        Its run files.

    Raises
    ------
    InputError
        If a run file cannot be read.
    """
    stamps = {path.name: _stamp(path) for path in paths}  # before it is read, so that one replaced meanwhile is old
    kept = _read(consolidated_path(folder))
    stacks: dict[str, tuple[Stack, dict[str, Stamp]]] = {}
    for stack, own in kept:
        same = [row for row, (name, stamp) in enumerate(own.items()) if stamps.get(name) == stamp]
        if same:
            names = list(own)
            stacks[stack.key] = stack.rows(same), {names[row]: own[names[row]] for row in same}
    known = {name for _, own in stacks.values() for name in own}
    fresh = [path for path in paths if path.name not in known]
    for stack, places in stacked(map(results.contents, fresh)):
        own = {fresh[i].name: stamps[fresh[i].name] for i in places}
        if stack.key in stacks:
            first, before = stacks[stack.key]
            stack, own = appended(first, stack), before | own
        stacks[stack.key] = stack, own
    changed = bool(fresh) or len(known) != sum(len(own) for _, own in kept)
    return Stacked([s for s, _ in stacks.values()], [own for _, own in stacks.values()], len(fresh), changed)


def _stamp(path: Path) -> Stamp:
    try:
        told = path.stat()
    except OSError as error:
        raise unreadable(path, error) from None
    return told.st_size, told.st_mtime_ns, told.st_ino


def write_stacks(folder: Path, found: Stacked) -> bool:
    """Write a study's consolidated file; return whether it could be."""
    arrays: list[np.ndarray] = []

    def told(variables: dict[str, Variable]) -> list:
        rows = []
        for name, (dims, values, own) in variables.items():
            rows.append([name, dims, len(arrays), described(own)])
            arrays.append(values)
        return rows

    stacks = [
        {
            "key": stack.key,
            "coordinates": told(stack.coordinates),
            "variables": told(stack.variables),
            "attrs": [described(attrs) for attrs in stack.attrs],
            "stamps": own,
        }
        for stack, own in zip(found.stacks, found.stamps, strict=True)
    ]
    index = json.dumps({"schema": SCHEMA, "stacks": stacks}).encode()
    members = {f"a{i}": values for i, values in enumerate(arrays)} | {"index": np.frombuffer(index, np.uint8)}
    members["checksum"] = np.array(_checksum(members))
    try:
        write_aside(consolidated_path(folder), lambda aside: _save(aside, members))
    except InputError:
        return False
    return True


def _save(path: Path, members: dict[str, np.ndarray]) -> None:
    with open(path, "wb") as file:  # by its name, NumPy would give it another
        np.savez(file, **members)


def _checksum(members: dict[str, np.ndarray]) -> str:
    found = hashlib.sha256()
    for name, values in sorted(members.items()):
        found.update(f"{name} {values.dtype.str} {values.shape}\n".encode())
        found.update(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data if values.size else b"")
    return found.hexdigest()


def _read(path: Path) -> list[tuple[Stack, dict[str, Stamp]]]:
    """Return what a consolidated file holds; nothing where it is lost, damaged, or of another version."""
    try:
        with zipfile.ZipFile(path) as file:
            if any(member.compress_type != zipfile.ZIP_STORED for member in file.infolist()):
                return []
        with np.load(path, allow_pickle=False) as file:
            members = {name: file[name] for name in file.files}
        told = members.pop("checksum").item()
        index = json.loads(members["index"].tobytes())
        if index["schema"] != SCHEMA or told != _checksum(members):
            return []
        return [_stack(stack, members) for stack in index["stacks"]]
    except Exception:  # whatever it holds, the run files hold it too
        return []


def _stack(told: dict, members: dict[str, np.ndarray]) -> tuple[Stack, dict[str, Stamp]]:
    def variables(rows: list) -> dict[str, Variable]:
        return {name: (tuple(dims), members[f"a{i}"], restored(own)) for name, dims, i, own in rows}

    stamps = {name: tuple(stamp) for name, stamp in told["stamps"].items()}
    attrs, own = [restored(one) for one in told["attrs"]], variables(told["variables"])
    if {len(attrs), len(stamps)} != {len(values) for _, values, _ in own.values()}:
        raise ValueError("rows are missing")
    return Stack(told["key"], variables(told["coordinates"]), own, attrs), stamps

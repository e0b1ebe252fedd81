"""Failures: the errors of runs that failed, a small file each, until a run is tried again."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from rfmodel.errors import InputError
from rfmodel.store.paths import checked, failure_path
from rfmodel.store.wording import escaped, one_line
from rfmodel.store.writing import unwritable, write_aside

ENDING = ".failed.json"
TRACED = 20_000  # characters of a traceback that are kept, its end
LARGEST = 1_000_000  # bytes: more than any of ours has


@dataclass(frozen=True)
class Failure:
    """Why a run failed.

    Parameters
    ----------
    name, condition : str
    seed : int
    error : str
        One line, type and message.
    attempts : int
        How often the run has been tried.
    when : str
        ISO 8601.
    where : str
        The machine and process.
    traceback : str
        Of an error that the user did not make; its lines.
    """

    name: str
    condition: str
    seed: int
    error: str
    attempts: int
    when: str
    where: str
    traceback: str = ""


def record_failure(folder: Path, failure: Failure) -> None:
    """Keep a run's failure; one that had failed before has been tried once more, at least.

    Raises
    ------
    Unwritable
        If the file cannot be written.
    """
    path = failure_path(folder, checked(failure.name))
    try:
        before = read_failure(path).attempts
    except (InputError, OSError):  # damaged or not there: what is kept now is whole
        before = 0
    kept = replace(_shown(failure), attempts=max(failure.attempts, before + 1))
    text = json.dumps(asdict(kept), indent=1)
    write_aside(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def failures(folder: str | os.PathLike[str]) -> dict[str, Failure]:
    """Return the runs of a study that failed, by name.

    Raises
    ------
    InputError
        If a file is damaged.
    """
    try:
        with os.scandir(Path(folder) / "runs") as found:
            names = sorted(e.name for e in found if e.name.endswith(ENDING) and not e.name.startswith("."))
    except FileNotFoundError:
        return {}
    read = {}
    for name in names:
        with suppress(FileNotFoundError):  # tried again meanwhile
            read[name.removesuffix(ENDING)] = read_failure(Path(folder) / "runs" / name)
    return read


def forget_failure(folder: Path, name: str) -> None:
    """Remove a run's failure, that it may be tried again.

    Raises
    ------
    Unwritable
        If the file is there and cannot be removed.
    """
    path = failure_path(folder, checked(name))
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from None


def read_failure(path: Path) -> Failure:
    """Return the failure that a file keeps.

    Raises
    ------
    InputError
        If it is damaged.
    FileNotFoundError
        If it is not there.
    """
    try:
        with open(path, "rb") as file:
            row = json.loads(file.read(LARGEST).decode("utf-8"))
        row = {"traceback": ""} | row
        for field in fields(Failure):
            if type(row.get(field.name)) is not (int if field.type == "int" else str):
                raise ValueError(f"it has no {field.name}")
        failure = Failure(**{field.name: row[field.name] for field in fields(Failure)})
        if checked(failure.name) != path.name.removesuffix(ENDING):
            raise ValueError(f"it is of run {failure.name}")
    except FileNotFoundError:
        raise
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"the record of a failure '{one_line(path, 4096)}' is damaged ({one_line(error, 120)}); delete it, and the "
            "run is tried again"
        ) from None
    return _shown(failure)


def _shown(failure: Failure) -> Failure:
    """Return a failure whose texts can be shown: errors hold what a file or a user's code put into them."""
    lines = {key: one_line(getattr(failure, key), 500) for key in ("condition", "error", "when", "where")}
    return replace(failure, **lines, traceback=escaped(failure.traceback[-TRACED:], kept="\n"))

"""Plans and protocols: what a study was asked for, kept in its folder."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from rfmodel import bounded_toml
from rfmodel.errors import InputError
from rfmodel.rule_files import RuleFile
from rfmodel.store.kinds import THEORY, checked_theory, refuse_other
from rfmodel.store.paths import checked, rule_path
from rfmodel.store.writing import write_aside

Row = TypeVar("Row")


def prepare(folder: Path, protocol: str, rule_files: Iterable[RuleFile] = (), theory: str = "") -> None:
    """Make a study's folder, and see that it can be written to, before any training.

    Parameters
    ----------
    folder : Path
    protocol : str
        The protocol's text, kept as `protocol.toml`.
    rule_files : iterable of RuleFile
        Kept under `rules/`.
    theory : str
        The solvable model that the study is of; "" for trained networks.

    Raises
    ------
    InputError
        If the folder cannot be made or written, or holds a study of another kind.
    """
    refuse_other(folder, theory)
    try:
        (folder / (THEORY if theory else "runs")).mkdir(parents=True, exist_ok=True)
        if rule_files := list(rule_files):
            (folder / "rules").mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the study's folder '{folder}' cannot be made: {error.strerror}; give another --out"
        ) from None
    _keep(folder / "protocol.toml", protocol.encode("utf-8"))
    for code in rule_files:
        _keep(rule_path(folder, code.file, code.digest), code.content)


def _keep(path: Path, content: bytes) -> None:
    """Write a file unless it is there with this content."""
    try:
        if path.read_bytes() == content:
            return
    except OSError:
        pass  # not there, or not to be read: writing tells
    write_aside(path, lambda aside: aside.write_bytes(content))


def protocol_text(folder: str | os.PathLike[str]) -> str:
    """Return the text of the protocol that a study was run by; "" where it is not kept."""
    path = Path(folder) / "protocol.toml"
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def write_plan(folder: Path, plan: Sequence[Mapping[str, str | int]], place: str = "runs") -> None:
    """Keep what a study was asked for, a file a call, so that `rfmodel ls` can say what is left."""
    content = json.dumps(list(plan), indent=1).encode("utf-8")
    _keep(folder / place / f"plan-{hashlib.sha256(content).hexdigest()[:12]}.json", content)


def asked(folder: str | os.PathLike[str]) -> dict[str, tuple[str, int]]:
    """Return what a study was asked for: condition and seed of each run, by its name.

    Raises
    ------
    InputError
        If a plan is damaged.
    """
    return dict(_planned(folder, "runs", lambda row: (checked(row["name"]), (str(row["condition"]), int(row["seed"])))))


def asked_conditions(folder: str | os.PathLike[str]) -> dict[str, str]:
    """Return what a study of a solvable model was asked for: conditions by their names; errors as `asked`."""
    return dict(_planned(folder, THEORY, lambda row: (checked_theory(row["name"]), str(row["condition"]))))


def _planned(folder: str | os.PathLike[str], place: str, told: Callable[[Mapping], Row]) -> Iterator[Row]:
    for path in sorted((Path(folder) / place).glob("plan-*.json")):
        try:
            yield from [told(row) for row in json.loads(path.read_bytes().decode("utf-8"))]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            said = " ".join(str(error).split())[:120]
            raise InputError(f"plan '{path}' is damaged ({said}); delete it, it is made anew by the next run") from None


def left(folder: str | os.PathLike[str], finished_names: set[str]) -> list[str]:
    """Return what a study was asked for and has not finished, as "condition, seed 0"; errors as `asked`."""
    return [f"{what}, seed {seed}" for name, (what, seed) in asked(folder).items() if name not in finished_names]


def title(folder: str | os.PathLike[str]) -> str:
    """Return a study's title: its protocol's, or the folder's name."""
    try:
        return str(bounded_toml.parsed(protocol_text(folder)).get("title", Path(folder).name))
    except ValueError:
        return Path(folder).name

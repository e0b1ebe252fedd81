"""Plans and protocols: what a study was asked for, kept in its folder."""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rfmodel.errors import InputError
from rfmodel.rule_files import RuleFile
from rfmodel.store.paths import rule_path
from rfmodel.store.writing import write_aside


def prepare(folder: Path, protocol: str, rule_files: Iterable[RuleFile] = ()) -> None:
    """Make a study's folder, and see that it can be written to, before any training.

    Parameters
    ----------
    folder : Path
    protocol : str
        The protocol's text, kept as `protocol.toml`.
    rule_files : iterable of RuleFile
        Kept under `rules/`.

    Raises
    ------
    InputError
        If the folder cannot be made or written.
    """
    try:
        (folder / "runs").mkdir(parents=True, exist_ok=True)
        if rule_files := list(rule_files):
            (folder / "rules").mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the study's folder '{folder}' cannot be made: {error.strerror}; give another --out"
        ) from None
    write_aside(folder / "protocol.toml", lambda path: path.write_text(protocol, encoding="utf-8"))
    for code in rule_files:
        write_aside(rule_path(folder, code.file, code.digest), lambda path, code=code: path.write_bytes(code.content))


def protocol_text(folder: str | os.PathLike[str]) -> str:
    """Return the text of the protocol that a study was run by; "" where it is not kept."""
    path = Path(folder) / "protocol.toml"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def write_plan(folder: Path, plan: Sequence[Mapping[str, str | int]]) -> None:
    """Keep what a study was asked for, a file a call, so that `rfmodel ls` can say what is left."""
    text = json.dumps(list(plan), indent=1)
    name = f"plan-{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"
    write_aside(folder / "runs" / name, lambda aside: aside.write_text(text, encoding="utf-8"))


def left(folder: str | os.PathLike[str], finished_names: set[str]) -> list[str]:
    """Return what a study was asked for and has not finished, as "condition, seed".

    Raises
    ------
    InputError
        If a plan is damaged.
    """
    asked: dict[str, str] = {}
    for path in sorted((Path(folder) / "runs").glob("plan-*.json")):
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))
            asked |= {row["name"]: f"{row['condition']}, seed {row['seed']}" for row in rows}
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"plan '{path}' is damaged ({error}); delete it, it is made anew by the next run"
            ) from None
    return [label for name, label in asked.items() if name not in finished_names]


def title(folder: str | os.PathLike[str]) -> str:
    """Return a study's title: its protocol's, or the folder's name."""
    try:
        return str(tomllib.loads(protocol_text(folder)).get("title", Path(folder).name))
    except tomllib.TOMLDecodeError:
        return Path(folder).name

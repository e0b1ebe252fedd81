"""Protocols: the file that says what to run, and its expansion into runs. Knows no torch.

A protocol is a TOML file: tables of settings, axes that are crossed, and named conditions, each of which may change
any setting and have axes of its own (a rank exists only where a rule has one). A run's identity is the hash of its
resolved settings, so that running a protocol again does only what is missing. A protocol whose key `theory` names a
solvable model has that model's settings, and each of its conditions is one run (`rfmodel.schemas`).
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from rfmodel import bounded_toml, published
from rfmodel.errors import InputError, nearest
from rfmodel.expansion import TOP, each_once, expand, refuse_shared_labels
from rfmodel.rule_files import RuleFile, attach, files_of, read_beside
from rfmodel.runs import Run, select
from rfmodel.schemas import schema_of

__all__ = ["Protocol", "Run", "find", "folder", "load", "names", "select"]


@dataclass(frozen=True)
class Protocol:
    """A protocol file, read: what it is about, the runs that it asks for, and the solvable model that it is of."""

    name: str
    title: str
    description: str
    source: str
    text: str
    runs: tuple[Run, ...]
    presets: tuple[str, ...] = ()
    theory: str = ""

    def require_networks(self) -> None:
        """Refuse to train what is of a solvable model.

        Raises
        ------
        InputError
            Names the model.
        """
        if self.theory:
            raise InputError(
                f"{self.name}.toml is of the solvable model '{self.theory}', and trains no networks; "
                "rfmodel.theory_study would do"
            )

    @property
    def rule_files(self) -> list[RuleFile]:
        """The user's own files that the runs' rules are made by; a solvable model has none."""
        if self.theory:
            return []
        return list({file: code for run in self.runs for file, code in files_of(run.settings.rules).items()}.values())


def folder() -> Path:
    """Return the folder of the protocols that come with rfmodel."""
    inside = Path(__file__).parent / "protocol_files"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "protocols"


def find(name: str | os.PathLike[str]) -> Path:
    """Return the path of a protocol: a file, or the name of one that comes with rfmodel.

    Raises
    ------
    InputError
        If there is neither; the message lists the names.
    """
    path = Path(name)
    if path.suffix == ".toml" or len(path.parts) > 1:
        if not _is_file(path):
            raise InputError(f"protocol file '{path}' is not there; give a .toml file or one of {', '.join(names())}")
        return path
    if str(name) not in names():
        raise InputError(f"protocol '{name}' is unknown: known are {', '.join(names())}{nearest(str(name), names())}")
    return folder() / f"{name}.toml"


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long for the system
        return False


def names(theory: bool | None = None) -> list[str]:
    """Return the names of the protocols that come with rfmodel.

    Parameters
    ----------
    theory : bool, optional
        Only those of solvable models, or only those that train networks.
    """
    found = sorted(path.stem for path in folder().glob("*.toml"))
    return found if theory is None else [name for name in found if _is_theory(name) == theory]


def _is_theory(name: str) -> bool:
    return "theory" in bounded_toml.parsed((folder() / f"{name}.toml").read_text(encoding="utf-8"))


def load(
    name: str | os.PathLike[str],
    overrides: Sequence[str] = (),
    only: Sequence[str] = (),
    *,
    preset: str | None = None,
    allow_code: bool = False,
) -> Protocol:
    """Read a protocol and expand it into runs. Executes nothing.

    Parameters
    ----------
    name : str or path
        A name that comes with rfmodel or a .toml file.
    overrides : sequence of "key=value"
        Settings for every run ("train.epochs=2", "bottleneck=4", "seeds=1"), or axes ("axes.seed=[0, 1]").
    only : sequence of "axis=value"
        Keep the runs that stand there ("seed=0", "condition=BP*"); several values by commas.
    preset : str, optional
        Which of the file's presets ("paper", "fast"); its first by default.
    allow_code : bool
        Give leave to execute the files of the user's own that the protocol's rules name, when the runs are made.

    Raises
    ------
    InputError
        In one line: the file, the key, the value and what would do.
    """
    path = find(name)
    raw, content = _read(path)
    own = copy.deepcopy(raw)
    forced: dict[str, Any] = {}
    for text in overrides:
        key, value = assignment(text, "--set")
        if key.startswith("axes."):
            raw.setdefault("axes", {})[_unquoted(key.removeprefix("axes."))] = value
        else:
            forced[key] = value
    expanded = expand(path.name, raw, forced, only, preset)
    if not only:  # refused at the first that stands twice, before all are made
        expanded = each_once(path.name, expanded)
    theory = schema_of(path.name, raw).theory
    runs = select(list(expanded), only)
    runs = runs if theory else _with_files(path, runs, allow_code)
    _check_published(path.name, own, runs if not (overrides or only) else None, preset)
    runs = list(each_once(path.name, runs))  # once more: a file's name may be spelt in two ways
    refuse_shared_labels(path.name, runs)
    return Protocol(
        path.stem,
        str(raw.get("title", path.stem)),
        str(raw.get("description", "")),
        str(raw.get("source", "")),
        content,
        tuple(runs),
        tuple(raw.get("presets", {})),
        theory,
    )


def _check_published(file: str, raw: dict[str, Any], runs: Sequence[Run] | None, preset: str | None) -> None:
    """Refuse published values of conditions that the file has not, whatever is selected or overridden."""
    if schema_of(file, raw).theory and not isinstance(raw.get("published", ""), str):
        raise InputError(f"{file}: key 'published' must be a text: a solvable model has no accuracies to compare")
    runs = expand(file, raw, {}, [], preset) if runs is None else runs
    published.check(raw.get("published", ""), {run.condition for run in runs}, file)


def _with_files(path: Path, runs: Sequence[Run], allowed: bool) -> list[Run]:
    read = cache(lambda name: read_beside(path.parent, name, allowed))  # once: every run sees one content
    try:
        return [replace(run, settings=attach(run.settings, lambda rule: read(rule.name))) for run in runs]
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from None


def _read(path: Path) -> tuple[dict[str, Any], str]:
    """Return a file's tables and its text."""
    try:
        if (size := path.stat().st_size) > bounded_toml.LARGEST:
            raise InputError(f"{path.name} has {size} bytes; a protocol of at most {bounded_toml.LARGEST} would do")
        content = path.read_text(encoding="utf-8")
        raw = bounded_toml.parsed(content)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path.name} is not a TOML file: {error}") from None
    except OSError as error:
        raise InputError(f"protocol file '{path}' cannot be read: {error.strerror}") from None
    known = list(dict.fromkeys([*TOP, "theory", *schema_of(path.name, raw).settings.model_fields]))
    for key in raw:
        if key not in known:
            raise InputError(f"{path.name}: key '{key}' is unknown: known are {', '.join(known)}{nearest(key, known)}")
    conditions = raw.get("conditions", [{}])
    if not isinstance(conditions, list) or not conditions or not all(isinstance(c, dict) for c in conditions):
        raise InputError(f"{path.name}: conditions must be tables, each begun by [[conditions]]")
    told = [(key, raw[key]) for key in ("title", "description", "source") if key in raw]
    told += [("conditions.name", condition["name"]) for condition in conditions if "name" in condition]
    for key, value in told:
        if not isinstance(value, str):
            raise InputError(f"{path.name}: key '{key}' = {value!r} must be a text, in quotes")
    return raw, content


def _unquoted(key: str) -> str:
    """Return an axis as a file's table of axes names it, where quotes are around the whole of it alone."""
    inner = key[1:-1]
    return inner if len(key) > 2 and key[0] == key[-1] and key[0] in "\"'" and key[0] not in inner else key


def assignment(text: str, option: str) -> tuple[str, Any]:
    """Return the key and the TOML value of "key=value", a word where it is none.

    Raises
    ------
    InputError
        If there is no key or no sign.
    """
    key, sign, value = text.partition("=")
    if not sign or not key.strip():
        raise InputError(f"{option} '{text}' is not of the form key=value, as in {option} train.epochs=2")
    try:
        return key.strip(), bounded_toml.parsed(f"x = {value}")["x"]
    except ValueError:
        return key.strip(), value.strip()

"""Protocols: the file that says what to run, its schema, and its expansion into runs. Knows no torch.

A protocol is a TOML file: tables of settings, axes that are crossed, and named conditions, each of which may change
any setting and have axes of its own (a rank exists only where a rule has one). A run's identity is the hash of its
resolved settings, so that running a protocol again does only what is missing.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rfmodel.errors import InputError, nearest
from rfmodel.settings import Settings

SHORT = {"bottleneck": "network", "depth": "network", "width": "network", "kernel": "network"}
TOP = ("title", "description", "source", "published", "axes", "conditions")


@dataclass(frozen=True)
class Run:
    """One training: its settings, the condition that it belongs to, and where it stands on the axes."""

    condition: str
    settings: Settings
    axes: Mapping[str, Any]

    @property
    def identity(self) -> str:
        """Hash of the resolved settings, 12 hexadecimal digits."""
        text = json.dumps(self.settings.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def name(self) -> str:
        """A readable file name: condition, seed and identity."""
        slug = re.sub(r"[^a-z0-9]+", "-", self.condition.lower()).strip("-")
        return f"{slug[:60]}_seed{self.settings.seed}_{self.identity}"

    @property
    def coordinates(self) -> dict[str, Any]:
        """Where the run stands in a study: condition, rule, rank, bottleneck, depth, seed."""
        rules = self.settings.rules
        ranks = {rule.options["rank"] for rule in rules.values() if "rank" in rule.options}
        return {
            "condition": self.condition,
            "rule": "+".join(dict.fromkeys(rule.name for rule in rules.values())) or "bp",
            "rank": float(next(iter(ranks))) if len(ranks) == 1 else float("nan"),
            "bottleneck": self.settings.network.bottleneck,
            "depth": self.settings.network.depth,
            "seed": self.settings.seed,
        }


@dataclass(frozen=True)
class Protocol:
    """A protocol file, read: what it is about and the runs that it asks for."""

    name: str
    title: str
    description: str
    source: str
    text: str
    runs: tuple[Run, ...]


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
        if not path.is_file():
            raise InputError(f"protocol file '{path}' is not there; give a .toml file or one of {', '.join(names())}")
        return path
    if str(name) not in names():
        raise InputError(f"protocol '{name}' is unknown: known are {', '.join(names())}{nearest(str(name), names())}")
    return folder() / f"{name}.toml"


def names() -> list[str]:
    """Return the names of the protocols that come with rfmodel."""
    return sorted(path.stem for path in folder().glob("*.toml"))


def load(name: str | os.PathLike[str], overrides: Sequence[str] = (), only: Sequence[str] = ()) -> Protocol:
    """Read a protocol and expand it into runs.

    Parameters
    ----------
    name : str or path
        A name that comes with rfmodel or a .toml file.
    overrides : sequence of "key=value"
        Settings for every run ("train.epochs=2", "bottleneck=4"), or axes ("axes.seed=[0, 1]").
    only : sequence of "axis=value"
        Keep the runs that stand there ("seed=0", "condition=BP*"); several values by commas.

    Raises
    ------
    InputError
        In one line: the file, the key, the value and what would do.
    """
    path = find(name)
    raw = _read(path)
    forced: dict[str, Any] = {}
    for text in overrides:
        key, value = _assignment(text, "--set")
        if key.startswith("axes."):
            raw.setdefault("axes", {})[key.removeprefix("axes.")] = value
        else:
            forced[key] = value
    runs = select(list(_expand(path.name, raw, forced)), only)
    _refuse_twins(path.name, runs)
    return Protocol(
        path.stem,
        str(raw.get("title", path.stem)),
        str(raw.get("description", "")),
        str(raw.get("source", "")),
        path.read_text(),
        tuple(runs),
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name} is not a TOML file: {error}") from None
    known = [*TOP, *Settings.model_fields]
    for key in raw:
        if key not in known:
            raise InputError(f"{path.name}: key '{key}' is unknown: known are {', '.join(known)}{nearest(key, known)}")
    conditions = raw.get("conditions", [{}])
    if not isinstance(conditions, list) or not conditions or not all(isinstance(c, dict) for c in conditions):
        raise InputError(f"{path.name}: conditions must be tables, each begun by [[conditions]]")
    return raw


def _assignment(text: str, option: str) -> tuple[str, Any]:
    key, sign, value = text.partition("=")
    if not sign or not key.strip():
        raise InputError(f"{option} '{text}' is not of the form key=value, as in {option} train.epochs=2")
    try:
        return key.strip(), tomllib.loads(f"x = {value}")["x"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


def _expand(file: str, raw: dict[str, Any], forced: Mapping[str, Any]) -> Iterator[Run]:
    base = {key: value for key, value in raw.items() if key not in TOP}
    for condition in raw.get("conditions", [{}]):
        own = {key: value for key, value in condition.items() if key not in ("name", "axes")}
        for key in own:
            if key not in Settings.model_fields:
                known = ["name", "axes", *Settings.model_fields]
                raise InputError(
                    f"{file}: key 'conditions.{key}' is unknown: known are {', '.join(known)}{nearest(key, known)}"
                )
        merged = _merge(base, own)
        axes = {
            **_axes(file, "axes", raw.get("axes", {})),
            **_axes(file, "conditions.axes", condition.get("axes", {})),
        }
        for values in itertools.product(*axes.values()):
            point = dict(zip(axes, values, strict=True))
            tree = copy.deepcopy(merged)
            for key, value in {**point, **forced}.items():
                _put(file, tree, key, value)
            settings = _settings(file, tree)
            label = _label(file, str(condition.get("name", "")), {**point, **forced}, axes)
            yield Run(label, settings, point)


def _axes(file: str, where: str, axes: Any) -> dict[str, list[Any]]:
    if not isinstance(axes, dict):
        raise InputError(f"{file}: {where} must be a table of lists, as in seed = [0, 1, 2]")
    for key, values in axes.items():
        if not isinstance(values, list) or not values:
            raise InputError(f"{file}: axis '{where}.{key}' is {values!r}; it needs a list with at least one value")
    return axes


def _merge(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    merged = copy.deepcopy(dict(base))
    for key, value in own.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict) and key != "rules"
        merged[key] = _merge(merged[key], value) if both else copy.deepcopy(value)
    return merged


def _put(file: str, tree: dict[str, Any], key: str, value: Any) -> None:
    if key == "rank":
        ranked = [rule for rule in _rules(tree).values() if isinstance(rule, dict) and rule.get("name") != "bp"]
        for rule in ranked:
            rule["rank"] = value
        if not ranked:
            raise InputError(
                f"{file}: axis 'rank' needs a rule written as a table, as in rules.retina = {{name = \"ldfa\"}}"
            )
        return
    path = f"{SHORT[key]}.{key}" if key in SHORT else key
    path = "rules" if path == "rule" else path
    *tables, leaf = path.split(".")
    for table in tables:
        tree = tree.setdefault(table, {})
        if not isinstance(tree, dict):
            raise InputError(f"{file}: '{key}' cannot be set: '{table}' is not a table")
    tree[leaf] = copy.deepcopy(value)


def _rules(tree: Mapping[str, Any]) -> dict[str, Any]:
    rules = tree.get("rules", {})
    return rules if isinstance(rules, dict) else {}


def _settings(file: str, tree: dict[str, Any]) -> Settings:
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{file}: {_explain(key, first, tree)}") from None


def _explain(key: str, error: Mapping[str, Any], tree: Mapping[str, Any]) -> str:
    if error["type"] != "extra_forbidden":
        found = "" if isinstance(error["input"], dict) else f" = {error['input']!r}"
        reason = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
        return f"key '{key}'{found}: {reason}"
    model: Any = Settings
    for part in error["loc"][:-1]:
        model = model.model_fields[part].annotation if part in model.model_fields else model
        model = model if hasattr(model, "model_fields") else Settings
    known = list(model.model_fields)
    return f"key '{key}' is unknown: known there are {', '.join(known)}{nearest(str(error['loc'][-1]), known)}"


def _label(file: str, name: str, values: Mapping[str, Any], axes: Mapping[str, Any]) -> str:
    if not name:
        shown = [key for key in axes if key != "seed"]
        return ", ".join(f"{key.rpartition('.')[2]} {_short(values[key])}" for key in shown) or "all"
    try:
        return name.format(**{key.rpartition(".")[2]: value for key, value in values.items()})
    except (KeyError, IndexError, ValueError) as error:
        raise InputError(f"{file}: condition name '{name}' asks for {error}, which is no axis of it") from None


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _refuse_twins(file: str, runs: Sequence[Run]) -> None:
    seen: dict[str, Run] = {}
    for run in runs:
        twin = seen.setdefault(run.identity, run)
        if twin is not run:
            raise InputError(
                f"{file}: '{twin.condition}' and '{run.condition}' (seed {run.settings.seed}) are the same "
                "run; drop one of the two"
            )


def select(runs: Sequence[Run], only: Sequence[str]) -> list[Run]:
    """Return the runs that stand where every "axis=value" of `only` says.

    Raises
    ------
    InputError
        If an axis is unknown or nothing fits.
    """
    kept = list(runs)
    for text in only:
        key, _ = _assignment(text, "--only")
        wanted = [part.strip() for part in text.partition("=")[2].split(",")]
        present = {_stand(run, key) for run in runs}
        if present == {None}:
            known = sorted({k for run in runs for k in (*run.coordinates, *run.axes)})
            raise InputError(f"--only '{text}': '{key}' is no axis; known are {', '.join(known)}{nearest(key, known)}")
        if key == "condition":  # labels hold commas
            wanted = [text.partition("=")[2].strip()]
        patterns = [re.compile(re.escape(w).replace(r"\*", ".*")) for w in wanted]
        fits = [run for run in runs if any(p.fullmatch(str(_stand(run, key))) for p in patterns)]
        if not fits:
            there = ", ".join(sorted({str(s) for s in present if s is not None}))
            raise InputError(f"--only '{text}' fits no run: '{key}' takes {there}")
        kept = [run for run in kept if run in fits]
    if not kept:
        raise InputError(f"--only {' '.join(only)} fits no run together; each fits some alone")
    return kept


def _stand(run: Run, key: str) -> str | None:
    value = run.axes.get(key, run.coordinates.get(key))
    if value is None or value != value:
        return None
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)

"""Expansion: from a protocol's tables, axes and conditions to the settings of every run. Knows no torch."""

from __future__ import annotations

import copy
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from rfmodel import bounded_toml
from rfmodel.condition_labels import label as labelled
from rfmodel.errors import InputError, nearest
from rfmodel.network_settings import NAMES
from rfmodel.rule_files import called
from rfmodel.runs import Run, pattern_of
from rfmodel.schemas import Schema, schema_of
from rfmodel.settings import Settings
from rfmodel.theory.settings import TheorySettings

MOST = 100_000  # runs of a protocol
WRITTEN = 2**28  # characters of all its runs' settings, written out
LONGEST = 50_000  # of one run's, which its file holds as an attribute
TOP = ("title", "description", "source", "published", "presets", "axes", "conditions")


def expand(
    file: str, raw: dict[str, Any], forced: Mapping[str, Any], only: Sequence[str], preset: str | None = None
) -> Iterator[Run]:
    """Yield every run of a protocol's tables.

    Parameters
    ----------
    file : str
        Named in errors.
    raw : dict
        The file's tables.
    forced : mapping of key to value
        Overrides for every run.
    only : sequence of "axis=value"
        A selection by condition spares the others' expansion, which an override may make impossible.
    preset : str, optional
        Which of the file's presets, tables of settings laid under every condition; its first by default.

    Raises
    ------
    InputError
        In one line: the file, the key, the value and what would do.
    """
    schema = schema_of(file, raw)
    base = _merge({key: value for key, value in raw.items() if key not in TOP}, _preset(file, raw, preset, schema))
    wanted = [text.partition("=")[2].strip() for text in only if text.partition("=")[0].strip() == "condition"]
    conditions = raw.get("conditions", [{}])
    _refuse_too_many(file, raw, conditions, base)
    trees = [_merge(base, _own(file, condition, schema)) for condition in conditions]
    _refuse_idle_rank(file, raw, forced, conditions, trees, schema)
    labels: dict[str, int] = {}  # each label has its place, whatever is selected
    for condition, merged in zip(conditions, trees, strict=True):
        ranked = bool(schema.ranked(merged))
        axes = {**_axes(file, "axes", raw.get("axes", {})), **_axes(file, "conditions.axes", condition.get("axes", {}))}
        # A rank stands only where a rule has one: elsewhere the axis does not exist.
        axes = {key: values for key, values in axes.items() if key != "rank" or ranked}
        for values in itertools.product(*axes.values()):
            point = {key: forced.get(key, value) for key, value in zip(axes, values, strict=True)}
            told = {key: called(value) if isinstance(value, str) else value for key, value in (point | forced).items()}
            label = labelled(file, str(condition.get("name", "")), told, axes)
            position = labels.setdefault(label, len(labels))
            if not all(pattern_of(text).fullmatch(label) for text in wanted):
                continue
            tree = copy.deepcopy(merged)
            for key, value in (point | forced).items():
                _put(file, tree, key, value, schema)
            stand = {key: told[key] for key in point}
            yield Run(label, _settings(file, tree, axes, schema), stand, position, _preset_name(raw, preset))


def _refuse_too_many(
    file: str, raw: Mapping[str, Any], conditions: Sequence[Mapping[str, Any]], base: Mapping[str, Any]
) -> None:
    """Refuse, before anything is expanded, more runs than memory is for."""
    common = _axes(file, "axes", raw.get("axes", {}))
    total = written = 0
    for condition in conditions:
        axes = {**common, **_axes(file, "conditions.axes", condition.get("axes", {}))}
        runs = math.prod(len(values) for values in axes.values())
        total += runs
        written += runs * sum(len(json.dumps(tree, default=str)) for tree in (base, condition))
    if total > MOST:
        raise InputError(f"{file}: its axes multiply to {total} runs; use fewer values, at most {MOST} runs")
    if written > WRITTEN:
        raise InputError(
            f"{file}: the settings of its {total} runs take {written} characters; use shorter or fewer, at most "
            f"{WRITTEN}"
        )


def _refuse_idle_rank(
    file: str,
    raw: Mapping[str, Any],
    forced: Mapping[str, Any],
    conditions: Sequence[Mapping],
    trees: Sequence[Mapping],
    schema: Schema,
) -> None:
    ranked = [bool(schema.ranked(tree)) for tree in trees]
    own = any(
        "rank" in _axes(file, "conditions.axes", c.get("axes", {})) and not r
        for c, r in zip(conditions, ranked, strict=True)
    )
    common = "rank" in forced or "rank" in _axes(file, "axes", raw.get("axes", {}))
    if own or (common and not any(ranked)):
        raise InputError(f"{file}: axis 'rank' needs {schema.example}")


def _preset(file: str, raw: Mapping[str, Any], chosen: str | None, schema: Schema) -> dict[str, Any]:
    presets = raw.get("presets", {})
    if not isinstance(presets, dict) or not all(isinstance(tables, dict) for tables in presets.values()):
        raise InputError(f"{file}: presets must be tables of settings, as in [presets.fast.train]")
    if chosen is not None and chosen not in presets:
        there = f"known are {', '.join(presets)}{nearest(chosen, presets)}" if presets else "the file has none"
        raise InputError(f"{file}: preset '{chosen}' is unknown: {there}")
    name = _preset_name(raw, chosen)
    known = schema.settings.model_fields
    for key in presets.get(name, {}):
        if key not in known:
            told = f"known are {', '.join(known)}{nearest(key, known)}"
            raise InputError(f"{file}: key 'presets.{name}.{key}' is unknown: {told}")
    return presets.get(name, {})


def _preset_name(raw: Mapping[str, Any], chosen: str | None) -> str:
    return chosen or next(iter(raw.get("presets", {})), "")


def _own(file: str, condition: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    known = ["name", "axes", *schema.settings.model_fields]
    for key in condition:
        if key not in known:
            raise InputError(
                f"{file}: key 'conditions.{key}' is unknown: known are {', '.join(known)}{nearest(key, known)}"
            )
    return {key: value for key, value in condition.items() if key not in ("name", "axes")}


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


def _put(file: str, tree: dict[str, Any], key: str, value: Any, schema: Schema) -> None:
    if key == "rank":
        for rule in schema.ranked(tree):
            rule["rank"] = value
        return
    *tables, leaf = schema.short.get(key) or _path(file, key)
    for table in tables:
        tree = tree.setdefault(table, {})
        if not isinstance(tree, dict):
            raise InputError(f"{file}: '{key}' cannot be set: '{table}' is not a table")
    tree[leaf] = copy.deepcopy(value)


def _path(file: str, key: str) -> list[str]:
    """Return the parts of a dotted TOML key; quoted parts, as in rules."vvs.*", may hold dots."""
    try:
        tree, parts = bounded_toml.parsed(f"{key} = 0"), []
        while isinstance(tree, dict):
            ((part, tree),) = tree.items()  # one, or the key holds more than a key
            parts.append(part)
    except ValueError:
        raise InputError(f"{file}: '{key}' is no key; write dotted keys, with quotes where a part holds dots") from None
    return parts


def _settings(file: str, tree: dict[str, Any], axes: Mapping[str, Any], schema: Schema) -> Settings | TheorySettings:
    try:
        # As JSON, in which types are strict and an array may still be a tuple.
        text = json.dumps(schema.completed(tree))
        if len(text) > LONGEST:
            raise InputError(f"{file}: the settings of a run take {len(text)} characters; {LONGEST} at most would do")
        return schema.settings.model_validate_json(text, strict=True)
    except TypeError as error:
        raise InputError(f"{file}: {error}; use numbers, strings, booleans, lists and tables") from None
    except ValidationError as error:
        first = error.errors()[0]
        first = {**first, "loc": _place(first["loc"])}
        key = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{file}: {_explain(f'axes.{key}' if key in axes else key, first, tree, schema)}") from None


def _place(loc: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Return the path of a key without what pydantic adds to it: the network's kind, and the branches of a union."""
    loc = ("network", *loc[2:]) if loc[:1] == ("network",) else loc
    return tuple(p for p in loc if p not in ("float", "int") and not str(p).startswith(("constrained-", "tuple[")))


def _explain(key: str, error: Mapping[str, Any], tree: Mapping[str, Any], schema: Schema) -> str:
    if error["type"] == "union_tag_invalid":
        found = error["ctx"]["tag"]
        return f"key 'network.name' = '{found}' is unknown: known are {', '.join(NAMES)}{nearest(found, NAMES)}"
    if error["type"] == "union_tag_not_found":
        return f"key 'network' = {error['input']!r}: should be a table with a name, as in {{name = \"vit\"}}"
    if error["type"] != "extra_forbidden":
        found = "" if isinstance(error["input"], dict) else f" = {error['input']!r}"
        reason = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
        return f"key '{key}'{found}: {reason}" if key else reason
    model: Any = schema.settings
    for part in error["loc"][:-1]:
        model = model.model_fields[part].annotation if part in model.model_fields else model
        model = schema.table(part, tree) or model
        model = model if hasattr(model, "model_fields") else schema.settings
    known = list(model.model_fields)
    return f"key '{key}' is unknown: known there are {', '.join(known)}{nearest(str(error['loc'][-1]), known)}"


def each_once(file: str, runs: Iterable[Run]) -> Iterator[Run]:
    """Yield the runs, and refuse two of equal settings.

    Raises
    ------
    InputError
        Of the second; the message names both.
    """
    seen: dict[str, Run] = {}
    for run in runs:
        twin = seen.setdefault(run.identity, run)
        if twin is not run:
            marked = "".join(f" ({mark})" for mark in run.settings.marks)
            raise InputError(
                f"{file}: '{twin.condition}' and '{run.condition}'{marked} are the same run; drop one of the two"
            )
        yield run


def refuse_shared_labels(file: str, runs: Sequence[Run]) -> None:
    """Refuse two different conditions of one name."""
    seen: dict[str, Run] = {}
    for run in runs:
        other = seen.setdefault(run.condition, run)
        if other.settings.unseeded() != run.settings.unseeded():
            raise InputError(
                f"{file}: two different conditions are called '{run.condition}'; give each [[conditions]] its own name"
            )

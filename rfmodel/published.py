"""Published values: what a paper reports for a protocol's conditions, and what it ran them with. Knows no torch.

A protocol's key `published` is a text, or a table in which each value names the condition that it belongs to, what
kind of score it is and the settings that it was got with, so that a comparison can say what is not like for like.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from rfmodel import bounded_toml
from rfmodel.errors import InputError, nearest
from rfmodel.settings import Settings

__all__ = ["Published", "Value", "check", "published_of"]

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
SHARED = ("score", "evidence", "runs")


@dataclass(frozen=True, config=STRICT)
class Value:
    """One published accuracy; what it leaves open is as in the table that holds it.

    Parameters
    ----------
    condition : str
        The label of a condition of the protocol.
    accuracy : float
        A fraction, on the test set.
    std : float, optional
        Over their runs.
    score : str
        What the number is, as in "best test epoch"; ours is "last epoch". "" where it is not stated.
    evidence : str
        Where it was read, as in "digitised, ±.001".
    runs : int, optional
        Theirs.
    settings : mapping of dotted key to value
        What they ran with.
    note : str
    """

    condition: str
    accuracy: Annotated[float, Field(ge=0, le=1)]
    std: Annotated[float, Field(ge=0, le=1)] | None = None
    score: str = ""
    evidence: str = ""
    runs: Annotated[int, Field(ge=1)] | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, config=STRICT)
class Published:
    """What is published on a protocol's conditions: a free text, its source, and values."""

    note: str = ""
    source: str = ""
    score: str = ""
    evidence: str = ""
    runs: Annotated[int, Field(ge=1)] | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    values: tuple[Value, ...] = ()


def published_of(protocol: str) -> Published:
    """Return what is published on a protocol's conditions; nothing where it says nothing.

    Parameters
    ----------
    protocol : str
        The text of a protocol file, as `rfmodel.store.protocol_text` returns it.

    Raises
    ------
    InputError
        If the text is no TOML, or its `published` is not as `check` asks.
    """
    try:
        raw = bounded_toml.parsed(protocol)
    except ValueError as error:
        raise InputError(
            f"the protocol's text is no TOML: {error}; put back the file that the study ran by, or move it away"
        ) from None
    return _read(raw.get("published", ""), "protocol.toml")


def check(published: Any, labels: Collection[str], file: str) -> Published:
    """Return a protocol's published values, all of which belong to one of its conditions.

    Parameters
    ----------
    published : str or dict
        The protocol's key of that name: a text, or a table.
    labels : collection of str
        Of the protocol's conditions.
    file : str
        The protocol file's name, for messages.

    Raises
    ------
    InputError
        If a key is unknown, a value impossible, or a condition unknown or given twice. One line: file, key, value.
    """
    read = _read(published, file)
    for number, value in enumerate(read.values):
        if value.condition not in labels:
            raise InputError(
                f"{file}: key 'published.values.{number}.condition' = {value.condition!r} is no condition: known are "
                f"{', '.join(sorted(labels))}{nearest(value.condition, labels)}"
            )
    return read


def _read(published: Any, file: str) -> Published:
    if isinstance(published, str):
        return Published(note=published)
    if not isinstance(published, Mapping):
        raise InputError(f"{file}: key 'published' = {published!r} must be a text or a table with [[published.values]]")
    # As JSON text, in which types are strict and an array may still be a tuple.
    try:
        read = TypeAdapter(Published).validate_json(json.dumps(published))
    except TypeError as error:
        raise InputError(
            f"{file}: key 'published': {error}; use numbers, strings, booleans, lists and tables"
        ) from None
    except ValidationError as error:
        raise InputError(f"{file}: {_explained(error.errors()[0])}") from None
    for condition, count in Counter(value.condition for value in read.values).items():
        if count > 1:
            raise InputError(f"{file}: key 'published.values' has {count} values of '{condition}'; keep one")
    table = _settings(read.settings, f"{file}: key 'published.settings")
    values = tuple(_completed(read, table, value, number, file) for number, value in enumerate(read.values))
    return Published(read.note, read.source, read.score, read.evidence, read.runs, table, values)


def _completed(of: Published, table: dict[str, Any], value: Value, number: int, file: str) -> Value:
    own = _settings(value.settings, f"{file}: key 'published.values.{number}.settings")
    shared = {name: getattr(value, name) or getattr(of, name) for name in SHARED}
    return Value(value.condition, value.accuracy, value.std, **shared, settings=table | own, note=value.note)


def _explained(error: Mapping[str, Any]) -> str:
    *above, leaf = ("published", *error["loc"])
    key = ".".join(map(str, (*above, leaf)))
    if error["type"] == "missing":
        return f"key '{key}' is missing; each value needs a condition and an accuracy"
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        known = list((Value if "values" in above else Published).__dataclass_fields__)
        return f"key '{key}' is unknown: known there are {', '.join(known)}{nearest(str(leaf), known)}"
    would = "; write a fraction, as in 0.618" if leaf in ("accuracy", "std") else ""
    return f"key '{key}' = {error['input']!r}: {error['msg'].removeprefix('Input ')}{would}"


def _settings(tree: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return settings by dotted key, nested tables flattened, after a look at whether there are such settings."""
    flat = dict(_flat(tree))
    for key in flat:
        _refuse_unknown(key, where)
    return flat


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _refuse_unknown(key: str, where: str) -> None:
    tables = [Settings]
    for part in key.split("."):
        known = {name: field.annotation for table in tables for name, field in table.model_fields.items()}
        if part not in known:
            raise InputError(f"{where}.{key}' is no setting: known there are {', '.join(known)}{nearest(part, known)}")
        tables = [inner for table in tables if part in table.model_fields for inner in _tables(known[part])]
        if not tables:  # a value, or a mapping of free keys, as options and rules are
            return


def _tables(annotation: Any) -> list[type[BaseModel]]:
    """Return the tables that a setting may be: none for a value, several for the networks."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) is dict:
        return []
    return [table for inner in get_args(annotation) for table in _tables(inner)]

"""Stacking: runs of one form as arrays with a row a run, which join as fast as one run does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from rfmodel.store.checksums import described, packed, token
from rfmodel.store.netcdf import Content

Variable = tuple[tuple[str, ...], np.ndarray, dict]
# The layer and channel of a unit are in its label; as coordinates they would clash where units are absent.
IN_LABELS = ("layer", "channel")
PLACES = ("condition", "rule", "rank", "network", "bottleneck", "depth", "width", "classes")
KEPT = (
    "settings", "versions", "hardware", "commit", "data_fingerprint", "data_source", "seconds", "epochs_done", "preset",
)  # fmt: skip


@dataclass
class Stack:
    """Runs with equal coordinates, and variables of equal names, forms and attributes.

    Parameters
    ----------
    key : str
        What is equal in them, summed up.
    coordinates : dict
        (dimensions, values, attributes) by name.
    variables : dict
        (dimensions, values with a first axis more, a row a run, attributes) by name.
    attrs : list of dict
        The attributes of each run.
    """

    key: str
    coordinates: dict[str, Variable]
    variables: dict[str, Variable]
    attrs: list[dict]

    def rows(self, chosen: Sequence[int]) -> Stack:
        """Return some of the runs, in that order."""
        if list(chosen) == list(range(len(self.attrs))):
            return self
        variables = {n: (dims, _narrowed(v[list(chosen)]), own) for n, (dims, v, own) in self.variables.items()}
        return Stack(self.key, self.coordinates, variables, [self.attrs[i] for i in chosen])

    def dataset(self) -> xr.Dataset:
        """Return the runs along `run`: coordinates that place them, and what a reviewer asks of them as variables."""
        kept = [key for key in self.attrs[0] if key in KEPT or key.startswith("classifier_")]
        variables = {n: (("run", *dims), values, own) for n, (dims, values, own) in self.variables.items()}
        found = xr.Dataset(variables, self.coordinates)
        places = (*PLACES, "seed", "state", "name")
        column = {key: ("run", [attrs[key] for attrs in self.attrs]) for key in (*kept, *places)}
        return found.assign({key: column[key] for key in kept}).assign_coords({key: column[key] for key in places})


def _narrowed(values: np.ndarray) -> np.ndarray:
    """Return words no wider than the longest of them, as they are when these rows alone are stacked."""
    return np.asarray(values.tolist(), str).reshape(values.shape) if values.dtype.kind == "U" else values


def stacked(contents: Iterable[Content]) -> list[tuple[Stack, list[int]]]:
    """Return runs as stacks, in order of appearance, each with the places of its runs among `contents`.

    Parameters
    ----------
    contents : iterable of Content
        One for each run.
    """
    groups: dict[str, list[tuple[int, Content]]] = {}
    for place, content in enumerate(contents):
        groups.setdefault(_key(content), []).append((place, content))
    return [(_stack(key, [c for _, c in held]), [place for place, _ in held]) for key, held in groups.items()]


def _parts(content: Content) -> tuple[dict[str, Variable], dict[str, Variable]]:
    own = {name: held for name, held in content.variables.items() if name not in IN_LABELS}
    coordinates = {name: held for name, held in own.items() if name in content.coordinates}
    return coordinates, {name: held for name, held in own.items() if name not in coordinates}


def _key(content: Content) -> str:
    coordinates, variables = _parts(content)
    found = hashlib.sha256()
    for name, (dims, values, own) in (*coordinates.items(), *variables.items()):
        told = [name, dims, name in coordinates, token(values), values.shape, [*described(own).items()]]
        found.update(json.dumps(told).encode())
        if name in coordinates:
            found.update(packed(values))
    kinds = {key: np.asarray(held).dtype.kind for key, held in content.attrs.items()}
    found.update(json.dumps(list(kinds.items())).encode())
    return found.hexdigest()


def _stack(key: str, contents: Sequence[Content]) -> Stack:
    coordinates, first = _parts(contents[0])
    variables = {
        name: (dims, np.stack([content.variables[name][1] for content in contents]), own)
        for name, (dims, _, own) in first.items()
    }
    return Stack(key, coordinates, variables, [content.attrs for content in contents])


def appended(first: Stack, second: Stack) -> Stack:
    """Return two stacks of one key as one."""
    variables = {
        name: (dims, np.concatenate([values, second.variables[name][1]]), own)
        for name, (dims, values, own) in first.variables.items()
    }
    return Stack(first.key, first.coordinates, variables, [*first.attrs, *second.attrs])


def content_of(dataset: xr.Dataset) -> Content:
    """Return a run's Dataset as what its file says."""
    variables = {str(name): (v.dims, v.values, v.attrs) for name, v in dataset.variables.items()}
    return Content(variables, tuple(map(str, dataset.coords)), dict(dataset.attrs))


def agreed(attrs: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """Return the attributes that no two runs hold different values of."""
    found: dict[str, object] = {}
    lost: set[str] = set()
    for own in attrs:
        for key, held in own.items():
            if key in lost:
                continue
            if not _same(found.setdefault(key, held), held):
                del found[key]
                lost.add(key)
    return found


def _same(first: object, second: object) -> bool:
    if isinstance(first, str) or isinstance(second, str):
        return first is second or bool(isinstance(first, str) and isinstance(second, str) and first == second)
    one, other = np.asarray(first), np.asarray(second)
    return one.shape == other.shape and bool(np.all((one == other) | ((one != one) & (other != other))))

"""Labelled arrays as plain values: what a checkpoint can hold of an xarray Dataset, and the same Dataset from it."""

from __future__ import annotations

from math import prod

import numpy as np
import torch
import xarray as xr

from rfmodel.errors import InputError

NUMBERS = "fiub"  # kinds of dtype that a tensor can hold


def plain_dataset(dataset: xr.Dataset) -> dict:
    """Return a Dataset as dicts, lists, words, numbers and tensors.

    Raises
    ------
    InputError
        If a variable or an attribute is neither of numbers nor of words.
    """
    variables = {}
    for name, variable in dataset.variables.items():
        variables[str(name)] = {
            "dims": [str(dim) for dim in variable.dims],
            "coordinate": name in dataset.coords,
            "values": _array(variable.values),
            "attrs": {str(key): _attribute(value) for key, value in variable.attrs.items()},
        }
    return {"variables": variables, "attrs": {str(key): _attribute(value) for key, value in dataset.attrs.items()}}


def dataset_of(plain: dict) -> xr.Dataset:
    """Return the Dataset that `plain_dataset` was given, identical to it; anything else raises what it raises."""
    made: dict[bool, dict[str, xr.Variable]] = {False: {}, True: {}}
    for name, variable in plain["variables"].items():
        attrs = {key: _given(value) for key, value in variable["attrs"].items()}
        made[variable["coordinate"]][name] = xr.Variable(variable["dims"], _values(variable["values"]), attrs)
    order = list(plain["variables"])
    dataset = xr.Dataset(made[False], made[True], {key: _given(value) for key, value in plain["attrs"].items()})
    return dataset[[name for name in order if name in made[False]]]


def _array(values: np.ndarray) -> dict:
    if values.dtype.kind in NUMBERS:
        try:
            return {"dtype": values.dtype.str, "tensor": torch.from_numpy(np.array(values, order="C"))}
        except TypeError:
            pass
    elif values.dtype.kind in "UO" and all(isinstance(word, str) for word in values.flat):
        return {"dtype": values.dtype.str, "words": [str(word) for word in values.flat], "shape": list(values.shape)}
    raise InputError(f"a checkpoint cannot hold an array of {values.dtype}; numbers or words would do")


def _values(plain: dict) -> np.ndarray:
    dtype = np.dtype(plain["dtype"])
    if "tensor" in plain:
        values = plain["tensor"].numpy()
        if values.dtype != dtype or dtype.kind not in NUMBERS:
            raise ValueError(f"an array of {values.dtype} says that it is of {dtype}")
        return values
    if dtype.kind not in "UO" or prod(plain["shape"]) != len(plain["words"]):
        raise ValueError(f"{len(plain['words'])} words cannot be an array of {dtype}")
    longest = max(map(len, plain["words"]), default=0)
    if dtype.kind == "U" and dtype.itemsize > 4 * max(1, 64 * longest):
        raise ValueError(f"words of at most {longest} letters cannot be an array of {dtype}")
    return np.array(plain["words"], dtype).reshape(plain["shape"])


def _attribute(value: object) -> object:
    if isinstance(value, np.ndarray | np.generic):
        return {"scalar": isinstance(value, np.generic), **_array(np.asarray(value))}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return {"tuple": isinstance(value, tuple), "items": [_attribute(item) for item in value]}
    raise InputError(f"a checkpoint cannot hold an attribute of {type(value).__name__}; numbers or words would do")


def _given(plain: object) -> object:
    if not isinstance(plain, dict):
        return plain
    if "items" in plain:
        items = [_given(item) for item in plain["items"]]
        return tuple(items) if plain["tuple"] else items
    values = _values(plain)
    return values[()] if plain["scalar"] else values

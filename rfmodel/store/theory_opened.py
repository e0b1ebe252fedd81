"""Opening a study of a solvable model: its finished conditions as one xarray Dataset."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import xarray as xr

from rfmodel.errors import InputError
from rfmodel.store.theory_files import SIZES, load_theory, theory_files
from rfmodel.store.wording import one_line

MANNERS = ("flow", "full_batch", "online")
PLACES = ("condition", "rule", "law", "name")
OWN = ("schema", "model", "position", *PLACES)  # attributes that do not become variables


def open_theory(folder: str | os.PathLike[str]) -> xr.Dataset:
    """Return every finished condition of a folder as one Dataset with a `run` dimension, in the protocol's order.

    Conditions with fewer seeds, points, modes or manners than others are filled with NaN.

    Parameters
    ----------
    folder : path
        The `--out` of `rfmodel run` of a protocol with a key `theory`.

    Returns
    -------
    xr.Dataset
        Coordinates `condition, rule, rank` (of a linear network) or `width` (of a factorisation), `law, name` on
        `run`; each condition's settings, versions, hardware, commit and seconds in variables of the same names;
        attribute `model`.

    Raises
    ------
    InputError
        If there is no finished condition, a file cannot be read, or two are of different models.
    """
    found = [load_theory(path) for path in theory_files(folder)]
    found.sort(key=lambda dataset: (dataset.attrs["position"], dataset.attrs["name"]))
    models = sorted({dataset.attrs["model"] for dataset in found})
    where = one_line(folder, 4096)
    if len(models) > 1:
        raise InputError(f"'{where}' holds conditions of {' and of '.join(models)}; move those of one model away")
    try:
        return _joined(found, models[0])
    except (ValueError, TypeError, KeyError) as error:  # whole files of conditions that no study holds side by side
        raise InputError(
            f"the conditions of '{where}' do not fit together ({one_line(error, 200)}); move those of another kind away"
        ) from None


def _joined(found: Sequence[xr.Dataset], model: str) -> xr.Dataset:
    labels = _labels(found)
    variables = {name: dataset[name] for dataset in found for name in dataset.data_vars}
    study = xr.Dataset(
        {name: (("run", *one.dims), _filled(found, name, labels), one.attrs) for name, one in variables.items()},
        labels,
        {"model": model},
    )
    places = (*PLACES, SIZES[model])
    study = study.assign_coords({key: ("run", [dataset.attrs[key] for dataset in found]) for key in places})
    kept = {key: ("run", _column(found, key)) for dataset in found for key in dataset.attrs}
    return study.assign({key: held for key, held in kept.items() if key not in (*OWN, *places, *study.variables)})


def _labels(found: Sequence[xr.Dataset]) -> dict[str, np.ndarray]:
    """Return the labels along each dimension: the longest of any condition's."""
    labels: dict[str, np.ndarray] = {}
    for dataset in found:
        for dim, size in dataset.sizes.items():
            own = dataset[dim].values if dim in dataset.coords else np.arange(size)
            labels[str(dim)] = max(labels.get(str(dim), own), own, key=len)
    used = {manner for dataset in found for manner in dataset["manner"].values.tolist()}
    return labels | {"manner": np.array(sorted(used, key=MANNERS.index))}


def _filled(found: Sequence[xr.Dataset], name: str, labels: dict[str, np.ndarray]) -> np.ndarray:
    dims = next(dataset[name].dims for dataset in found if name in dataset)
    values = np.full((len(found), *(len(labels[dim]) for dim in dims)), np.nan)
    for row, dataset in zip(values, found, strict=True):
        if name in dataset:
            if dataset[name].dims != dims:
                raise ValueError(f"'{name}' is by {', '.join(map(str, dataset[name].dims))} in one of them")
            row[np.ix_(*(_places(dataset, str(dim), labels) for dim in dims))] = dataset[name].values
    return values


def _places(dataset: xr.Dataset, dim: str, labels: dict[str, np.ndarray]) -> list[int]:
    if dim == "manner":
        return [labels[dim].tolist().index(manner) for manner in dataset[dim].values.tolist()]
    return list(range(dataset.sizes[dim]))


def _column(found: Sequence[xr.Dataset], key: str) -> list:
    """Return an attribute of every condition; where it is lacking, a blank of its kind."""
    blank = "" if any(isinstance(dataset.attrs.get(key), str) for dataset in found) else np.nan
    return [dataset.attrs.get(key, blank) for dataset in found]

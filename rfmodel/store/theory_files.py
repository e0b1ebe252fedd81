"""Theory files: the results of one condition of a solvable model, all of its seeds, as one NetCDF file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import xarray as xr

from rfmodel.errors import InputError
from rfmodel.store.images import Unfit
from rfmodel.store.kinds import THEORY, checked_theory
from rfmodel.store.netcdf import unreadable
from rfmodel.store.results import load
from rfmodel.store.wording import one_line
from rfmodel.theory.settings import MODELS

SIZES = {"linear_dynamics": "rank", "matrix_factorisation": "width"}  # where a condition of each model stands
WORDS = (
    "condition",
    "name",
    "identity",
    "model",
    "rule",
    "law",
    "preset",
    "settings",
    "versions",
    "hardware",
    "commit",
)
JSON = ("settings", "versions", "hardware")
FORMS = {
    "time": ("point",),
    "error": ("manner", "seed", "point"),
    "singular_values": ("seed", "mode"),
    "difference": ("manner", "seed"),
}
OWN_FORMS = {"linear_dynamics": {"recovered": ("seed",)}, "matrix_factorisation": {"ratio": ("seed",)}}
GAPS = ("ratio",)  # NaN where the optimum is nought


def theory_files(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the files of a study's finished conditions.

    Raises
    ------
    InputError
        If there is none.
    """
    paths = sorted(path for path in (Path(folder) / THEORY).glob("*.nc") if not path.name.startswith("."))
    if not paths:
        where = one_line(folder, 4096)
        raise InputError(
            f"no finished condition of a solvable model in '{where}' (looked for {THEORY}/*.nc there); make some with "
            f"`rfmodel run PROTOCOL --out {where}`; of trained networks, rfmodel.open_study would do"
        )
    return paths


def load_theory(path: Path) -> xr.Dataset:
    """Read one condition's Dataset, and see that it says all that the file of a condition says.

    Raises
    ------
    InputError
        If the file is damaged, harmful, of another schema, or not of a condition; the message names it.
    """
    dataset = load(path)
    try:
        _check(dataset)
        if path.parent.name == THEORY and checked_theory(dataset.attrs["name"]) != path.stem:
            raise Unfit(f"it says that it is '{dataset.attrs['name']}': a file bears its condition's name")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise unreadable(path, error) from None
    return dataset


def _check(dataset: xr.Dataset) -> None:
    """Refuse what does not say what every reader looks for."""
    attrs = dataset.attrs
    for key in WORDS:
        if not isinstance(attrs.get(key), str):
            raise Unfit(f"attribute '{key}' is missing, or no word")
    if attrs["model"] not in MODELS:
        raise Unfit(f"'{attrs['model'][:40]}' is no solvable model")
    for key in (SIZES[attrs["model"]], "seconds", "position"):
        if not isinstance(attrs.get(key), np.integer | np.floating):
            raise Unfit(f"attribute '{key}' is missing, or no number")
    for key in JSON:
        if not isinstance(json.loads(attrs[key]), dict):
            raise Unfit(f"attribute '{key}' is no JSON object")
    if attrs[SIZES[attrs["model"]]] < 1:  # NaN, of gradient descent, is not
        raise Unfit(f"{SIZES[attrs['model']]} {attrs[SIZES[attrs['model']]]} is below 1")
    forms = FORMS | OWN_FORMS[attrs["model"]]
    for name, dims in forms.items():
        if name not in dataset or dataset[name].dims != dims or not dataset[name].size:
            raise Unfit(f"it holds no '{name}' by {', '.join(dims)}")
    if "manner" not in dataset.coords or dataset["manner"].dtype.kind != "U":
        raise Unfit("it does not say by which manners it was followed")
    words = [name for name, held in dataset.variables.items() if held.dtype.kind not in "fiu" and name != "manner"]
    if words or "run" in (*dataset.dims, *dataset.variables):
        raise Unfit(f"'{(*words, 'run')[0]}' is nothing that a condition holds")
    if bad := [name for name in forms if name not in GAPS and not np.isfinite(dataset[name]).all()]:
        raise Unfit(f"'{bad[0]}' holds what is no finite number")

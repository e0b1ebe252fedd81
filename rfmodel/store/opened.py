"""Opening: the finished runs of a study as one xarray Dataset."""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np
import xarray as xr

from rfmodel.store.results import load, run_files

KEPT = (
    "settings", "versions", "hardware", "commit", "data_fingerprint", "data_source", "seconds", "epochs_done", "preset",
)  # fmt: skip
PLACES = ("condition", "rule", "rank", "network", "bottleneck", "depth", "width", "classes")
ABSENT = "absent"


def open_study(folder: str | os.PathLike[str]) -> xr.Dataset:
    """Return every finished run of a folder as one Dataset with a `run` dimension.

    Runs with fewer units, epochs or edges than others are filled with NaN and "absent".

    Parameters
    ----------
    folder : path
        The `--out` of `rfmodel run`.

    Returns
    -------
    xr.Dataset
        Coordinates `condition, rule, rank, network, bottleneck, depth, width, classes, seed, state` on `run`; each
        run's settings, versions, hardware and fingerprint as JSON strings in variables of the same names.

    Raises
    ------
    InputError
        If the folder is not there or holds no finished run.
    """
    return together([load(path) for path in run_files(folder)])


def together(datasets: Iterable[xr.Dataset]) -> xr.Dataset:
    """Concatenate runs along `run`, in order of condition as run and of seed."""
    runs = sorted(datasets, key=lambda d: (int(d.attrs["position"]), int(d.attrs["seed"]), d.attrs["name"]))
    conditions = list(dict.fromkeys(d.attrs["condition"] for d in runs))
    runs.sort(key=lambda d: conditions.index(d.attrs["condition"]))
    study = xr.concat(
        [_labelled(dataset) for dataset in runs],
        "run",
        join="outer",
        data_vars="all",
        coords="minimal",
        compat="equals",
        combine_attrs="drop_conflicts",
    )
    return _fill_absent(study)


def _labelled(dataset: xr.Dataset) -> xr.Dataset:
    """Give a run its `run` dimension: coordinates that place it, and what a reviewer asks of it as variables."""
    attrs = dataset.attrs
    places = (*PLACES, "seed", "state", "name")
    kept = [key for key in attrs if key in KEPT or key.startswith("classifier_")]
    # The layer and channel of a unit are in its label; as coordinates they would clash where units are absent.
    plain = dataset.drop_vars(["layer", "channel"], errors="ignore")
    return plain.assign({key: ("run", [attrs[key]]) for key in kept}).assign_coords(
        {key: ("run", [attrs[key]]) for key in places}
    )


def _fill_absent(study: xr.Dataset) -> xr.Dataset:
    if "fit_success" in study:  # to fail is not to succeed, nor is to be absent
        study["fit_success"] = study["fit_success"].where(study["fit_success"].notnull(), False).astype(bool)
    for name, values in study.items():
        # Words: the gaps that joining leaves in them are named.
        if name in ("status", "kind") or (values.dtype == object and "unit" in values.dims):
            values = values.astype(object)
            study[name] = values.where(values.notnull(), ABSENT).astype(str)
    if "stage" in study.dims:
        study = study.isel(stage=np.argsort([_moment(str(label)) for label in study["stage"].values]))
    if "unit" in study.coords:
        parts = [str(label).rpartition("/") for label in study["unit"].values]
        order = sorted(range(len(parts)), key=lambda i: (parts[i][0], int(parts[i][2])))
        study = study.assign_coords(
            layer=("unit", [layer for layer, _, _ in parts]), channel=("unit", [int(c) for _, _, c in parts])
        ).isel(unit=order)
    return study


def _moment(stage: str) -> float:
    """Return where a stage stands in the order of a training: "untrained", "epoch 0.5", ..., "trained"."""
    return {"untrained": -1.0, "trained": float("inf")}.get(stage) or float(stage.rpartition(" ")[2])

"""Opening: the finished runs of a study as one xarray Dataset."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from rfmodel.errors import InputError
from rfmodel.store.consolidated import MANY, read_stacks, write_stacks
from rfmodel.store.results import run_files
from rfmodel.store.stacking import KEPT, PLACES, Stack, agreed, content_of, stacked
from rfmodel.store.wording import one_line

__all__ = ["ABSENT", "KEPT", "PLACES", "open_study", "together"]

ABSENT = "absent"
WORDED = ("status", "kind", "opponency", "opponency_colour", "best")  # how names end of what says a word of a unit


def open_study(folder: str | os.PathLike[str]) -> xr.Dataset:
    """Return every finished run of a folder as one Dataset with a `run` dimension.

    Runs with fewer units, epochs or edges than others are filled with NaN and "absent". Where many run files had to be
    read, what they say is kept beside them, consolidated, for the next call; it is made anew as soon as they change.

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
        If the folder is not there or holds no finished run, or a run's file cannot be read.
    """
    found = read_stacks(Path(folder), run_files(folder))
    if found.fresh >= MANY:
        write_stacks(Path(folder), found)
    try:
        return _measured(_joined(found.stacks))
    except (ValueError, TypeError, KeyError) as error:  # whole files of runs that no study holds side by side
        where = one_line(folder, 4096)
        raise InputError(
            f"the runs of '{where}' do not fit together ({one_line(error, 200)}); move those of another kind away"
        ) from None


def _measured(study: xr.Dataset) -> xr.Dataset:
    """Refuse words where a number of each unit or epoch should stand: readers compute with what they find."""
    for name, values in study.items():
        if values.dtype.kind in "UO" and {"unit", "epoch"} & set(values.dims) and not str(name).endswith(WORDED):
            raise ValueError(f"'{name}' holds words")
    return study


def together(datasets: Iterable[xr.Dataset]) -> xr.Dataset:
    """Concatenate runs along `run`, in order of condition as run and of seed."""
    return _joined([stack for stack, _ in stacked(map(content_of, datasets))])


def _joined(stacks: Sequence[Stack]) -> xr.Dataset:
    """Join stacks, each at once: what is equal in a stack is aligned with the others' once, not once a run."""
    attrs = [own for stack in stacks for own in stack.attrs]
    home = [(i, row) for i, stack in enumerate(stacks) for row in range(len(stack.attrs))]
    order = _order(attrs)
    chosen: dict[int, list[int]] = {}
    for i in order:
        stack, row = home[i]
        chosen.setdefault(stack, []).append(row)
    study = xr.concat(
        [stacks[i].rows(rows).dataset() for i, rows in chosen.items()],
        "run",
        join="outer",
        data_vars="all",
        coords="minimal",
        compat="equals",
        combine_attrs="drop_conflicts",
    )
    place = {(i, row): at for at, (i, row) in enumerate((i, row) for i, rows in chosen.items() for row in rows)}
    if (rows := [place[home[i]] for i in order]) != sorted(rows):
        study = study.isel(run=rows)
    study.attrs = agreed([attrs[i] for i in order])
    return _fill_absent(study)


def _order(attrs: Sequence[dict]) -> list[int]:
    """Return which run stands where: by condition as run, and by seed."""
    order = sorted(range(len(attrs)), key=lambda i: [attrs[i][key] for key in ("position", "seed", "name")])
    first: dict[str, int] = {}
    for i in order:
        first.setdefault(attrs[i]["condition"], len(first))
    return sorted(order, key=lambda i: first[attrs[i]["condition"]])


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

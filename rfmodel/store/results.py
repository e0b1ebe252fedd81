"""Run files: the results of one run as one NetCDF file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import xarray as xr

from rfmodel.errors import InputError
from rfmodel.store.paths import run_path
from rfmodel.store.writing import write_aside

SCHEMA = 2


def save(dataset: xr.Dataset, path: Path) -> None:
    """Write one run's Dataset as NetCDF, aside and renamed; arrays of more than a kilobyte are compressed."""
    packed = {
        name: {"compression": "gzip", "compression_opts": 4}
        for name, v in dataset.items()
        if v.dtype.kind == "f" and v.nbytes > 1024
    }
    # Made in memory: a disk that fills up then leaves no open file behind.
    content = dataset.assign_attrs(schema=SCHEMA).to_netcdf(engine="h5netcdf", encoding=packed)
    write_aside(path, lambda aside: aside.write_bytes(content))


def load(path: Path) -> xr.Dataset:
    """Read one run's Dataset.

    Raises
    ------
    InputError
        If the file is not one of ours, damaged, or of another schema.
    """
    try:
        with xr.open_dataset(path, engine="h5netcdf") as file:
            dataset = file.load()
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise InputError(
            f"run file '{path}' cannot be read ({str(error).splitlines()[0]}); move it away and run the protocol again"
        ) from None
    if int(dataset.attrs.get("schema", 0)) != SCHEMA:
        found = dataset.attrs.get("schema", "none")
        raise InputError(f"run file '{path}' has schema {found}, and this version reads {SCHEMA}; run it again")
    return dataset


def finished(folder: Path, name: str) -> bool:
    """Whether a run's results are there, so that it need not run again."""
    return run_path(folder, name).is_file()


def run_files(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the files of a study's finished runs.

    Raises
    ------
    InputError
        If there is none.
    """
    paths = sorted(p for p in (Path(folder) / "runs").glob("*.nc") if not p.name.startswith("."))
    if not paths:
        raise InputError(
            f"no finished run in '{folder}' (looked for runs/*.nc there); "
            f"make some with `rfmodel run PROTOCOL --out {folder}`"
        )
    return paths


def settings_of(dataset: xr.Dataset) -> dict:
    """Return the resolved settings of one run's Dataset."""
    return json.loads(dataset.attrs["settings"])

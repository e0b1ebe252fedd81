"""Run files: the results of one run as one NetCDF file, with a checksum of what it says."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import h5py
import numpy as np
import xarray as xr

from rfmodel.errors import InputError
from rfmodel.store import required
from rfmodel.store.checksums import CHECKSUM, digest, of_content
from rfmodel.store.images import sealed
from rfmodel.store.kinds import refuse_theory
from rfmodel.store.netcdf import Content, read, unreadable
from rfmodel.store.wording import one_line
from rfmodel.store.writing import write_aside

__all__ = ["SCHEMA", "as_dataset", "contents", "digest", "load", "load_run", "run_files", "save", "settings_of"]

SCHEMA = 3


def _from_2(content: Content) -> Content:
    """Schema 3 added checksums, of the file and of its weights; a file without them says the same."""
    return content


MIGRATIONS = {2: _from_2}


def save(dataset: xr.Dataset, path: Path) -> None:
    """Write one run's Dataset as NetCDF, aside and renamed; arrays of more than a kilobyte are compressed.

    The file bears the SHA-256 of its weights' file, where there is one, as attribute `weights_sha256`, which is the
    caller's (`digest`), and a checksum of what it says itself, which is made here.

    Raises
    ------
    Unwritable
        If it cannot be written.
    """
    packed = {
        name: {"compression": "gzip", "compression_opts": 4}
        for name, v in dataset.items()
        if v.dtype.kind == "f" and v.nbytes > 1024
    }
    plain = dataset.assign_attrs(schema=SCHEMA)
    plain.attrs.pop(CHECKSUM, None)
    # Made in memory: a disk that fills up then leaves no open file behind.
    made = io.BytesIO(bytes(plain.to_netcdf(engine="h5netcdf", encoding=packed)))
    found = of_content(read(path, made.getvalue()))  # of what will be read, which no type of what is written can change
    with h5py.File(made, "r+") as file:
        file.attrs[CHECKSUM] = found
    write_aside(path, lambda aside: aside.write_bytes(sealed(made.getvalue())))


def load(path: Path) -> xr.Dataset:
    """Read one Dataset of ours: a run's, or one that was made of a study's.

    Parameters
    ----------
    path : Path
        In a folder `runs`, it must be a run's, as for `load_run`.

    Raises
    ------
    InputError
        If the file is not one of ours, damaged, harmful, or of another schema.
    """
    return as_dataset(contents(path, run=path.parent.name == "runs"))


def load_run(path: Path) -> xr.Dataset:
    """Read one run's Dataset, and see that it says all that a run file says.

    Raises
    ------
    InputError
        If the file is not one of ours, damaged, harmful, of another schema, or not of a run.
    """
    return as_dataset(contents(path))


def contents(path: Path, run: bool = True) -> Content:
    """Return what a file of ours says, once its checksum and its form are seen to hold.

    Parameters
    ----------
    path : Path
    run : bool
        Whether it must be a run's.

    Raises
    ------
    InputError
        As `load_run`.
    """
    content = read(path)
    found = content.attrs.get("schema")
    if found is None:
        raise InputError(f"'{one_line(path, 4096)}' is not a run file of rfmodel: it has no schema; move it away")
    if not isinstance(found, np.integer) or (found != SCHEMA and int(found) not in MIGRATIONS):
        newer = isinstance(found, np.integer) and found > SCHEMA
        remedy = "a newer rfmodel made it: update" if newer else "run it again"
        raise InputError(
            f"run file '{one_line(path, 4096)}' has schema {one_line(found, 40)}, and this version reads "
            f"{', '.join(map(str, (*sorted(MIGRATIONS), SCHEMA)))}; {remedy}"
        )
    _verify(content, int(found), path)
    content = MIGRATIONS.get(int(found), lambda same: same)(content)
    content.attrs["schema"] = np.int64(SCHEMA)
    try:
        if run:
            required.check(content, path)
    except Exception as error:  # JSON too raises more than it says
        raise unreadable(path, error) from None
    return content


def _verify(content: Content, schema: int, path: Path) -> None:
    told = content.attrs.pop(CHECKSUM, None)
    if schema not in MIGRATIONS and told != of_content(content):
        raise InputError(
            f"run file '{one_line(path, 4096)}' is damaged: what it says has not its checksum; move it away and run "
            "the protocol again"
        )


def as_dataset(content: Content) -> xr.Dataset:
    """Return what a file says as a Dataset."""
    own = content.variables.items()
    return xr.Dataset(
        {name: held for name, held in own if name not in content.coordinates},
        {name: held for name, held in own if name in content.coordinates},
        content.attrs,
    )


def run_files(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the files of a study's finished runs.

    Raises
    ------
    InputError
        If there is none; of a solvable model, says what would do.
    """
    paths = sorted(p for p in (Path(folder) / "runs").glob("*.nc") if not p.name.startswith("."))
    if not paths:
        refuse_theory(folder)
        raise InputError(
            f"no finished run in '{folder}' (looked for runs/*.nc there); "
            f"make some with `rfmodel run PROTOCOL --out {folder}`"
        )
    return paths


def settings_of(dataset: xr.Dataset) -> dict:
    """Return the resolved settings of one run's Dataset."""
    return json.loads(dataset.attrs["settings"])

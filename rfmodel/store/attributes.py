"""Attributes: what the list of a study shows of a run, read from its file without the arrays."""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rfmodel.errors import InputError
from rfmodel.store.paths import NAME

if TYPE_CHECKING:
    import h5py
    import numpy as np

WORDS = ("name", "condition", "state")
COUNTS = ("seed", "epochs_done", "position")


def read_attributes(path: Path) -> dict[str, str | int | float]:
    """Return what a run file says of its run, of an array only the last value.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict
        name, condition, state, preset; seed, epochs_done, position; seconds, and accuracy, that on the test images
        after the last epoch; form, equal for runs that differ in nothing but the seed.

    Raises
    ------
    InputError
        As `rfmodel.store.load`, if the file is damaged or of a schema that is not read; and if it is another run's.
    """
    from rfmodel.store import netcdf  # brings h5py

    try:
        found = _briefly(path)
    except (InputError, ValueError, TypeError, KeyError, AttributeError):
        found = _wholly(path)
    if found["name"] != path.stem or not NAME.fullmatch(path.stem):
        raise netcdf.unreadable(path, netcdf.Unfit(f"it is of run '{found['name'][:100]}', which has its own file"))
    return found


def _briefly(path: Path) -> dict[str, str | int | float]:
    from rfmodel.store import netcdf, required
    from rfmodel.store.results import SCHEMA

    with netcdf.opened(path) as root:
        size = path.stat().st_size
        attrs = netcdf.attributes(root, size)
        if attrs["schema"] != SCHEMA:
            raise ValueError("another schema, which is migrated or refused")
        accuracy = _own_row(root, b"accuracy_test", size)
        content = netcdf.Content({"accuracy_test": (("epoch",), accuracy, {})}, (), attrs)
        required.check(content, path)
        return _plain(attrs, accuracy)


def _wholly(path: Path) -> dict[str, str | int | float]:
    """Return the same of a file that could not be read so: of an older schema, or damaged, which loading says."""
    from rfmodel.store import netcdf
    from rfmodel.store.results import load

    dataset = load(path)
    try:
        return _plain(dataset.attrs, dataset["accuracy_test"].values)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:  # of a file that is no run's
        raise netcdf.unreadable(path, error) from None


def _plain(attrs: Mapping[str, object], accuracy: np.ndarray) -> dict[str, str | int | float]:
    return {
        **{key: str(attrs[key]) for key in WORDS},
        "preset": str(attrs.get("preset", "")),
        **{key: operator.index(attrs[key]) for key in COUNTS},
        "seconds": float(attrs["seconds"]),
        "accuracy": float(accuracy[-1]),
        "form": _form(str(attrs["settings"])),
    }


def _form(settings: str) -> str:
    """Return a hash of the settings without the seed."""
    rest = {key: held for key, held in json.loads(settings).items() if key != "seed"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()[:12]


def _own_row(root: h5py.h5g.GroupID, name: bytes, size: int) -> np.ndarray:
    """Return an array of one dimension that lies in the file itself, and unpacks to no more than the file's size."""
    import h5py
    import numpy as np

    from rfmodel.store.netcdf import FILTERS

    if root.links.get_info(name).type != h5py.h5l.TYPE_HARD:
        raise ValueError("a link to elsewhere")
    place = h5py.h5o.open(root, name)
    plan = place.get_create_plist()
    chunk = plan.get_chunk() if plan.get_layout() == h5py.h5d.CHUNKED else (0,)
    if plan.get_layout() == h5py.h5d.VIRTUAL or plan.get_external_count() or len(place.shape) != 1:
        raise ValueError("no row of the file's own")
    if any(plan.get_filter(i)[0] not in FILTERS for i in range(plan.get_nfilters())):
        raise ValueError("a filter that no run uses")
    if max(place.shape[0], *chunk) * place.get_type().get_size() > size:
        raise ValueError("larger than the file")
    return np.asarray(h5py.Dataset(place)[()])

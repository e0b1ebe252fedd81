"""What a run file must say of its run, so that no reader of it finds something missing or of another kind."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np

from rfmodel.store.images import Unfit
from rfmodel.store.netcdf import Content
from rfmodel.store.paths import checked

WORDS = ("condition", "rule", "network", "state", "name", "settings", "commit", "data_fingerprint", "data_source")
NUMBERS = ("rank", "bottleneck", "depth", "width", "classes", "seconds")
COUNTS = ("position", "seed", "epochs_done")
TEXT_IF_ANY = ("versions", "hardware", "rule_files", "preset", "identity", "weights_sha256")
JSON = ("settings", "versions", "hardware", "rule_files")
STATES = ("done", "diverged")
UNIT = re.compile(r".+/\d{1,9}", re.DOTALL)
STAGE = re.compile(r"untrained|trained|epoch (\d{1,9}(\.\d{1,17})?|\d(\.\d{1,17})?e[+-]?\d{1,3})")


def check(content: Content, path: Path) -> None:
    """Refuse a run file that does not say what every reader of it looks for.

    Parameters
    ----------
    content : Content
    path : Path
        `NAME.nc` in a folder `runs` is of the run of that name; what is being written there may be of any.

    Raises
    ------
    Unfit
        Says what is missing or of another kind.
    """
    attrs = content.attrs
    for key in (*WORDS, *NUMBERS, *COUNTS, *TEXT_IF_ANY):
        if key not in attrs and key not in TEXT_IF_ANY:
            raise Unfit(f"attribute '{key}' is missing")
        if key in attrs and not _fits(key, attrs[key]):
            kind = "number" if key in NUMBERS else "whole number" if key in COUNTS else "word"
            raise Unfit(f"attribute '{key}' is no {kind}")
    for key in JSON:
        if key in attrs and not isinstance(json.loads(attrs[key]), dict):
            raise Unfit(f"attribute '{key}' is no JSON object")
    if attrs["state"] not in STATES:
        raise Unfit(f"state '{attrs['state'][:40]}' is neither 'done' nor 'diverged'")
    if path.parent.name == "runs" and path.suffix == ".nc" and checked(attrs["name"]) != path.stem:
        raise Unfit(f"it says that it is the run '{attrs['name']}': a run file bears its run's name")
    _check_arrays(content)


def _fits(key: str, held: object) -> bool:
    if key in COUNTS:
        return isinstance(held, np.integer) and held >= 0
    return isinstance(held, np.integer | np.floating) if key in NUMBERS else isinstance(held, str)


def _check_arrays(content: Content) -> None:
    """Refuse labels that no study can be joined by, and a run without its test accuracy."""
    variables = content.variables
    for name in content.coordinates:
        dims, values, _ = variables[name]
        if dims == (name,) and np.unique(values).size != values.size:
            raise Unfit(f"coordinate '{name}' names something twice")
    for name, form in (("unit", UNIT), ("stage", STAGE)):
        if any(name in dims for dims, *_ in variables.values()):
            labels = variables[name][1] if name in variables else np.array([])
            if labels.dtype.kind != "U" or not all(form.fullmatch(label) for label in labels.tolist()):
                raise Unfit(f"coordinate '{name}' is not of the form that rfmodel gives it")
    if clash := {"run", *content.attrs} & {*variables, *(dim for dims, *_ in variables.values() for dim in dims)}:
        raise Unfit(f"'{sorted(clash)[0]}' is a variable too")
    dims, values, _ = variables.get("accuracy_test", ((), np.array(math.nan), {}))
    if dims != ("epoch",) or not values.size or values.dtype.kind != "f":
        raise Unfit("it holds no test accuracy by epoch")

"""What the command line prints of a solvable model's study: its conditions, and one of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import xarray as xr

from rfmodel import store
from rfmodel.progress import plain_console
from rfmodel.tables import show_table
from rfmodel.theory_study import came_out

ATTRIBUTES = ("commit", "seconds", "evaluations", "steps", "step", "largest_step")


def show_study(folder: Path) -> None:
    """Print the conditions of a study, what each came to, and how many are left.

    Raises
    ------
    InputError
        If a file of the study is damaged.
    """
    asked = store.asked_conditions(folder)
    paths = sorted(path for path in (folder / store.THEORY).glob("*.nc") if not path.name.startswith("."))
    found = sorted(map(store.load_theory, paths), key=lambda one: (one.attrs["position"], one.attrs["name"]))
    rows = [
        (one.attrs["condition"], one.sizes["seed"], came_out(one), f"{one.attrs['seconds']:.1f} s", _file(one))
        for one in found
    ]
    title = f"{folder}: {len(rows)} conditions of a solvable model"
    show_table(title, ("condition", "seeds", "came to", "time", "file"), rows)
    done = {one.attrs["name"] for one in found}
    if left := [condition for name, condition in asked.items() if name not in done]:
        plain_console().print(f"{len(left)} of its protocol left: {', '.join(left)}")


def _file(one: xr.Dataset) -> str:
    return f"{one.attrs['name']}.nc"


def show_condition(path: Path) -> None:
    """Print one condition's settings, provenance and results by seed.

    Raises
    ------
    InputError
        If its file is damaged.
    """
    dataset = store.load_theory(path)
    attrs, console = dataset.attrs, plain_console()
    console.print(f"{attrs['condition']} ({attrs['model']}): {came_out(dataset)}")
    console.print_json(attrs["settings"])
    told = {key: attrs[key] for key in ATTRIBUTES if key in attrs}
    told |= {key: json.loads(attrs[key]) for key in ("versions", "hardware")}
    console.print_json(json.dumps(told, default=lambda value: value.item()))
    last = {"error": dataset["error"].isel(manner=0, point=-1)}
    last |= {str(name): held for name, held in dataset.items() if held.dims == ("seed",)}
    seeds = range(dataset.sizes["seed"])
    rows = [(seed, *(_number(held.values[seed]) for held in last.values())) for seed in seeds]
    show_table("at the end, by seed", ("seed", *last), rows)


def _number(value: np.ndarray) -> str:
    return "-" if np.isnan(value) else f"{value:.4g}"

"""What the command line prints: lists of protocols, studies, runs, data sets and timings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import xarray as xr
from rich.table import Table
from rich.text import Text

from rfmodel import protocols, store
from rfmodel.errors import InputError
from rfmodel.progress import plain_console


def _print(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    table = Table(title=Text(title), title_justify="left")
    for column in columns:
        table.add_column(Text(str(column)), overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    plain_console().print(table)


def show_protocols() -> None:
    """Print the protocols that come with rfmodel."""
    read = [protocols.load(name) for name in protocols.names()]
    rows = [(p.name, len({r.condition for r in p.runs}), len(p.runs), p.title) for p in read]
    _print("protocols (rfmodel show NAME, rfmodel run NAME)", ("name", "conditions", "runs", "title"), rows)


def show_protocol(name: str) -> None:
    """Print a protocol's conditions and what differs between them."""
    read = protocols.load(name)
    rows: dict[str, list] = {}
    for run in read.runs:
        rules = {site: rule.model_dump() for site, rule in run.settings.rules.items()}
        settings = run.settings
        sizes = {size: settings.network.place(size) for size in ("bottleneck", "depth", "width")}
        told = [settings.network.name, *(f"{size} {value:g}" for size, value in sizes.items() if value == value)]
        classes = [f"{settings.data.classes} classes"] if settings.data.classes else []
        row = rows.setdefault(run.condition, [", ".join(told + classes), json.dumps(rules) if rules else "bp", 0])
        row[-1] += 1
    plain_console().print(f"{read.title}\n{read.description}\nSource: {read.source}")
    if read.presets:
        plain_console().print(f"Presets: {', '.join(read.presets)} (--preset, the first by default)")
    _print(
        f"{read.name}: {len(read.runs)} runs",
        ("condition", "network", "rules", "runs"),
        [(condition, *row) for condition, row in rows.items()],
    )


def _labels(read: list[xr.Dataset]) -> list[str]:
    """Return each run's condition as figures and reports name it."""
    from rfmodel.figures.labels import distinct_labels  # brings matplotlib, which nothing else here needs

    return distinct_labels(
        [dataset.attrs["condition"] for dataset in read],
        [int(dataset.attrs["seed"]) for dataset in read],
        [dataset.attrs["settings"] for dataset in read],
        {key: [dataset.attrs[key] for dataset in read] for key in store.PLACES[1:]},
    )


def show_study(folder: Path) -> None:
    """Print the runs of a study, and how many of its protocol are left."""
    files = store.run_files(folder)
    read = [store.load(path) for path in files]
    rows = [
        (
            label,
            d.attrs["seed"],
            d.attrs["state"],
            d.attrs["epochs_done"],
            "-" if d.attrs["state"] == "diverged" else f"{100 * float(d['accuracy_test'][-1]):.1f} %",
            f"{d.attrs['seconds']:.0f} s",
            path.name,
        )
        for path, d, label in zip(files, read, _labels(read), strict=True)
    ]
    _print(
        f"{folder}: {len(rows)} runs",
        ("condition", "seed", "state", "epochs", "test accuracy", "time", "file"),
        rows,
    )
    left = store.left(folder, {d.attrs["name"] for d in read})
    if left:
        plain_console().print(
            f"{len(left)} of its protocol left: {', '.join(left[:6])}{', ...' if len(left) > 6 else ''}"
        )


def show_costs(read: protocols.Protocol, folder: Path | None, layers: bool) -> None:
    """Print what a training step of each condition costs, by part or by layer and part.

    Parameters
    ----------
    read : Protocol
    folder : Path, optional
        Where published data sets lie; of an image folder the classes are counted there.
    layers : bool
        A table a condition, a row a layer.
    """
    from rfmodel import costs, datasets, spending

    found = []
    for run in {run.condition: run for run in reversed(read.runs)}.values():
        shape, classes = datasets.shape_of(run.settings.data.model_dump(), folder)
        try:
            rows = costs.rows(spending.costs_of(run.settings, shape, classes))
        except InputError as error:
            raise InputError(f"{read.name}.toml: condition '{run.condition}': {error}") from None
        if layers:
            show_rows(f"{run.condition}: MFLOPs a step of {run.settings.train.batch}", map(_rounded, rows))
        found.insert(0, {"condition": run.condition, "batch": run.settings.train.batch} | _rounded(rows[-1]))
    if not layers:
        title = f"{read.name}: MFLOPs a step, a multiply-add being two; 'of BP' is relative to backpropagation's"
        show_rows(title, [{k: v for k, v in row.items() if k not in ("layer", "share")} for row in found])


def _rounded(row: Mapping[str, object]) -> dict[str, object]:
    form = {"share": "{:.3f}", "of BP": "{:.4f}"}
    return {k: form.get(k, "{:.2f}").format(v) if isinstance(v, float) else v for k, v in row.items()}


def show_run(path: Path) -> None:
    """Print one run's settings and history."""
    if not path.is_file():
        raise InputError(f"run file '{path}' is not there; `rfmodel ls STUDY` lists those that are")
    dataset = store.load(path)
    console = plain_console()
    console.print(f"{dataset.attrs['condition']}, seed {dataset.attrs['seed']}: {dataset.attrs['state']}")
    console.print_json(dataset.attrs["settings"])
    console.print_json(
        json.dumps(
            {key: dataset.attrs[key] for key in ("commit", "data_fingerprint", "data_source")}
            | {key: json.loads(dataset.attrs.get(key, "{}")) for key in ("versions", "hardware", "rule_files")}
        )
    )
    columns = [name for name in dataset if dataset[name].dims == ("epoch",)]
    rows = [(int(e), *(f"{float(dataset[c][i]):.4g}" for c in columns)) for i, e in enumerate(dataset["epoch"].values)]
    _print("history", ("epoch", *columns), rows)


def show_data(folder: Path | None) -> None:
    """Print the data sets and which are found in a folder."""
    from rfmodel import datasets

    rows = [(name, datasets.state_of(name, folder)) for name in datasets.DATASETS]
    _print(f"data sets in {folder or 'no folder: give --data DIR or set RFMODEL_DATA'}", ("name", "state"), rows)


def show_files(name: str, rows: Iterable[tuple[str, int | None, bool | None]]) -> None:
    """Print the files of a data set against what was published.

    Raises
    ------
    InputError
        If a file is missing, or differs from one whose checksum is published.
    """
    rows = list(rows)
    verdict = {True: "as published", False: "differs", None: "no checksum published"}
    _print(
        name,
        ("file", "bytes", "MD5"),
        [(f, "missing" if b is None else b, "" if b is None else verdict[ok]) for f, b, ok in rows],
    )
    bad = [f for f, b, ok in rows if b is None or ok is False]
    if bad:
        raise InputError(
            f"{name}: {', '.join(bad)} missing or not as published; download the set again, or go on if "
            "it was repacked on purpose"
        )


def show_rows(title: str, rows: Iterable[Mapping[str, object]]) -> None:
    """Print a list of dicts with equal keys as a table."""
    rows = list(rows)
    _print(title, rows[0].keys(), [row.values() for row in rows])

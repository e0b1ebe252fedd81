"""What `rfmodel cost` prints: arithmetic and memory of a training step of each condition, by part or by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rfmodel import costs, datasets, protocols, spending
from rfmodel.errors import InputError
from rfmodel.runs import Run
from rfmodel.tables import show_rows

FLOPS = "MFLOPs a step, a multiply-add being two; 'of BP': over those of the plain network"
BYTES = "MB in training (total: at once) and inference; 'of BP' and \"of BP's\": over those of the plain network"
FORMS = dict.fromkeys(("share", "of BP", "of BP's"), "{:.3f}")


def show_costs(
    read: protocols.Protocol,
    folder: Path | None,
    layers: bool,
    memory: bool = False,
    rank_fraction: float | None = None,
) -> None:
    """Print what a training step of each condition costs, by part or by layer and part.

    Parameters
    ----------
    read : Protocol
    folder : Path, optional
        Where published data sets lie; of an image folder the classes are counted there.
    layers : bool
        A table a condition, a row a layer.
    memory : bool
        What it holds in memory, too.
    rank_fraction : float, optional
        Of factored layers, of the full rank, in place of the ranks that they start with.

    Raises
    ------
    InputError
        If a condition cannot be built, or a fraction is asked for and no layer is factored.
    """
    if read.theory:
        raise InputError(
            f"{read.name}.toml is of a solvable model: nothing is trained, and there is no training step to count; "
            f"`rfmodel run {read.name}` tells the time that each condition takes"
        )
    runs = list({run.condition: run for run in reversed(read.runs)}.values())[::-1]
    tables = _tables(read, runs, folder, memory, rank_fraction)
    if rank_fraction is not None and not any(row.get("rank") for row in tables[0].totals):
        raise InputError(f"--rank-fraction {rank_fraction} asks for factored layers, and {read.name}.toml has none")
    for table in tables:
        if layers:
            for title, rows in table.by_condition.items():
                _print(title, rows)
        else:
            _print(f"{read.name}: {table.title}", table.totals)


@dataclass
class _Table:
    """Rows of one unit: of each condition by layer, and its totals."""

    title: str
    by_condition: dict[str, list[dict[str, object]]] = field(default_factory=dict)
    totals: list[dict[str, object]] = field(default_factory=list)

    @property
    def unit(self) -> str:
        return self.title.partition(",")[0].partition(";")[0]

    def take(self, run: Run, rows: list[dict[str, object]], ranks: Mapping[str, tuple[int, int]]) -> None:
        """Add a condition's rows; `ranks` and full ranks are of its factored layers."""
        told, batch = [], run.settings.train.batch
        for row in rows:
            told.append({"layer": row["layer"], "rank": _rank(row["layer"], ranks), **row})
        self.by_condition[f"{run.condition}: {self.unit}, batches of {batch}"] = told
        kept = {key: value for key, value in told[-1].items() if key not in ("layer", "share")}
        self.totals.append({"condition": run.condition, "batch": str(batch), **kept})


def _rank(layer: str, ranks: Mapping[str, tuple[int, int]]) -> str:
    """Return a layer's rank, or of the total that of all factored layers over their full rank."""
    if layer == "total" and ranks:
        rank, full = (sum(numbers) for numbers in zip(*ranks.values(), strict=True))
        return f"{rank / full:.2f}"
    return str(ranks[layer][0]) if layer in ranks else ""


def _tables(
    read: protocols.Protocol, runs: list[Run], folder: Path | None, memory: bool, fraction: float | None
) -> list[_Table]:
    found = [_Table(FLOPS), _Table(BYTES)][: 1 + memory]
    for run in runs:
        given = (run.settings, *datasets.shape_of(run.settings.data.model_dump(), folder))
        try:
            spent = spending.costs_of(*given, fraction)
            parts = [costs.rows(spent)]
            if memory:
                parts.append(costs.memory_rows(spending.memory_of(*given, fraction)))
        except InputError as error:
            raise InputError(f"{read.name}.toml: condition '{run.condition}': {error}") from None
        for table, rows in zip(found, parts, strict=True):
            table.take(run, rows, spent.ranks)
    return found


def _print(title: str, rows: list[dict[str, object]]) -> None:
    """Print a table without the columns in which nothing stands."""
    idle = {key for key in rows[0] if all(row[key] in (0, "") for row in rows)} - {"total"}
    show_rows(title, [{key: _told(key, row[key]) for key in row if key not in idle} for row in rows], whole=True)


def _told(key: str, value: object) -> object:
    if not isinstance(value, float):
        return value
    if key in FORMS:
        return FORMS[key].format(value)
    return f"{value:.0f}" if value >= 1000 else f"{value:.2f}"

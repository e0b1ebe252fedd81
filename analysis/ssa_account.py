"""What SVD-space alignment saves: operations and memory by layer and by rank, from shapes (Roy et al., Fig. 2)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import ssa_tables
import xarray as xr
from matplotlib.figure import Figure

from rfmodel import datasets, figures, protocols, spending, store
from rfmodel.errors import InputError
from rfmodel.factors import RankSchedule
from rfmodel.figures.selection import per_condition
from rfmodel.settings import Settings

SHARES = (1.0, 0.5, 0.3, 0.2)  # of the full rank, beside the share at which the schedule's first part ends
CLAIMED = "The paper: at least 40 % less compute and up to 50 % less memory (section 5.2), 50 to 75 % (abstract)."
COUNTED = {
    "training_flops": ("GFLOP a step", 1e9),
    "training_bytes": ("MB in training", 1e6),
    "inference_flops": ("GFLOP in inference", 1e9),
    "inference_bytes": ("MB in inference", 1e6),
}


def section(protocol: str, condition: str, folder: Path) -> list[str]:
    """Draw a condition's account at its schedule's end beside backpropagation's, and return the lines of its part."""
    settings = protocols.load(protocol, only=[f"condition={condition}"]).runs[0].settings
    floor = floor_of(settings, condition)
    shares = sorted({*SHARES, floor}, reverse=True)
    found = {share: against(settings, share) for share in shares}
    name, picture = "ssa_account.png", figures.png(drawn(found[floor], f"SSA at {floor:g} of the full rank"))
    store.write_aside(folder / name, lambda path: path.write_bytes(picture))
    return [
        f"## Operations and memory: {condition}, of the protocol `{Path(protocol).stem}`",
        "",
        f"One training step and one inference on {settings.train.batch} images, counted from shapes and equal for "
        "every seed, beside backpropagation on the plain network. The first part of the schedule ends at "
        f"{floor:g} of the full rank; what its energy check takes after that depends on the training, so that lower "
        f"shares stand beside. {CLAIMED}",
        "",
        *ssa_tables.lined(["rank", *heads()], [[f"{share:g}", *totals(one)] for share, one in found.items()]),
        "",
        f"![Operations and memory by layer]({name})",
        "",
        f"Training by layer at {floor:g} of the full rank:",
        "",
        *by_layer(found[floor]),
        "",
        "Memory in training by kind at that rank, in MB:",
        "",
        *by_kind(settings, floor),
    ]


def at_ends(study: xr.Dataset) -> list[str]:
    """Return the lines of the table of a study's own factored conditions, at the ranks with which they ended."""
    rows = []
    for condition in figures.factored(study)[0]:
        settings = Settings.model_validate_json(json.dumps(figures.settings_of(study, condition)))
        rows.append([condition, *totals(against(settings, end_ranks(study, condition)))])
    said = (
        "One step and one inference at the mean ranks with which the runs ended, counted, beside BP, plain; the ratios "
        "in the table above are those of the first step, at the ranks before training."
    )
    return [said, "", *ssa_tables.lined(["condition", *heads()], rows)]


def end_ranks(study: xr.Dataset, condition: str) -> dict[str, int]:
    """Return the rank of each factored layer at the end, the mean over seeds."""
    values = per_condition(study.transpose("run", "epoch", "site", ...), "factor_rank", condition)
    ends = {str(site): ssa_tables.last_of(values[:, :, k]) for k, site in enumerate(study["site"].values)}
    return {site: round(float(held.mean())) for site, held in ends.items() if held.size}


def floor_of(settings: Settings, condition: str) -> float:
    """Return the share of the full rank at which the first part of a condition's schedule ends."""
    tables = [rule.options["schedule"] for rule in settings.rules.values() if "schedule" in rule.options]
    if not tables:
        raise InputError(f"condition '{condition}' has no rank schedule; give one whose rule has")
    return RankSchedule(**tables[0]).floor


def against(settings: Settings, ranks: float | dict[str, int]) -> xr.Dataset:
    """Return what a run's step and inference take at some ranks, beside backpropagation in the plain network."""
    return spending.against_plain_of(settings, *datasets.shape_of(settings.data.model_dump()), ranks)


def drawn(found: xr.Dataset, name: str) -> Figure:
    """Return the figure of training's operations and memory by layer, without rows that are empty in both."""
    held = sum(found[key].sum("side") for key in ("training_flops", "training_bytes"))
    some = found.isel(layer=np.flatnonzero(held.values > 0)).sel(side=["bp", "rule"])
    layers = some["layer"].values.astype(str).tolist()
    flops, memory = (
        dict(zip(("BP", name), some[f"training_{what}"].values, strict=True)) for what in ("flops", "bytes")
    )
    figure = figures.new_figure(figures.account_height(layers, 2))
    figures.account_by_layer(figure, layers, flops, memory)
    return figure


def heads() -> list[str]:
    """Return the head of the columns of `totals`."""
    return [cell for said, _ in COUNTED.values() for cell in (said, "of BP")]


def totals(found: xr.Dataset) -> list[str]:
    """Return the totals of a rule, each with its ratio to backpropagation's."""
    pairs = {key: found[f"{key}_total"] for key in COUNTED}
    return [
        cell
        for key, (_, size) in COUNTED.items()
        for cell in beside(float(pairs[key].sel(side="bp")), float(pairs[key].sel(side="rule")), size)[1:]
    ]


def by_layer(found: xr.Dataset) -> list[str]:
    """Return the lines of the table by layer."""
    rows = []
    for layer in found["layer"].values.astype(str):
        own = found.sel(layer=layer)
        pairs = [[float(own[key].sel(side=side)) for side in ("bp", "rule")] for key in COUNTED if "training" in key]
        if any(any(pair) for pair in pairs):
            rows.append([layer, *beside(*pairs[0], 1e6), *beside(*pairs[1], 1e6)])
    return ssa_tables.lined(["layer", "MFLOP, BP", "MFLOP, SSA", "of BP", "MB, BP", "MB, SSA", "of BP"], rows)


def by_kind(settings: Settings, share: float) -> list[str]:
    """Return the lines of the table of memory by kind."""
    held = spending.memory_of(settings, *datasets.shape_of(settings.data.model_dump()), share)
    ours, theirs = (account.table.sum("layer").to_series() for account in (held, held.backpropagation()))
    rows = [[str(kind), *beside(theirs[kind], ours[kind], 1e6)] for kind in ours.index]
    return ssa_tables.lined(["kind", "BP", "SSA", "of BP"], rows)


def beside(theirs: float, ours: float, size: float) -> list[str]:
    """Return two numbers in a unit, and the ratio of the second to the first where there is one."""
    return [f"{theirs / size:.2f}", f"{ours / size:.2f}", f"{ours / theirs:.2f}" if theirs else ""]

"""Studies of networks without receptive fields, made up to a stated recipe: accuracies, operations, settings."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import xarray as xr

PARTS = ("forward", "error", "weights", "feedback", "plasticity", "local", "svd", "optimiser")


@dataclass(frozen=True)
class Recipe:
    """One condition: its label, where it stands, the accuracy that it ends at, and its rules."""

    condition: str
    accuracy: float
    rule: str = "bp"
    rank: float = np.nan
    network: str = "mlp"
    width: float = 512.0
    depth: float = 3.0
    classes: float = np.nan
    sites: str = "*"
    options: tuple[tuple[str, object], ...] = ()

    @property
    def rules(self) -> dict[str, dict[str, object]]:
        """The rules as settings hold them."""
        if self.rule == "bp":
            return {}
        ranked = {} if np.isnan(self.rank) else {"rank": self.rank}
        return {self.sites: {"name": self.rule, **dict(self.options), **ranked}}


def all_rank(ranks=(64, 32, 16, 10)) -> list[Recipe]:
    """Return backpropagation wide and narrow, and every layer at each rank."""
    low = [Recipe(f"LDFA, r = {r}", 0.62 - 0.3 / r, "ldfa", float(r)) for r in ranks]
    return [Recipe("BP", 0.62), Recipe("BP, width 64", 0.57, width=64.0), *low]


def layerwise(layers=(1, 2, 3), ranks=(1, 2, 3, 4, 6, 10)) -> list[Recipe]:
    """Return backpropagation, and one layer at a time at each rank."""
    return [
        Recipe("BP", 0.62),
        *(
            Recipe(f"layer {k}, r = {r}", 0.63 - 0.05 * k / r, "ldfa", float(r), sites=f"hidden.{k}")
            for k in layers
            for r in ranks
        ),
    ]


def task_dimension(classes=(50, 75, 100), ranks=(10, 25, 50, 75)) -> list[Recipe]:
    """Return backpropagation and every rank for each number of classes."""
    found = []
    for count in classes:
        top = 0.5 - 0.001 * count
        found.append(Recipe(f"BP, {count} classes", top, classes=float(count)))
        found += [
            Recipe(f"LDFA, {count} classes, r = {r}", top * min(1, 0.5 + 0.5 * r / count), "ldfa", float(r),
                   classes=float(count))
            for r in ranks
        ]  # fmt: skip
    return found


def direct(ranks=(1, 2, 4, 8)) -> list[Recipe]:
    """Return backpropagation, DFA, and errors delivered from the output and from the penultimate layer."""
    sources = (("from the output", "output"), ("from the penultimate layer", "hidden.3"))
    return [
        Recipe("BP", 0.62),
        *(
            Recipe(f"{said}, r = {r}", 0.62 - 0.3 / r - 0.01 * n, "dldfa", float(r), options=(("source", port),))
            for n, (said, port) in enumerate(sources)
            for r in ranks
        ),
        Recipe("DFA", 0.5, "dfa"),
    ]


def vgg() -> list[Recipe]:
    """Return backpropagation and fractions of the channels."""
    low = [Recipe(f"r = n/{d}", 0.92 - 0.01 * d / 8, "normative", 1 / d, "vgg") for d in (2, 4, 8)]
    return [Recipe("BP", 0.925, network="vgg"), *low]


def widths() -> list[Recipe]:
    """Return ViTs of several widths at one rank."""
    return [Recipe(f"width {w}", 0.8 + w / 3840, "normative", 36.0, "vit", float(w)) for w in (384, 288, 192, 96)]


def resnets() -> list[Recipe]:
    """Return three networks by six rules, with no rank."""
    rules = ("bp", "fa", "dfa", "usf", "brsf", "frsf")
    return [
        Recipe(f"{network} {rule.upper()}", 0.9 - 0.05 * i, rule, network=network, depth=np.nan, width=np.nan)
        for network in ("lenet", "resnet20", "resnet56")
        for i, rule in enumerate(rules)
    ]


def make_network_run(recipe: Recipe, seed: int, epochs: int = 6, state: str = "done", diagnosed: int = 0) -> xr.Dataset:
    """Return one run's Dataset; its accuracy is the recipe's at the last epoch plus a thousandth a seed.

    An epoch costs 100 steps of backpropagation: 1 forward, 1 error, 1 weights, in GFLOP, of each of two layers; any
    other rule saves half of the error and adds a tenth of feedback. `diagnosed` edges have an angle.
    """
    learnt = np.append(1 - np.exp(-np.arange(epochs)), 1.0)
    final = recipe.accuracy + 0.001 * seed
    variables = {
        f"accuracy_{split}": ("epoch", 0.1 + (final - 0.1) * learnt) for split in ("train", "validation", "test")
    }
    variables |= {f"loss_{split}": ("epoch", 2.3 - 2.0 * learnt) for split in ("train", "validation", "test")}
    if state == "diverged":
        for name in variables:
            variables[name][1][3:] = np.nan
    bp = recipe.rule == "bp"
    step = np.array([1.0, 1.0, 1.0, 0, 0, 0, 0, 0.01]) if bp else np.array([1, 0.5, 1, 0.1, 0.1, 0, 0, 0.02])
    flops = 1e9 * np.stack([step, step])
    variables["flops"] = (("cost_layer", "part"), flops)
    variables["flops_epoch"] = ("epoch", 100 * flops.sum() * (np.arange(epochs + 1) > 0))
    variables["peak_memory"] = ((), 2.0**26)
    coords = {"epoch": np.arange(epochs + 1), "cost_layer": ["first", "second"], "part": list(PARTS)}
    if diagnosed:
        edges = [f"layer{k + 1}->layer{k}" for k in range(diagnosed)]
        falling = 90 - 40 * np.outer(learnt, np.ones(diagnosed)) + np.arange(diagnosed)
        variables["angle"] = (("epoch", "edge"), falling)
        variables["feedback_norm"] = (("epoch", "edge"), 1 + 0 * falling)
        coords["edge"] = edges
    settings = {
        "seed": seed,
        "data": {"name": "cifar10", "classes": None if np.isnan(recipe.classes) else recipe.classes},
        "network": {"name": recipe.network, "width": recipe.width, "depth": recipe.depth},
        "rules": recipe.rules,
        "train": {"epochs": epochs, "batch": 256, "optimiser": {"name": "adam", "learning_rate": 6e-4}},
    }
    stands = ("condition", "rule", "rank", "network", "depth", "width", "classes")
    attrs = {name: getattr(recipe, name) for name in stands} | {
        "bottleneck": np.nan,
        "seed": seed,
        "state": state,
        "name": f"{recipe.condition} {seed}",
        "settings": json.dumps(settings),
        "versions": json.dumps({"torch": "2.13.0"}),
        "hardware": json.dumps({"device": "cpu", "name": "a processor", "threads": 1, "precision": "fp32"}),
        "commit": "0123abc",
        "data_fingerprint": "cifar10 sha256:89abcdef",
        "data_source": "files",
        "seconds": 12.5,
        "epochs_done": epochs,
    }
    return xr.Dataset(variables, coords, attrs)


def make_network_study(
    recipes: list[Recipe], seeds: int = 3, diverged: tuple[tuple[str, int], ...] = (), **kwargs
) -> xr.Dataset:
    """Return a study of every recipe and seed in order, the named (condition, seed) diverged."""
    runs = []
    for recipe in recipes:
        for seed in range(seeds):
            state = "diverged" if (recipe.condition, seed) in diverged else "done"
            run = make_network_run(recipe, seed, state=state, **kwargs)
            runs.append(run.drop_attrs().assign_coords({name: ("run", [value]) for name, value in run.attrs.items()}))
    return xr.concat(
        runs, "run", join="outer", data_vars="all", coords="different", compat="equals", combine_attrs="drop"
    )

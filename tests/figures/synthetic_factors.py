"""Studies of factored layers, made up to a stated recipe: ranks that fall by a known step, drift, angles by edge."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr
from figures.synthetic_networks import Recipe, make_network_run

SITES = ("layer1", "layer2", "logits")  # of the MLP of two hidden layers
FULL = (512, 512, 10)
RULES = (
    *(("BP", "bp"), ("SVD-BP", "svd_bp"), ("FA", "fa"), ("DFA", "dfa"), ("uSF", "usf"), ("brSF", "brsf")),
    *(("DRTP", "drtp"), ("PEPITA", "pepita"), ("PredSim", "predsim"), ("AugLocal", "auglocal")),
    *(("SSA 2024", "ssa2024"), ("SSA 2025", "ssa2025")),
)
FACTORED = ("svd_bp", "ssa2024", "ssa2025")


def all_rules(network: str = "mlp") -> list[Recipe]:
    """Return the twelve rules of the convergence figure, each a hundredth below the one before."""
    return [Recipe(name, 0.62 - 0.01 * k, rule, network=network) for k, (name, rule) in enumerate(RULES)]


def ranks(epochs: int) -> np.ndarray:
    """Return the rank of each layer at each epoch, shape (epoch, site): a tenth of the full rank less an epoch."""
    fall = np.maximum(1 - 0.1 * np.arange(epochs + 1), 0.7)
    return np.ceil(np.outer(fall, FULL))


def with_factors(run: xr.Dataset, seed: int) -> xr.Dataset:
    """Return a run with its factored layers' rank, drift (1e-6 a step of epoch, times seed + 1) and Hoyer ratio."""
    rank = ranks(run.sizes["epoch"] - 1)
    epochs = np.arange(run.sizes["epoch"])[:, None]
    dims = ("epoch", "site")
    return run.assign_coords(site=list(SITES)).assign(
        factor_rank=(dims, rank),
        factor_drift=(dims, 1e-6 * (seed + 1) * 10.0**epochs * np.ones(len(SITES))),
        factor_hoyer=(dims, np.sqrt(rank) * 0.8),
    )


def with_angles(run: xr.Dataset, angles: tuple[float, ...], own: bool) -> xr.Dataset:
    """Return a run with an angle an edge that is the same at every epoch; `own` adds the output layer's, of 0."""
    edges = [f"output->layer{k}" for k in range(len(angles))] + (["output->logits"] if own else [])
    held = np.broadcast_to((*angles, *((0.0,) if own else ())), (run.sizes["epoch"], len(edges)))
    return run.assign_coords(edge=edges).assign(
        angle=(("epoch", "edge"), held), feedback_norm=(("epoch", "edge"), np.ones_like(held))
    )


def settings(recipe: Recipe, seed: int, epochs: int) -> str:
    """Return settings that rfmodel reads, of a network of the recipe's kind, as JSON."""
    sizes = {"width": 512, "depth": 2} if recipe.network == "mlp" else {}
    return json.dumps(
        {
            "seed": seed,
            "data": {"name": "cifar10", "colour": True},
            "network": {"name": recipe.network, **sizes},
            "rules": recipe.rules,
            "train": {"epochs": epochs, "batch": 128, "optimiser": {"name": "adam", "learning_rate": 1e-4}},
        }
    )


def make_rule_run(recipe: Recipe, seed: int, epochs: int = 6, state: str = "done") -> xr.Dataset:
    """Return one run under a rule: factored where the rule is, 30 degrees from BP under SSA, 70 and 80 under DFA."""
    run = make_network_run(recipe, seed, epochs, state).assign_attrs(settings=settings(recipe, seed, epochs))
    if recipe.rule in FACTORED:
        run = with_factors(run, seed)
    if recipe.rule.startswith("ssa"):
        run = with_angles(run, (25.0, 35.0), own=True)
    if recipe.rule == "dfa":
        run = with_angles(run, (70.0, 80.0), own=False)
    return run


def make_rule_study(
    recipes: list[Recipe], seeds: int = 2, diverged: tuple[tuple[str, int], ...] = (), epochs: int = 6
) -> xr.Dataset:
    """Return a study of every recipe and seed in order, the named (condition, seed) diverged."""
    runs = []
    for recipe in recipes:
        for seed in range(seeds):
            state = "diverged" if (recipe.condition, seed) in diverged else "done"
            run = make_rule_run(recipe, seed, epochs, state)
            runs.append(run.drop_attrs().assign_coords({name: ("run", [value]) for name, value in run.attrs.items()}))
    joined = xr.concat(
        runs, "run", join="outer", data_vars="all", coords="different", compat="equals", combine_attrs="drop"
    )
    return joined.sel(site=list(SITES)) if "site" in joined.dims else joined

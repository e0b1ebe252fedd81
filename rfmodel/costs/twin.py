"""Twins of a blueprint: the same network without factors under backpropagation, and the same rule at other ranks."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace

import torch

from rfmodel.costs.blueprint import Blueprint
from rfmodel.errors import InputError, one_of
from rfmodel.factors import factored, merge
from rfmodel.factors.splitting import whole_rank
from rfmodel.routing import Routed


def plain_twin(plan: Blueprint) -> Blueprint:
    """Return the plain network, its factors merged, under backpropagation."""
    network = merge(copy.deepcopy(plan.routed.network))
    with torch.device("meta"):
        images, _ = plan.batch(2)
        bare = Routed(network, {}, images)
    for module, own in zip(bare.network.modules(), plan.routed.network.modules(), strict=True):
        module.training = own.training
    return replace(plan, routed=bare)


def at_ranks(plan: Blueprint, ranks: float | Mapping[str, int | float]) -> Blueprint:
    """Return the blueprint with its factored layers, and all that goes with them, at lower ranks.

    Parameters
    ----------
    plan : Blueprint
    ranks : float or mapping of layer to int or float
        A whole number, or a fraction of the full rank; a float alone is for all. A rank above a layer's own is its own.

    Raises
    ------
    InputError
        If no layer is factored, one that is named is not, or a rank is none.
    """
    layers = factored(plan.routed.network)
    if not layers:
        raise InputError(f"ranks {ranks!r} asked, and no layer of the network is factored; leave them out")
    asked = ranks if isinstance(ranks, Mapping) else dict.fromkeys(layers, ranks)
    for name in asked:
        one_of("factored layer", name, layers)
    bare = copy.deepcopy(plan.routed)
    state = {}
    for name, layer in factored(bare.network).items():
        rank = min(whole_rank(asked.get(name, layer.rank), layer.full_rank), layer.rank)
        for part, factor in (("U", layer.U), ("S", layer.S), ("V", layer.V)):
            state[f"network.{name}.{part}"] = factor.detach()[..., :rank]
    bare.take_ranks(state)
    return replace(plan, routed=bare)

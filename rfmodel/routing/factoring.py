"""Factoring: which layers a rule trains in the space of their singular value decomposition, and by which local loss."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import nn

from rfmodel.errors import InputError, one_of
from rfmodel.factors import Factored, RankSchedule, factorise
from rfmodel.routing.cuts import teach
from rfmodel.routing.feedback import generator_for, uniform
from rfmodel.routing.local_loss import ALIGNS, PROJECT, LocalLoss, Weighing
from rfmodel.routing.ports import Edge, Port, Trace
from rfmodel.routing.topologies import is_glob

if TYPE_CHECKING:
    from rfmodel.routing.rules import Rule

START = ("random", "weights")
MOMENTS = ("keep", "reset")


@dataclass(frozen=True)
class Factors:
    """How the layers that a rule names are factored and trained.

    Parameters
    ----------
    taught : bool
        Whether the layers are those that the rule's edges teach; otherwise those that its pattern names.
    weighing : Weighing
    rank : int or float
        At the start: a number, or a fraction of the full rank.
    schedule : RankSchedule
    start : {"none", "random", "weights"}
        What the feedback matrix is: none; drawn by the law of the weights; the weights themselves.
    scale : float
        Factor on the spread of a random one.
    svd_iterations : int
    moments : {"keep", "reset"}
        What a fall of the rank does to the optimisers' moments.
    """

    taught: bool
    weighing: Weighing = field(default_factory=Weighing)
    rank: int | float = 1.0
    schedule: RankSchedule = field(default_factory=RankSchedule)
    start: str = "none"
    scale: float = 1.0
    svd_iterations: int = 2
    moments: str = "keep"

    def __post_init__(self) -> None:
        one_of("option start of factors:", self.start, ("none", *START))
        one_of("option moments of factors:", self.moments, MOMENTS)
        one_of("option project of their weighing:", self.weighing.project, PROJECT)
        one_of("option aligns of their weighing:", self.weighing.aligns, ALIGNS)


def factor(
    record: Trace, rules: Mapping[str, tuple[Rule, Sequence[Edge]]], seed: int, epochs: int | None
) -> dict[str, LocalLoss]:
    """Factor in place the layers of those rules that ask for it, and return the local loss of each, in order.

    Parameters
    ----------
    record : Trace
        Of the plain network.
    rules : mapping of site pattern to (rule, its edges)
    seed : int
    epochs : int or None
        Of the training, which a schedule of ranks needs.

    Raises
    ------
    InputError
        If a layer cannot be split, two rules would factor one, or a schedule's rank reaches nought.
    """
    losses: dict[str, LocalLoss] = {}
    for pattern, (rule, edges) in rules.items():
        if rule.factors is None:
            continue
        names = _names(record, pattern, rule.factors, edges)
        for name in names:
            if name in losses:
                raise InputError(
                    f"rules.\"{pattern}\": layer '{name}' is factored by another rule too; keep one of them"
                )
        plain = {name: record.layer(name).weight.detach() for name in names}
        try:
            factorise(record.network, names, rule.factors.rank)
            for name in names:
                losses[name] = _loss(record.layer(name), name, rule.factors, plain[name], seed, epochs)
        except InputError as error:
            raise InputError(f'rules."{pattern}": {error}') from None
    order = {name: place for place, name in enumerate(record.weighted)}
    return {name: losses[name] for name in sorted(losses, key=order.__getitem__)}


def _loss(layer: Factored, name: str, chosen: Factors, W: Tensor, seed: int, epochs: int | None) -> LocalLoss:
    try:
        chosen.schedule.check(epochs, layer.rank)
    except InputError as error:
        raise InputError(f"layer '{name}': {error}") from None
    B = None
    if chosen.start == "weights":
        B = layer.matrix().detach()
    elif chosen.start == "random":
        std = chosen.scale * (float(W.std()) if not W.is_meta and W.numel() > 1 else 1.0)
        B = uniform((len(layer.U), len(layer.V)), std, generator_for(seed, f"feedback factors of {name}"))
        B = B.to(layer.U)
    return LocalLoss(
        layer, chosen.weighing, chosen.schedule, epochs, B, chosen.svd_iterations, chosen.moments == "reset"
    )


def _names(record: Trace, pattern: str, chosen: Factors, edges: Sequence[Edge]) -> list[str]:
    if chosen.taught:
        by_port = units(record, [edge.target for edge in edges])
        return [name for name in record.weighted if any(name in unit for unit in by_port.values())]
    named = _named(record, pattern)
    names = [name for name in named if not (is_glob(pattern) and is_grouped(record.layer(name)))]
    if not names:
        raise InputError(
            f'rules."{pattern}": no layer with a weight that can be split fits: the network\'s are '
            f"{', '.join(record.weighted)}"
        )
    return names


def _named(record: Trace, pattern: str) -> list[str]:
    if is_glob(pattern):
        return [name for name in record.weighted if fnmatch.fnmatchcase(name, pattern)]
    return [name for name in record.weighted if name == pattern or name.startswith(f"{pattern}.")]


def is_grouped(layer: nn.Module) -> bool:
    """Whether a layer is a convolution in groups, which is left whole."""
    return isinstance(layer, nn.Conv2d) and layer.groups > 1


def units(record: Trace, targets: Sequence[Port]) -> dict[Port, list[str]]:
    """Return by target the layers that its error alone teaches and that can be split, in order of firing."""
    taught = teach(record, targets).by
    return {
        port: [name for name in record.weighted if taught.get(name) == {port} and not is_grouped(record.layer(name))]
        for port in targets
    }

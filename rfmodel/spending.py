"""Spending: what each epoch of a training costs, counted anew where a rank of feedback or of factors changes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
import xarray as xr

from rfmodel import costs
from rfmodel.building import blank
from rfmodel.errors import InputError
from rfmodel.factors import factored
from rfmodel.routing import Routed
from rfmodel.settings import OptimiserSettings, Settings, TrainSettings

Ranks = float | Mapping[str, int | float] | None


def costs_of(settings: Settings, image_shape: tuple[int, ...], classes: int, ranks: Ranks = None) -> costs.Account:
    """Return what a step of a run costs, from its settings alone.

    Parameters
    ----------
    settings : Settings
    image_shape : tuple of int
    classes : int
    ranks : float or mapping of factored layer to int or float, optional
        See `rfmodel.costs.account`; those at the start by default. Where no layer is factored there are none.

    Raises
    ------
    InputError
        If the settings cannot be built, or a user's own code looks at values.
    """
    routed, train = blank(settings, image_shape, classes), settings.train
    return costs.account(routed, train.batch, image_shape, operations_of(train), _of_factors(routed, ranks))


def memory_of(
    settings: Settings, image_shape: tuple[int, ...], classes: int, ranks: Ranks = None
) -> costs.MemoryAccount:
    """Return what a step of a run holds in memory, and its inference, from its settings alone; see `costs_of`."""
    routed, train = blank(settings, image_shape, classes), settings.train
    return costs.memory(routed, train.batch, image_shape, states_of(train), _of_factors(routed, ranks))


def against_plain_of(settings: Settings, image_shape: tuple[int, ...], classes: int, ranks: Ranks = None) -> xr.Dataset:
    """Return `rfmodel.costs.against_plain` of a run, from its settings alone; see `costs_of`."""
    routed, train = blank(settings, image_shape, classes), settings.train
    given = (operations_of(train), _of_factors(routed, ranks), states_of(train))
    return costs.against_plain(routed, train.batch, image_shape, *given)


def _of_factors(routed: Routed, ranks: Ranks) -> Ranks:
    return ranks if factored(routed.network) else None


def operations_of(train: TrainSettings) -> list[int]:
    """Return the operations on a parameter of the optimisers of weights and of feedback."""
    return [costs.operations(c.name, c.weight_decay, c.options) for c in (train.optimiser, feedback_of(train))]


def states_of(train: TrainSettings) -> list[int]:
    """Return how many numbers the optimisers of weights and of feedback remember of a parameter."""
    return [costs.states(c.name, c.options) for c in (train.optimiser, feedback_of(train))]


def feedback_of(train: TrainSettings) -> OptimiserSettings:
    """Return the optimiser of the feedback maps: the weights' own by default, without decay, which is the rule's."""
    return train.feedback or train.optimiser.model_copy(update={"weight_decay": 0.0})


class Spending:
    """The account of a training's epochs.

    Parameters
    ----------
    routed : Routed
    image_shape : tuple of int
    images : int
        Training images.
    train : TrainSettings

    Notes
    -----
    See `rfmodel.costs.account` for what is counted. Evaluation, diagnostics and fields are not.
    """

    def __init__(self, routed: Routed, image_shape: tuple[int, ...], images: int, train: TrainSettings) -> None:
        self.routed, self.image_shape, self.images, self.batch = routed, image_shape, images, train.batch
        self.operations = operations_of(train)
        self.first: costs.Account | None = None
        self._ranks: tuple[int | None, ...] | None = None
        self._flops = math.nan

    def of_epoch(self) -> float:
        """Return the operations of an epoch by the ranks in force; NaN where a user's own code looks at values."""
        ranked = (*self.routed.maps.values(), *factored(self.routed.network).values())
        ranks = tuple(part.rank for part in ranked)
        if ranks != self._ranks:
            self._ranks = ranks
            try:
                account = costs.account(self.routed, self.batch, self.image_shape, self.operations)
                self._flops = costs.per_epoch(account, self.images, self.batch)
                self.first = self.first or account
            except InputError:
                self._flops = math.nan
        return self._flops


@contextmanager
def peak_memory(device: torch.device) -> Iterator[costs.Peak]:
    """As `rfmodel.costs.peak_memory`; where a device or system keeps no such account, the peak stays unknown."""
    try:
        watched = costs.peak_memory(device)
        peak = watched.__enter__()
    except InputError:
        yield costs.Peak("unknown")
        return
    try:
        yield peak
    finally:
        watched.__exit__(None, None, None)

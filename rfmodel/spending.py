"""Spending: what each epoch of a training costs, counted anew where the rank of the feedback changes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from rfmodel import costs
from rfmodel.building import blank
from rfmodel.errors import InputError
from rfmodel.routing import Routed
from rfmodel.settings import OptimiserSettings, Settings, TrainSettings


def costs_of(settings: Settings, image_shape: tuple[int, ...], classes: int) -> costs.Account:
    """Return what a step of a run costs, from its settings alone.

    Raises
    ------
    InputError
        If the settings cannot be built, or a user's own code looks at values.
    """
    chosen = settings.train
    operations = [costs.operations(c.name, c.weight_decay, c.options) for c in (chosen.optimiser, feedback_of(chosen))]
    return costs.account(blank(settings, image_shape, classes), chosen.batch, image_shape, operations)


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
        choices = (train.optimiser, feedback_of(train))
        self.operations = [costs.operations(c.name, c.weight_decay, c.options) for c in choices]
        self.first: costs.Account | None = None
        self._ranks: tuple[int | None, ...] | None = None
        self._flops = math.nan

    def of_epoch(self) -> float:
        """Return the operations of an epoch by the ranks in force; NaN where a user's own code looks at values."""
        ranks = tuple(feedback.rank for feedback in self.routed.maps.values())
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

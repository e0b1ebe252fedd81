"""Spending: what each epoch of a training costs, counted anew where the rank of the feedback changes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from rfmodel import costs
from rfmodel.errors import InputError
from rfmodel.routing import Routed
from rfmodel.settings import OptimiserSettings


class Spending:
    """The account of a training's epochs.

    Parameters
    ----------
    routed : Routed
    image_shape : tuple of int
    images, batch : int
        Training images, and how many of them are in a step.
    choices : sequence of OptimiserSettings
        Of the weights, and of the feedback maps where there are any.

    Notes
    -----
    See `rfmodel.costs.account` for what is counted. Evaluation, diagnostics and fields are not.
    """

    def __init__(
        self, routed: Routed, image_shape: tuple[int, ...], images: int, batch: int, choices: list[OptimiserSettings]
    ) -> None:
        self.routed, self.image_shape, self.images, self.batch = routed, image_shape, images, batch
        self.operations = [costs.operations(c.name, c.weight_decay, c.options) for c in (choices * 2)[:2]]
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

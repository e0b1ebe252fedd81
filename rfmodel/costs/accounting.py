"""The account: FLOPs of a training step by layer and by part, from shapes alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from numbers import Integral

import numpy as np
import xarray as xr
from torch import nn

from rfmodel.costs.blueprint import Blueprint, blueprint
from rfmodel.costs.counter import counter
from rfmodel.costs.maps import between_steps, in_step
from rfmodel.costs.updates import both
from rfmodel.costs.walk import Walk, walk
from rfmodel.errors import InputError, one_of
from rfmodel.routing import Port, Routed

PARTS = ("forward", "error", "weights", "feedback", "plasticity", "svd", "optimiser")
REST = "rest"
Cells = dict[tuple[str, str], int | Fraction]


@dataclass(frozen=True)
class Account:
    """FLOPs of one training step.

    Parameters
    ----------
    batch : int
    layers : tuple of str
        The rows: weighted layers and other modules at which an error is delivered, in the order in which they are
        done, and "rest".
    step : dict of (layer, part) to int
        What the forward and the backward pass do: exact.
    between : dict of (layer, part) to Fraction
        What is done between passes, a step's share of it: optimiser, decompositions, noise through mirrors.
    """

    batch: int
    layers: tuple[str, ...]
    step: Cells
    between: Cells
    plan: Blueprint = field(repr=False, compare=False)
    operations: tuple[int, int] = field(default=(0, 0), repr=False)
    exact: bool = field(default=False, repr=False)

    @property
    def table(self) -> xr.DataArray:
        """FLOPs a step, dims (layer, part)."""
        values = np.zeros((len(self.layers), len(PARTS)))
        for cells in (self.step, self.between):
            for (layer, part), flops in cells.items():
                values[self.layers.index(layer), PARTS.index(part)] += float(flops)
        coords = {"layer": list(self.layers), "part": list(PARTS)}
        return xr.DataArray(values, coords, ("layer", "part"), "flops", {"units": "FLOPs a step", "batch": self.batch})

    def total(self, parts: Sequence[str] = PARTS) -> Fraction:
        """Return the FLOPs a step of some parts together, exactly; an unknown part is refused with InputError."""
        for part in parts:
            one_of("part", part, PARTS)
        cells = [*self.step.items(), *self.between.items()]
        return sum((Fraction(flops) for (_, part), flops in cells if part in parts), Fraction(0))

    def at(self, batch: int) -> Account:
        """Return the account of a step on another number of images."""
        return self if batch == self.batch else _made(self.plan, batch, self.operations, self.exact)

    def backpropagation(self) -> Account:
        """Return the account of the same network taught by backpropagation."""
        return _made(self.plan, self.batch, self.operations, exact=True)


def account(
    routed: Routed,
    batch: int,
    image_shape: Sequence[int],
    optimisers: str | int | Sequence[str | int] = "adam",
) -> Account:
    r"""Return what a training step of a routed network costs, by layer and by part.

    A multiply-add of a matrix product or convolution is 2 FLOPs, as FlopCounterMode counts. Element-wise operations,
    norms, pooling and products of a matrix with a vector are not counted, but for the optimiser's. Parts:

    - forward: W h
    - error: W^T delta, of the layers for which it is computed (not where nothing upstream learns, nor at a cut)
    - weights: delta h^T, where the weight (or a map that hears its gradient) learns
    - feedback: delivery by the maps, B delta
    - plasticity: what the maps learn by, amortised over its interval where it is done between steps
    - svd: truncated decompositions of weights, by formula (see `randomised_svd`, `exact_svd`), amortised over
      `refactor_every`; that at initialisation is not counted
    - optimiser: element-wise operations on each parameter that gets a gradient, see `operations`

    The first three are closed forms for Linear and Conv2d layers, each 2 |output| (fan in). Row "rest" holds what is
    done in no such layer (attention's products, forward and, under "error", the whole of their backward pass), as
    the counter saw it there. Maps are run alone, on the shapes of their edge.

    Parameters
    ----------
    routed : Routed
        On any device. It is only read: a copy without values is walked through on the meta device.
    batch : int
        Images in a step.
    image_shape : tuple of int
        Without the batch.
    optimisers : str or int, or two of them
        Name of the optimiser of weights and of feedback maps, or its operations on a parameter.

    Returns
    -------
    Account

    Raises
    ------
    InputError
        If the batch is below 1, the images do not pass the network, or something looks at values.

    Notes
    -----
    Ranks are those in force now: a schedule of ranks needs an account for each, and what it does before an epoch is
    not counted. Nor is what activation checkpointing computes a second time. See `check`.
    """
    positive("batch", batch)
    return _made(blueprint(routed, image_shape), batch, both(optimisers))


def positive(what: str, number: object) -> None:
    """Refuse what is no whole number from 1."""
    if isinstance(number, bool) or not isinstance(number, Integral) or number < 1:
        raise InputError(f"{what} {number!r} is impossible; use a whole number from 1")


def _made(plan: Blueprint, batch: int, operations: tuple[int, int], exact: bool = False) -> Account:
    positive("batch", batch)
    found = walk(plan, batch, exact)
    step, between = _passes(found), {}
    for edge in found.edges:
        row = edge.target.module
        _add(step, row, in_step(plan, edge, found))
        _add(between, row, between_steps(edge, plan.routed.maps[edge], found))
    _optimise(between, plan.routed, {call.layer for call in found.calls}, operations)
    order = plan.routed.order
    named = dict.fromkeys([*(call.layer for call in found.calls), *(edge.target.module for edge in found.edges)])
    layers = sorted(named, key=lambda name: order.get(Port(name, "output"), len(order)))
    return Account(batch, (*layers, REST), step, between, plan, operations, exact)


def _passes(found: Walk) -> Cells:
    cells: Cells = {(REST, "forward"): found.rest_forward, (REST, "error"): found.rest_backward}
    for call in found.calls:
        done = {"forward": True, "error": call.hands_on, "weights": call.learns}
        _add(cells, call.layer, {part: call.products * is_done for part, is_done in done.items()})
    return cells


def _add(cells: Cells, row: str, costs: dict[str, int | Fraction]) -> None:
    for part, flops in costs.items():
        cells[row, part] = cells.get((row, part), 0) + flops


def _optimise(cells: Cells, routed: Routed, layers: set[str], operations: tuple[int, int]) -> None:
    """Book the updates of all parameters that the pass has given a gradient."""
    for name, p in routed.network.named_parameters():
        if p.grad is not None:
            # A parametrization's tensors are named below their layer.
            owners = [layer for layer in layers if name.startswith(f"{layer}." if layer else "")]
            _add(cells, max(owners, key=len, default=REST), {"optimiser": operations[0] * p.numel()})
    for edge, feedback in routed.maps.items():
        learnt = sum(p.numel() for p in feedback.parameters() if p.grad is not None)
        count = operations[0 if feedback.learns_as_weights else 1]
        if learnt:
            _add(cells, edge.target.module, {"optimiser": count * learnt})


def counted(routed: Routed, batch: int, image_shape: Sequence[int]) -> int:
    """Return what a FlopCounterMode counts of one training step, cross-entropy and all, on the meta device."""
    positive("batch", batch)
    plan = blueprint(routed, image_shape)
    images, labels = plan.batch(batch)
    with plan.stepping(batch), counter() as count:
        nn.functional.cross_entropy(plan.routed(images, labels), labels).backward()
    return count.get_total_flops()


def check(routed: Routed, batch: int, image_shape: Sequence[int]) -> int:
    """Return the FLOPs of a step's passes, on which the account and a counter of one whole step agree to the unit.

    Raises
    ------
    InputError
        If they differ: something is computed that is no part of the account, as activations anew at checkpoints.
    """
    ours = sum(account(routed, batch, image_shape).step.values())
    theirs = counted(routed, batch, image_shape)
    if ours != theirs:
        raise InputError(
            f"the account adds up to {ours} FLOPs a step and FlopCounterMode counts {theirs}; account for a network "
            "without recomputation, whose maps cost the same each time"
        )
    return ours

"""The account: FLOPs of a training step by layer and by part, from shapes alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import xarray as xr
from torch import nn

from rfmodel.costs.asked import positive
from rfmodel.costs.blueprint import Blueprint, blueprint
from rfmodel.costs.counter import counter
from rfmodel.costs.maps import between_steps, in_step, retractions
from rfmodel.costs.rows import REST, beside, owner, rows_of, tabled
from rfmodel.costs.twin import at_ranks, plain_twin
from rfmodel.costs.updates import both
from rfmodel.costs.walk import Walk, walk
from rfmodel.errors import InputError, one_of
from rfmodel.factors import factored
from rfmodel.routing import Routed

PARTS = ("forward", "error", "weights", "feedback", "plasticity", "local", "svd", "optimiser")
Cells = dict[tuple[str, str], int | Fraction]


@dataclass(frozen=True)
class Account:
    """FLOPs of one training step.

    Parameters
    ----------
    batch : int
    layers : tuple of str
        The rows: weighted layers and other modules at which an error is delivered or a head stands, in the order in
        which they are done, and "rest".
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
        return tabled("flops", "FLOPs a step", "part", PARTS, self.layers, self.batch, self.step, self.between)

    @property
    def ranks(self) -> dict[str, tuple[int, int]]:
        """The rank and the full rank of each factored layer."""
        layers = factored(self.plan.routed.network)
        return {name: (layer.rank, layer.full_rank) for name, layer in layers.items()}

    @property
    def inference(self) -> dict[str, int]:
        """FLOPs of one forward pass of the network alone, by layer."""
        used, found = walk(self.plan, self.batch, exact=True), dict.fromkeys(self.layers, 0)
        for call in used.calls:
            found[call.layer] += call.products.forward
        return found | {REST: used.rest_forward}

    def total(self, parts: Sequence[str] = PARTS) -> Fraction:
        """Return the FLOPs a step of some parts together, exactly; an unknown part is refused with InputError."""
        for part in parts:
            one_of("part", part, PARTS)
        cells = [*self.step.items(), *self.between.items()]
        return sum((Fraction(flops) for (_, part), flops in cells if part in parts), Fraction(0))

    def at(self, batch: int) -> Account:
        """Return the account of a step on another number of images."""
        return self if batch == self.batch else account_of(self.plan, batch, self.operations, self.exact)

    def backpropagation(self) -> Account:
        """Return the account of the same network, plain where it is factored, taught by backpropagation."""
        if factored(self.plan.routed.network):
            return account_of(plain_twin(self.plan), self.batch, self.operations)
        return account_of(self.plan, self.batch, self.operations, exact=True)


def account(
    routed: Routed,
    batch: int,
    image_shape: Sequence[int],
    optimisers: str | int | Sequence[str | int] = "adam",
    ranks: float | Mapping[str, int | float] | None = None,
) -> Account:
    r"""Return what a training step of a routed network costs, by layer and by part.

    A multiply-add of a matrix product or convolution is 2 FLOPs, as FlopCounterMode counts. Element-wise operations,
    norms, pooling and products of a matrix with a vector are not counted, but for the optimiser's. Parts:

    - forward: W h
    - error: W^T delta, of the layers for which it is computed (not where nothing upstream learns, nor at a cut)
    - weights: delta h^T, where the weight (or a map that hears its gradient) learns
    - feedback: delivery by the maps, B delta
    - plasticity: what the maps learn by, amortised over its interval where it is done between steps
    - local: local losses. Of factored layers, the gradients of orthogonality and the projections of gradients, and QR
      retractions by formula, amortised over `retract_every`. Heads, forward and backward, in the row where they stand
    - svd: truncated decompositions of weights, by formula (see `randomised_svd`, `exact_svd`), amortised over
      `refactor_every`; that at initialisation is not counted
    - optimiser: element-wise operations on each parameter that gets a gradient, see `operations`

    The first three are closed forms for Linear and Conv2d layers, each 2 |output| (fan in), and of both factors of
    factored ones (see `products_of`); a rule whose step makes a second forward pass has both under forward. Row "rest"
    holds what is done in no such layer (attention's products, forward and, under "error", the whole of their backward
    pass), as the counter saw it there. Maps are run alone, on the shapes of their edge.

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
    ranks : float or mapping of factored layer to int or float, optional
        Ranks in place of those in force, which they cannot exceed; a fraction is one of the full rank.

    Returns
    -------
    Account

    Raises
    ------
    InputError
        If the batch is below 1, the images do not pass the network, something looks at values, or a rank is asked for
        a layer that is not factored.

    Notes
    -----
    Ranks are those in force now unless told: a schedule of ranks needs an account for each, and what it does before an
    epoch (spectra, cuts) is not counted. Nor is what activation checkpointing computes a second time. See `check`.
    """
    positive("batch", batch)
    plan = blueprint(routed, image_shape)
    return account_of(plan if ranks is None else at_ranks(plan, ranks), batch, both(optimisers))


def account_of(plan: Blueprint, batch: int, operations: tuple[int, int], exact: bool = False) -> Account:
    """Return the account of a blueprint."""
    positive("batch", batch)
    found = walk(plan, batch, exact)
    step, between = _passes(found), {}
    for edge in found.edges:
        row = edge.target.module
        _add(step, row, in_step(plan, edge, found))
        _add(between, row, between_steps(edge, plan.routed.maps[edge], found))
    _optimise(between, plan.routed, {call.layer for call in found.calls}, operations)
    for name, loss in plan.routed.losses.items():
        _add(between, name, retractions(loss))
    calls = [call.layer for call in found.calls]
    layers = rows_of(plan.routed, calls, [*(edge.target.module for edge in found.edges), *found.local])
    return Account(batch, layers, step, between, plan, operations, exact)


def _passes(found: Walk) -> Cells:
    rest = {"forward": found.rest_forward, "error": found.rest_backward, "feedback": found.rest_feedback}
    cells: Cells = {(REST, part): flops for part, flops in rest.items()}
    for row, flops in found.local.items():
        _add(cells, row, {"local": flops})
    for call in found.calls:
        _add(cells, call.layer, call.products._asdict())
    return cells


def _add(cells: Cells, row: str, costs: dict[str, int | Fraction]) -> None:
    for part, flops in costs.items():
        cells[row, part] = cells.get((row, part), 0) + flops


def _optimise(cells: Cells, routed: Routed, layers: set[str], operations: tuple[int, int]) -> None:
    """Book the updates of all parameters that the pass has given a gradient."""
    for name, p in routed.network.named_parameters():
        if p.grad is not None:
            _add(cells, owner(name, layers), {"optimiser": operations[0] * p.numel()})
    for row, module, as_weights in beside(routed):
        learnt = sum(p.numel() for p in module.parameters() if p.grad is not None)
        if learnt:
            _add(cells, row, {"optimiser": operations[0 if as_weights else 1] * learnt})


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

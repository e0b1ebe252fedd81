"""The memory account: bytes of training and of inference by layer and by kind, from shapes alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from torch import Tensor

from rfmodel.costs.asked import positive
from rfmodel.costs.blueprint import Blueprint, blueprint
from rfmodel.costs.living import living
from rfmodel.costs.rows import REST, beside, owner, rows_of, tabled
from rfmodel.costs.saved import Saved, saved
from rfmodel.costs.twin import at_ranks, plain_twin
from rfmodel.costs.updates import both, states
from rfmodel.errors import one_of
from rfmodel.routing import Routed

KINDS = ("parameters", "gradients", "optimiser", "feedback", "activations")
Cells = dict[tuple[str, str], int]


@dataclass(frozen=True)
class MemoryAccount:
    """Bytes of one training step, and of inference.

    Parameters
    ----------
    batch : int
    layers : tuple of str
        The rows, as in `Account`.
    training : dict of (layer, kind) to int
    units : dict of layer to int
        Bytes of activations of each stretch between two places where the graph is cut, by its first layer.
    inference : dict of (layer, "parameters" or "activations") to int
        Activations: the most that lives at once while the layer, or an unweighted module after it, runs.
    """

    batch: int
    layers: tuple[str, ...]
    training: Cells
    units: dict[str, int]
    inference: Cells
    plan: Blueprint = field(repr=False, compare=False)
    states: tuple[int, int] = field(default=(0, 0), repr=False)

    @property
    def table(self) -> xr.DataArray:
        """Bytes in training, dims (layer, kind)."""
        return tabled("bytes", "bytes", "kind", KINDS, self.layers, self.batch, self.training, dtype=np.int64)

    @property
    def inference_table(self) -> xr.DataArray:
        """Bytes in inference, dims (layer, kind)."""
        kinds = ("parameters", "activations")
        return tabled("bytes", "bytes", "kind", kinds, self.layers, self.batch, self.inference, dtype=np.int64)

    def total(self, kinds: Sequence[str] = KINDS) -> int:
        """Return the bytes in training of some kinds together; an unknown kind is refused with InputError."""
        for kind in kinds:
            one_of("kind", kind, KINDS)
        return sum(size for (_, kind), size in self.training.items() if kind in kinds)

    def total_inference(self) -> int:
        """Return the bytes in inference: all parameters, and the most that lives at once."""
        lives = [size for (_, kind), size in self.inference.items() if kind == "activations"]
        return sum(self.inference.values()) - sum(lives) + max(lives, default=0)

    @property
    def largest_unit(self) -> int:
        """Bytes of the activations of the largest unit: what one that runs and learns unit by unit would keep of them.

        To free a unit's before the next one runs, its error must be at hand by then: with a local head it is, and so
        this engine does it; with an error from the network's output or from the layer above it comes later, and the
        unit would have to be run a second time: all units' are kept until the backward pass.
        """
        return max(self.units.values(), default=0)

    @property
    def at_once(self) -> int:
        """Bytes in training that are held at once, by an eager step of one process.

        All kinds, but of activations those of the largest unit alone where units learn from losses of their own as they
        end (`Routed.freeing_units`), and not what the loss keeps of the logits. The table has what each layer keeps, at
        whatever time: its sum is greater then.
        """
        kept = self.total(("activations",))
        return self.total() - kept + (self.largest_unit if self.plan.routed.frees_units else kept)

    def backpropagation(self) -> MemoryAccount:
        """Return the account of the plain network, its factors merged, taught by backpropagation."""
        return memory_of(plain_twin(self.plan), self.batch, self.states)


def memory(
    routed: Routed,
    batch: int,
    image_shape: Sequence[int],
    optimisers: str | int | Sequence[str | int] = "adam",
    ranks: float | Mapping[str, int | float] | None = None,
) -> MemoryAccount:
    """Return what a training step of a routed network, and its inference, hold in memory, by layer and by kind.

    - parameters: the network's, local heads' too, and buffers (the moments of norms)
    - gradients: of every parameter, or feedback weight, that gets one
    - optimiser: what it remembers of each of these, see `states`
    - feedback: the feedback maps, learnt or not, and the feedback factors of local losses
    - activations: what autograd keeps of the forward pass for the backward pass, parameters left out. Each storage
      counts once, for the layer that made it, itself or by an unweighted module after it. Indices of maxima, masks and
      the images are part of it

    Row "rest" holds what the loss keeps, and parameters of modules before the first layer.

    Parameters
    ----------
    routed : Routed
        On any device. It is only read: a copy without values is walked through on the meta device.
    batch : int
        Images in a step; at least 2 where batch norm would else take moments over one number.
    image_shape : tuple of int
        Without the batch.
    optimisers : str or int, or two of them
        Name of the optimiser of weights and of feedback maps, or how many numbers it remembers of a parameter.
    ranks : float or mapping of factored layer to int or float, optional
        As of `account`.

    Returns
    -------
    MemoryAccount

    Raises
    ------
    InputError
        If the batch is below 1, the images do not pass the network, something looks at values, or a rank is asked for
        a layer that is not factored.

    Notes
    -----
    What lives for the length of one operation only (an error on its way back, a kernel's workspace) is not counted,
    nor what a library or an allocator keeps; `peak_memory` measures all of it. Activations are those of the meta
    device, whose operations keep what the processor's do; a GPU's may keep other things (a mask of dropout in bytes,
    sums of a softmax in place of attention maps), and in bf16 half of it.

    The parameters of a factored layer are r (m + n + 1) numbers: Roy et al. (SSA), eqs. 13 and 15, which count S as
    r x r where it is diagonal. Their account leaves activations out, through both factors the larger part.
    """
    positive("batch", batch)
    plan = blueprint(routed, image_shape, training=True)
    return memory_of(plan if ranks is None else at_ranks(plan, ranks), batch, both(optimisers, states))


def memory_of(plan: Blueprint, batch: int, remembered: tuple[int, int]) -> MemoryAccount:
    """Return the memory account of a blueprint whose norms are in training."""
    used = living(plan, batch)  # before the step, whose gradients are looked at
    routed, found = plan.routed, saved(plan, batch)
    own = {edge.target.module for edge in routed.edges} | {port.module for port in routed.cuts}
    training: Cells = {}
    for layer, size in found.activations.items():
        _add(training, layer or REST, "activations", size)
    inference: Cells = {(layer or REST, "activations"): size for layer, size in used.items()}
    for row, tensor in _of_network(routed, found):
        _add(inference, row, "parameters", tensor.nbytes)
        _hold(training, row, "parameters", tensor, remembered[0])
    heads = set(routed.heads.values())
    for row, module, as_weights in beside(routed):
        for tensor in (*module.parameters(), *module.buffers()):
            kind = "parameters" if module in heads else "feedback"
            _hold(training, row, kind, tensor, remembered[0 if as_weights else 1])
    return MemoryAccount(batch, rows_of(routed, found.layers, own), training, found.units, inference, plan, remembered)


def _of_network(routed: Routed, found: Saved) -> Iterator[tuple[str, Tensor]]:
    """Yield each parameter and buffer of the network once, with the row of the module that has it."""
    seen: set[int] = set()
    for name, module in routed.network.named_modules():
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            if id(tensor) not in seen:
                seen.add(id(tensor))
                yield found.places.get(name) or owner(f"{name}.", found.layers), tensor


def _hold(cells: Cells, row: str, kind: str, tensor: Tensor, remembered: int) -> None:
    _add(cells, row, kind, tensor.nbytes)
    if tensor.grad is not None:
        _add(cells, row, "gradients", tensor.nbytes)
        _add(cells, row, "optimiser", remembered * tensor.nbytes)


def _add(cells: Cells, row: str, kind: str, size: int) -> None:
    cells[row, kind] = cells.get((row, kind), 0) + size

"""Observing: what one backward pass does, seen without leaving a trace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from rfmodel.routing.ports import Edge, Port

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Observation:
    """What one backward pass did.

    Parameters
    ----------
    signals : dict of Port to Tensor
        Total error delivered at each target, shaped like the activity there.
    gradients : dict of str to Tensor
        Gradients of the network's parameters; those that none reaches are absent.
    arriving, delivered : dict of Edge to Tensor
        Error at each edge's source, and what that edge alone delivered; empty for the true errors.
    """

    signals: dict[Port, Tensor] = field(default_factory=dict)
    gradients: dict[str, Tensor] = field(default_factory=dict)
    arriving: dict[Edge, Tensor] = field(default_factory=dict)
    delivered: dict[Edge, Tensor] = field(default_factory=dict)

    def note(self, edge: Edge, delta: Tensor, sent: Tensor) -> None:
        """Take down what one edge read and delivered."""
        self.arriving[edge], self.delivered[edge] = delta, sent


def take(
    found: Observation,
    routed: nn.Module,
    live: dict[Port, Tensor],
    run: Callable[[], Tensor],
    loss: Callable[[Tensor], Tensor],
) -> None:
    """Take down the errors and the gradients of one pass.

    Parameters
    ----------
    found : Observation
    routed : nn.Module
        Its network's parameters are those whose gradients are taken.
    live : dict of Port to Tensor
        Which the pass fills with the activities at its targets.
    run : callable
        The forward pass.
    loss : callable of the output
    """
    kept = {name: buffer.clone() for name, buffer in routed.named_buffers()}
    named = {name: p for name, p in routed.network.named_parameters() if p.requires_grad}
    devices = {p.device for p in named.values() if p.is_cuda}
    try:
        with torch.enable_grad(), torch.random.fork_rng(devices):
            output = run()
            gradients = torch.autograd.grad(loss(output), [*live.values(), *named.values()], allow_unused=True)
    finally:
        for name, buffer in routed.named_buffers():
            buffer.data.copy_(kept[name])  # by .data: a graph that waits for its backward pass may have saved it
    found.signals = {port: delta for port, delta in zip(live, gradients, strict=False) if delta is not None}
    rest = zip(named, gradients[len(live) :], strict=True)
    found.gradients = {name: gradient for name, gradient in rest if gradient is not None}

"""Averaging: a moving average of a network's weights over its steps, to be judged in their place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from rfmodel.errors import InputError


class Average:
    r"""Exponential moving average of a network's weights and of its norms' running statistics.

    .. math:: \bar w_t = \beta_t \bar w_{t-1} + (1 - \beta_t) w_t, \quad \beta_t = \min(\beta, (1 + t) / (10 + t))

    The smaller factor of the first steps lets the average forget the initial weights.

    Parameters
    ----------
    network : Module
    decay : float
        beta, the factor of a step.

    Notes
    -----
    Polyak & Juditsky (1992); Izmailov et al. (2018).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network, self.decay, self.steps = network, decay, 0
        self.values = [tensor.detach().clone() for tensor in self._tensors()]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are after a step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.values, self._tensors(), 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within it, the network has the average for its weights."""
        self.exchange()
        try:
            yield
        finally:
            self.exchange()

    @torch.no_grad()
    def exchange(self) -> None:
        """Let the network's weights and their average change places."""
        for tensor, value in zip(self._tensors(), self.values, strict=True):
            kept = tensor.clone()
            tensor.copy_(value)
            value.copy_(kept)

    def state_dict(self) -> dict:
        """Return the average, and over how many steps it is one."""
        return {"steps": self.steps, "values": self.values}

    @torch.no_grad()
    def load_state_dict(self, state: dict) -> None:
        """Take over an average of a network of this form.

        Raises
        ------
        InputError
            If it is of another.
        """
        steps, values = state["steps"], list(state["values"])
        found, asked = ([(tuple(t.shape), t.dtype) for t in tensors] for tensors in (values, self.values))
        if type(steps) is not int or steps < 0 or found != asked:
            raise InputError(
                f"a moving average over {steps!r:.20} steps of {len(found)} tensors is not one of this network, of "
                f"{len(asked)} tensors; take that of a network of this form"
            )
        self.steps = steps
        for value, taken in zip(self.values, values, strict=True):
            value.copy_(taken)

    def _tensors(self) -> list[Tensor]:
        held = [p.detach() for p in self.network.parameters()]
        return held + [b for b in self.network.buffers() if b.is_floating_point()]

"""Parts: one layer that makes several things at once, each with a feedback map of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rfmodel.routing.feedback import Feedback, Step, can_tap_weight
from rfmodel.routing.geometry import Linear
from rfmodel.routing.low_rank import LowRank, Spread


class Rows:
    """Some rows of a layer's weight, seen as a layer."""

    def __init__(self, layer: nn.Module, start: int, stop: int) -> None:
        self.layer, self.start, self.stop = layer, start, stop
        self._parameters: dict[str, nn.Parameter] = {}

    @property
    def weight(self) -> Tensor:
        return self.layer.weight[self.start : self.stop]


class Parts(Feedback):
    r"""Low-rank maps side by side: each reads its own channels of the error, and what they deliver is added up.

    .. math:: \delta_l = \sum_i Q_i P_i\, \delta^{(i)}_{l'}

    Three parts of a fused `qkv` layer are what three separate layers for queries, keys and values have.

    Parameters
    ----------
    maps : sequence of LowRank
        Of Linear geometry, one n for all.
    layer : nn.Linear
        The fused layer.
    """

    def __init__(self, maps: Sequence[LowRank], layer: nn.Module) -> None:
        geometry = Linear(sum(part.geometry.m for part in maps), maps[0].geometry.n)
        super().__init__(geometry, layer)
        self.parts = nn.ModuleList(maps)
        first = maps[0]
        self.watches_weight, self.advances = first.watches_weight, first.advances
        self.learns_from_gradient = can_tap_weight(geometry, layer) and (
            first.learn_Q == "hebbian" or first.learn_P == "kolen_pollack"
        )
        for part in maps:
            part.learns_from_gradient = self.learns_from_gradient

    @property
    def maps(self) -> tuple[nn.Parameter, ...]:
        return tuple(factor for part in self.parts for factor in part.maps)

    @property
    def rank(self) -> int:
        return sum(part.rank for part in self.parts)

    @property
    def P(self) -> Tensor:
        """(r, m), zero where a part does not hear a channel."""
        return torch.block_diag(*(part.P[: part.rank] for part in self.parts))

    @property
    def Q(self) -> Tensor:
        """(r, n)"""
        return torch.cat([part.Q[: part.rank] for part in self.parts])

    def _split(self, x: Tensor, dim: int) -> Sequence[Tensor]:
        return x.split([part.geometry.m for part in self.parts], dim)

    def carry(self, delta: Tensor, like: Tensor, *given: Tensor) -> Tensor:
        return self.deliver(delta, like, None, *given)[0]

    def deliver(self, delta: Tensor, like: Tensor, step: Step | None, *given: Tensor) -> tuple[Tensor, Tensor]:
        factors = [part._active(*given[2 * i : 2 * i + 2]) for i, part in enumerate(self.parts)]
        errors = self._split(delta, -1)
        y = torch.cat([nn.functional.linear(d, P.to(d.dtype)) for (_, P), d in zip(factors, errors, strict=True)], -1)
        carried = self.geometry.adjoint(torch.cat([Q for Q, _ in factors]).to(delta.dtype), y, like)
        bound = self.parts[0].clip_signal
        return (carried if bound is None else carried.clamp(-bound, bound)), y

    def plasticity(
        self, delta: Tensor, y: Tensor, activity: Tensor, step: Step, *given: Tensor
    ) -> Sequence[Tensor | None]:
        learnt: list[Tensor | None] = []
        heard = y.split([part.rank for part in self.parts], -1)
        weights = self._split(given[-1], 0) if self.watches_weight else [None] * len(self.parts)
        spreads = self._spreads(delta)
        for i, (part, error) in enumerate(zip(self.parts, self._split(delta, -1), strict=True)):
            own = given[2 * i : 2 * i + 2] + ((weights[i],) if self.watches_weight else ())
            learnt += part.plasticity(error, heard[i], activity, step, *own, spread=spreads[i])
        return learnt

    def _spreads(self, delta: Tensor) -> list[Spread | None]:
        if not self.parts[0].centres:
            return [None] * len(self.parts)
        mean, variance, count = self.geometry.spread(delta)  # of all at once: a part's own channels lie apart in memory
        return [(m, v, count) for m, v in zip(self._split(mean, 0), self._split(variance, 0), strict=True)]

    def from_gradient(self, dW: Tensor, step: Step, *maps: Tensor) -> Sequence[Tensor | None]:
        learnt: list[Tensor | None] = []
        for i, (part, own) in enumerate(zip(self.parts, self._split(dW, 0), strict=True)):
            learnt += part.from_gradient(own, step, *maps[2 * i : 2 * i + 2])
        return learnt

    def advance(self, step: int, optimisers: Sequence[torch.optim.Optimizer]) -> None:
        for part in self.parts:
            part.advance(step, optimisers)

    def start_epoch(self, epoch: int, optimisers: Sequence[torch.optim.Optimizer]) -> None:
        for part in self.parts:
            part.start_epoch(epoch, optimisers)

    def effective(self) -> Tensor:
        return torch.cat([part.effective() for part in self.parts])

    @torch.no_grad()
    def rescale(self, factor: Tensor | float) -> None:
        for part in self.parts:
            part.rescale(factor)
        self.gain.mul_(factor)

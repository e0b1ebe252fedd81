"""Feedback that follows the weights it runs against: by their signs, by their own gradient, or by mirrored noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import sqrt

import torch
from torch import Tensor, nn

from rfmodel.routing.feedback import Feedback, FullRank, Step, can_tap_weight, generator_for, needs_layer, uniform
from rfmodel.routing.geometry import Convolution, Geometry


class Signs(Feedback):
    r"""Sign-concordant feedback (Liao, Leibo & Poggio 2016): the weights' signs, other magnitudes.

    .. math:: B = M \odot \operatorname{sign}(W)

    Parameters
    ----------
    geometry : Linear or Convolution
    std : float
        Standard deviation of the law that the weights start from.
    seed : int
    name : str
        The edge's; magnitudes are drawn from (seed, name).
    layer : nn.Module
    magnitudes : {"uniform", "fixed", "batchwise"}
        M is one number (uSF), drawn once (frSF), or drawn anew before each update (brSF) as |R| with R of the law
        of the weights.
    scale : float
        uSF's number, or a factor on |R|.
    """

    watches_weight = True

    def __init__(
        self,
        geometry: Geometry,
        std: float,
        seed: int,
        name: str,
        layer: nn.Module | None,
        magnitudes: str = "uniform",
        scale: float = 1.0,
    ) -> None:
        super().__init__(
            geometry, needs_layer(layer, {"uniform": "usf", "fixed": "frsf"}.get(magnitudes, "brsf"), name)
        )
        self.std, self.scale, self._draw = std, scale, (seed, name)
        self.advances = magnitudes == "batchwise"
        if magnitudes == "uniform":
            M = torch.full((), float(scale))
        else:
            M = uniform(geometry.own_shape, std, generator_for(seed, name)).abs() * scale
        self.M = nn.Parameter(M, requires_grad=False)

    def carry(self, delta: Tensor, like: Tensor, M: Tensor, W: Tensor) -> Tensor:
        # W comes detached: no error flows into the weights by way of their signs.
        return self.geometry.adjoint((W.sign() * M).to(delta.dtype), delta, like)

    @torch.no_grad()
    def advance(self, step: int, optimisers: Sequence[torch.optim.Optimizer]) -> None:
        """Draw the magnitudes of the next update, from the seed, the edge and the step alone."""
        if self.advances:
            seed, name = self._draw
            generator = generator_for(seed, f"{name}@{step}", self.M.device)
            bound = sqrt(3) * self.std * self.scale
            self.M.uniform_(-bound, bound, generator=generator).abs_().mul_(self.gain)

    def effective(self) -> Tensor:
        return self.geometry.dense(self.layer.weight.detach().sign() * self.M.detach())


class KolenPollack(FullRank):
    r"""Kolen & Pollack (1994), Akrout et al. (2019): B gets the update of the weights.

    .. math:: \nabla_B = \sum \delta h^\top = \nabla_W

    With the same optimiser, learning rate and decoupled decay lambda for both, B - W shrinks by (1 - eta lambda) a
    step whatever the data: B's maps belong to the optimiser of the weights. Adam and RMSprop keep B and W parallel
    only without L2 inside (weight_decay = 0, or AdamW).

    Parameters
    ----------
    geometry : Linear or Convolution
    std : float
    generator : torch.Generator
    layer : nn.Module
    """

    learns_as_weights = True

    def __init__(self, geometry: Geometry, std: float, generator: torch.Generator, layer: nn.Module | None, name: str):
        super().__init__(geometry, needs_layer(layer, "kolen_pollack", name))
        self.learns_from_gradient = can_tap_weight(geometry, layer)
        self.B = nn.Parameter(uniform(geometry.own_shape, std, generator))

    def from_gradient(self, dW: Tensor, step: Step, B: Tensor) -> tuple[Tensor | None]:
        if not self.layer.weight.requires_grad:
            return (None,)  # frozen weights get no update, and B gets theirs
        return (dW.clone(),)  # a copy: what clips or scales one gradient in place may not reach the other

    def plasticity(self, delta: Tensor, y: Tensor, activity: Tensor, step: Step, B: Tensor) -> tuple[Tensor | None]:
        if self.learns_from_gradient or not self.layer.weight.requires_grad:
            return (None,)
        return (self.geometry.outer(activity.to(delta.dtype), delta, tuple(B.shape)).to(B.dtype),)


class WeightMirror(FullRank):
    r"""Weight mirrors (Akrout et al. 2019): between task steps, noise through the layer shows B its weights.

    .. math:: \Delta B = \eta\, \langle y x^\top \rangle - \lambda B, \quad y = W x, \quad x \sim N(0, \sigma^2)

    in the forward orientation. E[Delta B] = eta sigma^2 W - lambda B, so that B tends to (eta sigma^2 / lambda) W in
    mean. For a convolution the average is over places too, on a canvas that noise fills to the rim of its padding.

    Parameters
    ----------
    geometry : Linear or Convolution
    std : float
    seed : int
    name : str
        The edge's; noise is drawn from (seed, name, step).
    layer : nn.Module
    shape : tuple of int
        Shape of the layer's input without the batch.
    every, samples : int
        Task steps between mirror steps, and noise samples in each.
    rate, decay, noise : float
        eta, lambda, sigma.
    """

    advances = True

    def __init__(
        self,
        geometry: Geometry,
        std: float,
        seed: int,
        name: str,
        layer: nn.Module | None,
        shape: Sequence[int],
        every: int = 1,
        samples: int = 64,
        rate: float = 0.01,
        decay: float = 0.01,
        noise: float = 1.0,
    ) -> None:
        super().__init__(geometry, needs_layer(layer, "weight_mirror", name))
        self.every, self.samples, self.rate, self.decay, self.noise = every, samples, rate, decay, noise
        self._draw, self._unpadded, self.shape = (seed, name), geometry, tuple(shape)
        if isinstance(geometry, Convolution):
            # Noise fills the padded canvas, so that each tap of the kernel sees as many fresh samples as any other.
            left, right, top, bottom = geometry.pads
            (py, px), (channels, height, width) = geometry.padding, shape
            self.shape = (channels, height + 2 * py + top + bottom, width + 2 * px + left + right)
            self._unpadded = replace(geometry, padding=(0, 0), pads=(0, 0, 0, 0), mode="zeros")
        B = uniform(geometry.own_shape, std, generator_for(seed, name))
        self.B = nn.Parameter(B, requires_grad=False)

    @torch.no_grad()
    def advance(self, step: int, optimisers: Sequence[torch.optim.Optimizer]) -> None:
        """Do a mirror step after every `every` task steps."""
        if step % self.every == 0:
            W = self.layer.weight.detach().to(self.B.dtype)
            seed, name = self._draw
            generator = generator_for(seed, f"{name}@{step}", self.B.device)
            # What calibration has made of B is what the mirror shows it from then on.
            self.B.mul_(1 - self.decay).add_(self._seen(W, generator) * self.gain, alpha=self.rate)

    def _seen(self, W: Tensor, generator: torch.Generator) -> Tensor:
        shape = (self.samples, *self.shape)
        x = torch.empty(shape, dtype=W.dtype, device=W.device).normal_(0, self.noise, generator=generator)
        y = self._unpadded.forward(W, x)
        return self._unpadded.outer(x, y, tuple(W.shape)) / (y.numel() // W.shape[0])

"""Feedback maps: the linear map B of one edge, and how it learns.

A new map subclasses `Feedback`, registers its weights as parameters and says how it carries an error; maps that
learn also say how. Everything else (cutting, tapping, optimisers, checkpoints, several devices) is done for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor, nn

from rfmodel.errors import InputError
from rfmodel.routing.geometry import Convolution, Geometry


@dataclass(frozen=True)
class Step:
    """What a map is told about the pass that it serves.

    Parameters
    ----------
    weight : float
        Share of the loss that one sample carries: 1/N for a mean loss over the N samples of an update.
    share : float
        Share of the update that this pass carries: what is no sum over samples acts by it, and so once an update.
    labels : Tensor (batch, classes) or None
        One-hot labels, for maps with `reads_labels`.
    processes : int
        How many share the update: gradients are averaged over them.
    """

    weight: float
    share: float
    labels: Tensor | None = None
    processes: int = 1


def onehot_of(labels: Tensor, classes: int) -> Tensor:
    """Return class indices (batch,) as the floats (batch, classes) that rules read; refuse what is no index."""
    if labels.is_floating_point():
        raise InputError(
            f"a rule that learns from labels needs class indices; found {tuple(labels.shape)} of {labels.dtype}: "
            "give indices, or use a rule that reads none"
        )
    return nn.functional.one_hot(labels.long(), classes).to(torch.float32)


class Feedback(nn.Module):
    """The linear map of one edge.

    Parameters
    ----------
    geometry : Linear, Convolution or Dense
    layer : nn.Module, optional
        The layer whose weight the map follows (signs, reconstruction, the layer's own gradient).

    Attributes
    ----------
    reads_labels : bool
        Whether a pass needs the labels.
    watches_weight : bool
        Whether `carry` and `plasticity` are handed the layer's weight after the maps.
    learns_from_gradient : bool
        Whether the maps learn from the layer's own weight gradient, through `from_gradient`.
    learns_as_weights : bool
        Whether the maps belong to the optimiser of the network's weights (Kolen & Pollack).
    advances : bool
        Whether something happens between steps, in `advance`.
    gain : Tensor ()
        The factor by which calibration has scaled the map.
    """

    reads_labels = False
    watches_weight = False
    learns_from_gradient = False
    learns_as_weights = False
    advances = False
    rank: int | None = None

    def __init__(self, geometry: Geometry, layer: nn.Module | None = None) -> None:
        super().__init__()
        self.geometry = geometry
        self._follows = (layer,)  # a tuple, so that the network's layer is not registered here a second time
        self.register_buffer("gain", torch.ones(()))

    @property
    def layer(self) -> nn.Module | None:
        return self._follows[0]

    @property
    def maps(self) -> tuple[nn.Parameter, ...]:
        return tuple(self.parameters(recurse=False))

    def given(self) -> tuple[Tensor, ...]:
        """Return the tensors that `carry` and `plasticity` are handed: the maps, then the layer's weight if watched."""
        return (*self.maps, self.layer.weight.detach()) if self.watches_weight else self.maps

    def carry(self, delta: Tensor, like: Tensor, *given: Tensor) -> Tensor:
        """Return B delta, shaped like the target."""
        raise NotImplementedError

    def deliver(self, delta: Tensor, like: Tensor, step: Step, *given: Tensor) -> tuple[Tensor, Tensor]:
        """Return B delta and what crossed the edge on the way, which `plasticity` gets as y."""
        return self.carry(delta, like, *given), delta

    def plasticity(
        self, delta: Tensor, y: Tensor, activity: Tensor, step: Step, *given: Tensor
    ) -> Sequence[Tensor | None]:
        """Return the pseudo-gradient of each map; None for one that does not learn here."""
        return (None,) * len(self.maps)

    def from_gradient(self, dW: Tensor, step: Step, *maps: Tensor) -> Sequence[Tensor | None]:
        """Return the pseudo-gradient of each map that follows from the layer's own weight gradient."""
        return (None,) * len(maps)

    def advance(self, step: int, optimisers: Sequence[torch.optim.Optimizer]) -> None:
        """Do what happens between steps; `step` counts those done."""

    def start_epoch(self, epoch: int, optimisers: Sequence[torch.optim.Optimizer]) -> None:
        """Do what happens before an epoch; the first is 1."""

    def effective(self) -> Tensor:
        """Return B as the forward-oriented matrix (m, n) or (m, n kh kw)."""
        raise NotImplementedError

    @torch.no_grad()
    def rescale(self, factor: Tensor | float) -> None:
        """Multiply the map by a factor, which `gain` keeps."""
        self.maps[0].mul_(factor)
        self.gain.mul_(factor)


class FullRank(Feedback):
    """A map whose B has the shape of the weight that it stands for; how B starts and learns is its subclasses'."""

    B: nn.Parameter

    def carry(self, delta: Tensor, like: Tensor, B: Tensor) -> Tensor:
        return self.geometry.adjoint(B.to(delta.dtype), delta, like)

    def effective(self) -> Tensor:
        return self.geometry.dense(self.B.detach())


class Fixed(FullRank):
    """A fixed random B with the forward weight's shape (FA: Lillicrap et al. 2016; DFA: Nokland 2016).

    Parameters
    ----------
    geometry : Linear, Convolution or Dense
    std : float
        Standard deviation of the entries, drawn uniformly.
    generator : torch.Generator
    density : float
        Fraction of the entries that are not zero (sparse DFA: Crafton et al. 2019), at least one for each unit of
        the target. The others are 1 / sqrt(density) larger, so that the delivered error keeps its variance.
    """

    def __init__(
        self,
        geometry: Geometry,
        std: float,
        generator: torch.Generator,
        density: float = 1.0,
        layer: nn.Module | None = None,
    ) -> None:
        super().__init__(geometry, layer)
        B = uniform(geometry.own_shape, std, generator)
        if density < 1:
            B = B * sparse_mask(B.shape, density, generator)
        self.B = nn.Parameter(B, requires_grad=False)


class Labels(Fixed):
    r"""DRTP: the label in place of the error, by a fixed random B (Frenkel et al. 2021).

    .. math:: \delta_l = B_l\, y^* / N

    with y* one-hot; 1/N is the loss's own share, so that the signal does not depend on the size of the batch. It
    ignores what the network predicts. For outputs in (0, 1), B sign(y - y*) = B 1 - 2 B y*.
    """

    reads_labels = True

    def deliver(self, delta: Tensor, like: Tensor, step: Step, B: Tensor) -> tuple[Tensor, Tensor]:
        y = step.labels.to(delta.dtype) * step.weight
        return self.carry(y, like, B), y


def uniform(shape: Sequence[int], std: float, generator: torch.Generator) -> Tensor:
    """Return a tensor of the law that torch's layers start from: uniform, of that standard deviation."""
    return torch.empty(*shape).uniform_(-1, 1, generator=generator) * (sqrt(3) * std)


def sparse_mask(shape: Sequence[int], density: float, generator: torch.Generator) -> Tensor:
    """Return a mask with the same number of ones in each column (of the error's channels), scaled to keep variance.

    Each unit of the target hears max(1, round(density m)) channels of the error, drawn at random.
    """
    m = shape[0]
    heard = max(1, round(density * m))
    scores = torch.empty(*shape).uniform_(generator=generator)
    return torch.zeros(*shape).scatter_(0, scores.argsort(0)[:heard], sqrt(m / heard))


def generator_for(seed: int, name: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator that depends on the seed and the edge's name alone: a new site leaves the others be."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:7], "big"))


def needs_layer(layer: nn.Module | None, rule: str, edge: object) -> nn.Module:
    """Return the layer whose weight a map follows.

    Raises
    ------
    InputError
        If there is none: the edge does not run against a layer with a weight.
    """
    if layer is None or getattr(layer, "weight", None) is None:
        raise InputError(
            f"rule '{rule}' follows a layer's weight, and '{edge}' runs against none; use it on edges from a Linear's "
            "or Conv2d's output to its own input, or a rule with weights of its own (fa, dfa, ldfa)"
        )
    return layer


def can_tap_weight(geometry: Geometry, layer: nn.Module | None) -> bool:
    """Whether a layer's own weight gradient can be read: a plain parameter that all channels share."""
    grouped = isinstance(geometry, Convolution) and geometry.groups > 1
    return layer is not None and "weight" in layer._parameters and not grouped

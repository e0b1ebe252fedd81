"""Feedback maps: the linear map B of one edge, and how it learns."""

from __future__ import annotations

import hashlib
from math import sqrt

import torch
from torch import Tensor, nn

from rfmodel.errors import InputError, one_of
from rfmodel.routing import plasticity
from rfmodel.routing.geometry import Geometry


class Feedback(nn.Module):
    """The linear map of one edge.

    A new map subclasses this, registers its weights as parameters (in the order that `maps` returns them) and
    says how it carries an error; maps that learn also say how.

    Parameters
    ----------
    geometry : Linear, Convolution or Dense
    """

    learns_from_labels = False

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        self.geometry = geometry

    @property
    def maps(self) -> tuple[nn.Parameter, ...]:
        return tuple(self.parameters(recurse=False))

    def carry(self, delta: Tensor, like: Tensor, *maps: Tensor) -> Tensor:
        """Return B delta, shaped like the target."""
        raise NotImplementedError

    def plasticity(
        self, delta: Tensor, activity: Tensor, weight: float, labels: Tensor | None, *maps: Tensor
    ) -> tuple[Tensor | None, ...]:
        """Return the pseudo-gradient of each map; None for one that does not learn."""
        return tuple(None for _ in maps)

    def effective(self) -> Tensor:
        """Return B as the forward-oriented matrix (m, n) or (m, n kh kw)."""
        raise NotImplementedError


class Fixed(Feedback):
    """A fixed random B with the forward weight's shape (FA: Lillicrap et al. 2016; DFA: Nokland 2016)."""

    def __init__(self, geometry: Geometry, std: float, generator: torch.Generator) -> None:
        super().__init__(geometry)
        B = torch.empty(geometry.weight_shape(geometry.m)).uniform_(-1, 1, generator=generator)
        self.B = nn.Parameter(B * (sqrt(3) * std), requires_grad=False)

    def carry(self, delta: Tensor, like: Tensor, B: Tensor) -> Tensor:
        return self.geometry.adjoint(B.to(delta.dtype), delta, like)

    def effective(self) -> Tensor:
        return self.B.detach().flatten(1)


class LowRank(Feedback):
    r"""B = QP of rank r: P reads r numbers from the error, Q spreads them over the target.

    .. math:: \delta_l = Q_l P_l\, \delta_{l'}

    Parameters
    ----------
    geometry : Linear, Convolution or Dense
    std : float
        Standard deviation that the entries of QP have at initialisation, whatever the rank: P ~ U(+-1/sqrt r) and
        Q ~ U(+-3 std), so that var(QP) = r var(Q) var(P) = std^2.
    generator : torch.Generator
    rank : int
    learn_P : {"oja", "reconstruction", "fixed"}
    learn_Q : {"hebbian", "reconstruction", "fixed"}
    normalise : {"max", "none", "std"}
        Scale of Oja's rule; see `plasticity.oja`.
    use_targets : bool
        Drive Oja's rule by the one-hot labels in place of the error (Algorithm 2, output layer).
    decay : float
        lambda of eqs. 15 and 18.
    layer : nn.Module, optional
        The layer whose weight "reconstruction" follows.

    Raises
    ------
    InputError
        If the rank is not between 1 and the number of channels of the error.

    Notes
    -----
    P is (r, m); Q has the forward orientation, (r, n) or (r, n, kh, kw), applied by its adjoint.
    Hanut & Kadmon, eqs. 12, 15, 17, 18, Algorithms 1 and 2.
    """

    def __init__(
        self,
        geometry: Geometry,
        std: float,
        generator: torch.Generator,
        *,
        rank: int,
        learn_P: str = "oja",
        learn_Q: str = "fixed",
        normalise: str = "max",
        use_targets: bool = False,
        decay: float = 0.0,
        layer: nn.Module | None = None,
    ) -> None:
        super().__init__(geometry)
        if not 1 <= rank <= geometry.m:
            raise InputError(f"rank {rank} is impossible: the error has {geometry.m} channels; use 1 to {geometry.m}")
        one_of("rule for Q", learn_Q, ("hebbian", "reconstruction", "fixed"))
        one_of("rule for P", learn_P, ("oja", "reconstruction", "fixed"))
        one_of("scale of Oja's rule", normalise, ("max", "none", "std"))
        self.rank, self.learn_P, self.learn_Q = rank, learn_P, learn_Q
        self.normalise, self.use_targets, self.decay = normalise, use_targets, decay
        self.learns_from_labels = use_targets and learn_P == "oja"
        self._follows = (layer,)  # a tuple, so that the network's layer is not registered here a second time
        Q = torch.empty(geometry.weight_shape(rank)).uniform_(-1, 1, generator=generator)
        P = torch.empty(rank, geometry.m).uniform_(-1, 1, generator=generator)
        self.Q = nn.Parameter(Q * (3 * std), requires_grad=learn_Q != "fixed")
        self.P = nn.Parameter(P / sqrt(rank), requires_grad=learn_P != "fixed")

    def carry(self, delta: Tensor, like: Tensor, Q: Tensor, P: Tensor) -> Tensor:
        y = self.geometry.project(P.to(delta.dtype), delta)
        return self.geometry.adjoint(Q.to(delta.dtype), y, like)

    def plasticity(
        self, delta: Tensor, activity: Tensor, weight: float, labels: Tensor | None, Q: Tensor, P: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        if self.learn_P == "reconstruction" or self.learn_Q == "reconstruction":
            return self._reconstruction(len(activity) * weight, Q, P)
        # The share of a step's loss that this pass carries: what is not a sum over samples must act once a step.
        share, dQ, dP = len(activity) * weight, None, None
        if self.learn_Q == "hebbian":
            y = self.geometry.project(P.to(delta.dtype), delta)
            dQ = self.geometry.outer(activity.to(delta.dtype), y, tuple(Q.shape)).to(Q.dtype) + share * self.decay * Q
        if self.learn_P == "oja":
            # A label is not scaled by the loss; weighting it makes its covariance the average over samples.
            rows = labels * weight if self.learns_from_labels else self.geometry.rows(delta)
            dP = plasticity.oja(P, rows.to(P.dtype), weight, self.normalise)
            dP = (dP if self.normalise == "none" else share * dP) + share * self.decay * P
        return dQ, dP

    def _reconstruction(self, share: float, Q: Tensor, P: Tensor) -> tuple[Tensor | None, Tensor | None]:
        W = self._follows[0].weight.detach().flatten(1)
        dQ, dP = plasticity.reconstruction(Q.flatten(1), P, W)
        dQ = share * (dQ.reshape(Q.shape) + self.decay * Q) if self.learn_Q == "reconstruction" else None
        return dQ, (share * (dP + self.decay * P) if self.learn_P == "reconstruction" else None)

    def effective(self) -> Tensor:
        return self.P.detach().T @ self.Q.detach().flatten(1)


def generator_for(seed: int, name: str) -> torch.Generator:
    """Return a generator that depends on the seed and the edge's name alone: a new site leaves the others be."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))

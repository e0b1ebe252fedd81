"""Low-rank feedback: B = QP, how its factors start, learn, follow the weights and change their rank."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt

import torch
from torch import Tensor, nn

from rfmodel.errors import InputError, one_of
from rfmodel.routing import plasticity
from rfmodel.routing.feedback import Feedback, Step, can_tap_weight, generator_for, needs_layer
from rfmodel.routing.geometry import Geometry

Spread = tuple[Tensor, Tensor, int]
LEARN_P = ("oja", "reconstruction", "kolen_pollack", "fixed")
LEARN_Q = ("hebbian", "reconstruction", "fixed")


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
    learn_P : {"oja", "reconstruction", "kolen_pollack", "fixed"}
        Eqs. 15, 14, the factorised eq. 2, or nothing.
    learn_Q : {"hebbian", "reconstruction", "fixed"}
        Eqs. 18, 14, or nothing. Hebbian Q with Kolen-Pollack P is the released code's rule for vision transformers.
    normalise : {"max", "none", "std"}
        Scale of Oja's rule; see `plasticity.oja`.
    use_targets : bool
        Drive Oja's rule by the one-hot labels in place of the error (Algorithm 2, output layer).
    decay : float
        lambda of eqs. 2, 15 and 18.
    init : {"random", "svd"}
        As above, or the truncated decomposition of the layer's weight (the released code's normative maps).
    refactor_every : int
        Steps between fresh truncated decompositions of the layer's weight into Q and P; 0 is never.
    svd_iterations : int
        See `plasticity.truncated`.
    moments : {"keep", "reset"}
        What an optimiser's moments of Q and P do when the factors are replaced (the released code keeps them).
    clip_signal, clip_update : float, optional
        Bounds on the absolute value of each entry of the delivered error and of the factors' pseudo-gradients.
    schedule : mapping of epoch to rank
        From that epoch (the first is 1) on, the map has that rank.
    layer : nn.Module, optional
        The layer that a reciprocal edge runs against.

    Raises
    ------
    InputError
        If the rank is impossible, or a choice needs a layer's weight and the edge runs against none.

    Notes
    -----
    P is (r, m); Q has the forward orientation, (r, n) or (r, n, kh, kw), applied by its adjoint. On a reciprocal edge
    the Hebbian sum of h (P delta)^T is P times the layer's own weight gradient, so it costs r m n multiplications and
    no pass over the samples. Hanut & Kadmon, eqs. 12, 14, 15, 17, 18, Algorithms 1 and 2.
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
        init: str = "random",
        refactor_every: int = 0,
        svd_iterations: int = 0,
        moments: str = "keep",
        clip_signal: float | None = None,
        clip_update: float | None = None,
        schedule: dict[int, int] | None = None,
        layer: nn.Module | None = None,
    ) -> None:
        super().__init__(geometry, layer)
        ranks = (rank, *(schedule or {}).values())
        for asked in ranks:
            if not 1 <= asked <= geometry.greatest_rank:
                raise InputError(
                    f"rank {asked} is impossible: the map is {geometry.m} x {prod(geometry.weight_shape(1))}; use 1 to "
                    f"{geometry.greatest_rank}"
                )
        one_of("rule for Q", learn_Q, LEARN_Q)
        one_of("rule for P", learn_P, LEARN_P)
        one_of("scale of Oja's rule", normalise, ("max", "none", "std"))
        one_of("init of Q and P", init, ("random", "svd"))
        self.rank, self.learn_P, self.learn_Q = rank, learn_P, learn_Q
        self.normalise, self.use_targets, self.decay = normalise, use_targets, decay
        self.refactor_every, self.svd_iterations, self.moments = refactor_every, svd_iterations, moments
        self.clip_signal, self.clip_update, self.schedule = clip_signal, clip_update, dict(schedule or {})
        self.std = std
        self.reads_labels = use_targets and learn_P == "oja"
        self.watches_weight = "reconstruction" in (learn_P, learn_Q)
        self.learns_from_gradient = can_tap_weight(geometry, layer) and (
            learn_Q == "hebbian" or learn_P == "kolen_pollack"
        )
        self.advances = refactor_every > 0 or bool(self.schedule)
        if self.watches_weight or init == "svd" or refactor_every:
            needs_layer(layer, "reconstruction, svd or refactor_every of QP", "this edge")
        Q = torch.empty(geometry.weight_shape(max(ranks))).uniform_(-1, 1, generator=generator)
        P = torch.empty(max(ranks), geometry.m).uniform_(-1, 1, generator=generator)
        # Drawn, and not the generator's own seed: the maps of a fused layer's parts share one generator.
        self._seed = int(torch.randint(2**62, (), generator=generator, device="cpu"))
        self.Q = nn.Parameter(Q * (3 * std), requires_grad=learn_Q != "fixed")
        self.P = nn.Parameter(P / sqrt(rank), requires_grad=learn_P != "fixed")
        if init == "svd":
            self._factor(self.geometry.dense(layer.weight.detach()))
        if self.schedule:
            self.register_buffer("rank_in_force", torch.tensor(rank))
            self.register_load_state_dict_post_hook(LowRank._take_rank)

    def _take_rank(self, _: object) -> None:
        """After loading: the rank that the loaded factors have."""
        self.rank = int(self.rank_in_force)

    @property
    def centres(self) -> bool:
        """Whether learning asks for the error's mean and variance; eq. 15 asks for neither, nor do labels."""
        return self.learn_P == "oja" and self.normalise != "none" and not self.reads_labels

    def _active(self, Q: Tensor, P: Tensor) -> tuple[Tensor, Tensor]:
        return (Q, P) if self.rank == len(P) else (Q[: self.rank], P[: self.rank])

    def carry(self, delta: Tensor, like: Tensor, Q: Tensor, P: Tensor, *_: Tensor) -> Tensor:
        return self.deliver(delta, like, None, Q, P)[0]

    def deliver(
        self, delta: Tensor, like: Tensor, step: Step | None, Q: Tensor, P: Tensor, *_: Tensor
    ) -> tuple[Tensor, Tensor]:
        Q, P = self._active(Q, P)
        y = self.geometry.project(P.to(delta.dtype), delta)
        carried = self.geometry.adjoint(Q.to(delta.dtype), y, like)
        return (carried if self.clip_signal is None else carried.clamp(-self.clip_signal, self.clip_signal)), y

    def plasticity(
        self,
        delta: Tensor,
        y: Tensor,
        activity: Tensor,
        step: Step,
        Q: Tensor,
        P: Tensor,
        *weight: Tensor,
        spread: Spread | None = None,
    ) -> tuple[Tensor | None, Tensor | None]:
        q, p = self._active(Q, P)
        dQ = dP = None
        if self.watches_weight:
            W = self.geometry.dense(weight[0]).to(p.dtype)
            dQ, dP = (step.share * d for d in plasticity.reconstruction(q.flatten(1), p, W))
        if self.learn_P == "oja":
            dP = self._oja(delta, y, step, p, spread)
        if not self.learns_from_gradient:
            if self.learn_Q == "hebbian":
                dQ = self.geometry.outer(activity.to(delta.dtype), y, tuple(q.shape)).to(q.dtype)
            if self.learn_P == "kolen_pollack":
                dP = self._kolen_pollack(delta, activity, q)
        return self._bounded(dQ, Q, step), self._bounded(dP, P, step)

    def _oja(self, delta: Tensor, y: Tensor, step: Step, P: Tensor, spread: Spread | None) -> Tensor:
        if self.reads_labels:
            # A label is not scaled by the loss; weighting it makes its covariance the average over samples.
            dP = plasticity.oja(P, step.labels.to(P.dtype) * step.weight, step.weight, self.normalise)
        else:
            product = self.geometry.correlate(y, delta)
            if spread is None and self.centres:
                spread = self.geometry.spread(delta)
            moments = plasticity.Moments(product, *(spread or ()))
            dP = plasticity.oja_from(P, moments, step.weight, self.normalise)
        # Algorithm 2 is scaled by the batch's own spread, so that each pass carries its share of an update.
        return dP if self.normalise == "none" else step.share * dP

    def _kolen_pollack(self, delta: Tensor, activity: Tensor, Q: Tensor) -> Tensor:
        dense = self.geometry.weight_shape(self.geometry.m)
        dW = self.geometry.outer(activity.to(delta.dtype), delta, dense)
        return plasticity.kolen_pollack(Q.flatten(1), dW.flatten(1).to(Q.dtype))

    def from_gradient(self, dW: Tensor, step: Step, Q: Tensor, P: Tensor) -> tuple[Tensor | None, Tensor | None]:
        q, p = self._active(Q, P)
        dW = dW.flatten(1).to(p.dtype)
        dQ = plasticity.hebbian(p, dW) if self.learn_Q == "hebbian" else None
        dP = plasticity.kolen_pollack(q.flatten(1), dW) if self.learn_P == "kolen_pollack" else None
        return self._bounded(dQ, Q, step), self._bounded(dP, P, step)

    def _bounded(self, found: Tensor | None, factor: Tensor, step: Step) -> Tensor | None:
        """Add the decay, clip, and fill up the rows that the rank in force leaves out."""
        if found is None:
            return None
        active = factor[: self.rank]
        found = found.reshape(active.shape)
        if self.decay:
            found = found + (step.share * self.decay) * active
        if self.clip_update is not None:
            found = found.clamp(-self.clip_update, self.clip_update)
        if self.rank < len(factor):
            found = torch.cat([found, found.new_zeros(len(factor) - self.rank, *factor.shape[1:])])
        return found

    @torch.no_grad()
    def advance(self, step: int, optimisers: Sequence[torch.optim.Optimizer]) -> None:
        """Replace Q and P by the truncated decomposition of the layer's weight, every `refactor_every` steps."""
        if self.refactor_every and step % self.refactor_every == 0:
            self._factor(self.gain * self.geometry.dense(self.layer.weight.detach()))
            if self.moments == "reset":
                forget([self.Q, self.P], optimisers)

    @torch.no_grad()
    def start_epoch(self, epoch: int, optimisers: Sequence[torch.optim.Optimizer]) -> None:
        """Take the schedule's rank of this epoch.

        A lower rank keeps the best approximation of the present map, a higher one adds rows as at initialisation. The
        moments of both factors are cleared: they belong to rows that are no more.
        """
        started = [begin for begin in self.schedule if begin <= epoch]
        if not started or self.schedule[max(started)] == self.rank:
            return
        before, self.rank = self.rank, self.schedule[max(started)]
        self.rank_in_force.fill_(self.rank)
        if self.rank < before:
            self._factor(self.P[:before].T @ self.Q[:before].flatten(1))
        else:
            generator = generator_for(self._seed, f"rows from epoch {epoch}", self.P.device)
            fresh = slice(before, self.rank)
            self.Q[fresh].uniform_(-3 * self.std, 3 * self.std, generator=generator).mul_(self.gain)
            self.P[fresh].uniform_(-1 / sqrt(self.rank), 1 / sqrt(self.rank), generator=generator)
        forget([self.Q, self.P], optimisers)

    @torch.no_grad()
    def _factor(self, B: Tensor) -> None:
        Q, P = plasticity.truncated(B.to(torch.promote_types(B.dtype, torch.float32)), self.rank, self.svd_iterations)
        self.Q[: self.rank] = Q.reshape(self.Q[: self.rank].shape).to(self.Q.dtype)
        self.P[: self.rank] = P.to(self.P.dtype)

    def effective(self) -> Tensor:
        Q, P = self._active(self.Q.detach(), self.P.detach())
        return P.T @ Q.flatten(1)


def forget(parameters: Sequence[nn.Parameter], optimisers: Sequence[torch.optim.Optimizer]) -> None:
    """Set what optimisers remember of parameters to nought, all but the count of steps."""
    for optimiser in optimisers:
        for parameter in parameters:
            for key, value in optimiser.state.get(parameter, {}).items():
                if isinstance(value, Tensor) and key != "step":
                    value.zero_()

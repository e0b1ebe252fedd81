"""Local loss: what the factors of one layer are told beside the error, and what is done to them between steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rfmodel.factors import Factored, RankSchedule, cut, penalties, spectrum, stiefel
from rfmodel.factors.cutting import replace
from rfmodel.routing.low_rank import forget
from rfmodel.routing.plasticity import decomposed

PROJECT = ("none", "sphere", "grassmann", "stiefel")
ALIGNS = ("weights", "feedback", "both")


@dataclass(frozen=True)
class Weighing:
    """How the terms of a local loss weigh, and what keeps U and V orthonormal.

    Parameters
    ----------
    align, ortho, hoyer : float
        gamma, delta and epsilon of eq. 6.
    smoothing : float
        epsilon of the smoothed Hoyer term, eq. 71.
    aligns : {"weights", "feedback", "both"}
        Which side of eq. 9 follows the other.
    project : {"none", "sphere", "grassmann", "stiefel"}
        "sphere": after each step the columns of U and V are brought to length one (2024). "grassmann": the gradients of
        U and V are multiplied by I - U U^T, as printed in 2025. "stiefel": they are projected on the tangent space.
    retract_every : int
        Steps between two retractions by QR; 0 is none.
    """

    align: float = 0.0
    ortho: float = 0.0
    hoyer: float = 0.0
    smoothing: float = 1e-3
    aligns: str = "weights"
    project: str = "none"
    retract_every: int = 0


class LocalLoss(nn.Module):
    r"""The terms of a factored layer's loss that need no error, and its rank.

    .. math:: \gamma L_{align} + \delta L_{ortho} + \epsilon L_{Hoyer}

    added to the gradients of U, S and V, once an update however the batch is split. The gradients of the error and of
    the alignment are projected first. That of the orthogonality is not: it lies in the normal space, where a
    projection would leave nothing of it.

    Parameters
    ----------
    layer : FactoredLinear or FactoredConv2d
    weighing : Weighing
    schedule : RankSchedule
    epochs : int or None
        Of the training.
    B : Tensor, shape (m, n), optional
        The feedback matrix in the form of the layer's matrix, whose truncated decomposition is B_U, B_S, B_V.
    svd_iterations : int
        Power iterations of its randomised decomposition; 0 is the exact one.
    reset : bool
        Whether a fall of the rank sets the optimisers' moments to nought.

    Notes
    -----
    Roy et al. (SSA), eqs. 6, 9, 10, 11, 71 and section 3.4; the projections are of arXiv 2510.25594.
    """

    def __init__(
        self,
        layer: Factored,
        weighing: Weighing,
        schedule: RankSchedule,
        epochs: int | None,
        B: Tensor | None = None,
        svd_iterations: int = 2,
        reset: bool = False,
    ) -> None:
        super().__init__()
        self._layer = (layer,)  # a tuple, so that the network's layer is not registered here a second time
        self.weighing, self.schedule, self.epochs, self.reset = weighing, schedule, epochs, reset
        self.first_rank = layer.rank
        learns = weighing.aligns != "weights" and weighing.align > 0
        if B is not None:
            for name, factor in zip(("B_U", "B_S", "B_V"), _factors(B, layer, svd_iterations), strict=True):
                self.register_parameter(name, nn.Parameter(factor, requires_grad=learns))
        self.register_buffer("drift_before", torch.full((), torch.nan))
        # A tensor, so that a compiled step is not made anew where the term comes and goes.
        self.register_buffer("hoyer_acts", torch.ones(()), persistent=False)
        if schedule.kind == "gradient":
            self.register_buffer("gradient_energy", torch.zeros_like(layer.S.detach()))

    @property
    def layer(self) -> Factored:
        return self._layer[0]

    @property
    def maps(self) -> tuple[nn.Parameter, ...]:
        """B_U, B_S and B_V, where the layer has them."""
        return tuple(self.parameters(recurse=False))

    def gradients(
        self, task: Sequence[Tensor], factors: Sequence[Tensor], maps: Sequence[Tensor], share: float
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor | None, ...]]:
        """Return the gradients of U, S, V and of B_U, B_S, B_V, from those of U, S, V by the error.

        Parameters
        ----------
        task, factors, maps : (U, S, V), (U, S, V) and (B_U, B_S, B_V) or ()
        share : float
            Of the update that this pass carries.
        """
        U, S, V = factors
        B_U, B_S, B_V = maps or (None, None, None)
        dU, dV = self._basis_gradient(task[0], U, B_U, share), self._basis_gradient(task[2], V, B_V, share)
        dS = self._value_gradient(task[1], S, B_S, share)
        pull = -2 * share * self.weighing.align
        learnt = (pull * (own - B) if B.requires_grad else None for own, B in zip(factors, self.maps, strict=False))
        return (dU, dS, dV), tuple(learnt)

    def _basis_gradient(self, task: Tensor, U: Tensor, B: Tensor | None, share: float) -> Tensor:
        r"""Return the gradient of U (or V): P(task + 2 gamma (U - B)) + 4 delta U (U^T U - I).

        Without a projection P the terms in U are one product, U (4 delta (U^T U - I) + 2 gamma I), added in place of a
        copy each: of large bases a step is mostly memory traffic.
        """
        chosen = self.weighing
        pull, press = 2 * share * chosen.align * (chosen.aligns != "feedback"), 4 * share * chosen.ortho
        if B is None or not pull:
            pull, B = 0.0, None
        onto = {"grassmann": stiefel.horizontal, "stiefel": stiefel.tangent}.get(chosen.project)
        total, within = task, pull
        if onto is not None:
            total = onto(U, task if B is None else task.add(U, alpha=pull).sub_(B, alpha=pull))
            within, B = 0.0, None
        if press or within:
            eye = torch.eye(U.shape[1], dtype=U.dtype, device=U.device)
            inner = torch.addmm(eye, U.mT, U, beta=within - press, alpha=press) if press else within * eye
            total = torch.addmm(total, U, inner)
        return total if B is None else total.sub(B, alpha=pull)

    def _value_gradient(self, task: Tensor, S: Tensor, B: Tensor | None, share: float) -> Tensor:
        chosen = self.weighing
        if B is not None and chosen.aligns != "feedback":
            task = task + 2 * share * chosen.align * (S - B)
        if chosen.hoyer:
            term = penalties.hoyer_gradient(S, chosen.smoothing)
            task = task + share * chosen.hoyer * self.hoyer_acts.to(term) * term
        return task

    @torch.no_grad()
    def advance(self, step: int, optimisers: Sequence[torch.optim.Optimizer]) -> None:
        """Bring U and V back where the settings ask it, the drift noted first."""
        layer, chosen = self.layer, self.weighing
        if self.schedule.kind == "gradient" and layer.S.grad is not None:
            self.gradient_energy.add_(layer.S.grad.to(self.gradient_energy.dtype).square())
        if chosen.project == "sphere":
            for factor in (layer.U, layer.V):
                factor.copy_(stiefel.to_sphere(factor))
        if chosen.retract_every and step % chosen.retract_every == 0:
            self.drift_before.fill_(self._drift())
            for factor in (layer.U, layer.V):
                factor.copy_(stiefel.retract(factor))

    def _drift(self) -> Tensor:
        drifts = [stiefel.drift(factor.detach()) for factor in (self.layer.U, self.layer.V)]
        return torch.stack(drifts).max().to(self.drift_before.dtype)

    @torch.no_grad()
    def readings(self) -> dict[str, float]:
        """Return the rank, the drift (of U or V, the greater; before the last retraction if any) and Hoyer's ratio."""
        drift = self._drift() if self.drift_before.isnan() else self.drift_before
        hoyer = penalties.hoyer(self.layer.S)
        return {"factor_rank": float(self.layer.rank), "factor_drift": float(drift), "factor_hoyer": float(hoyer)}

    @torch.no_grad()
    def start_epoch(self, epoch: int, optimisers: Sequence[torch.optim.Optimizer], cutting: bool = True) -> bool:
        """Take the schedule's rank of this epoch (the first is 1); return whether it has fallen.

        Parameters
        ----------
        epoch : int
        optimisers : sequence of Optimizer
            Whose moments go with the factors.
        cutting : bool
            False where the epoch has begun before: what is loaded has its rank.
        """
        layer, schedule = self.layer, self.schedule
        self.hoyer_acts.fill_(float(schedule.hoyer_acts(epoch, self.epochs)))
        if not (cutting and schedule.is_due(epoch - 1, self.epochs)):
            return False
        told = {}
        if schedule.reads(epoch - 1, self.epochs) == "spectrum":
            told["spectrum"] = spectrum(layer).tolist()
        if schedule.kind == "gradient":
            told["gradient"] = self.gradient_energy.tolist()
            self.gradient_energy.zero_()
        rank = schedule.rank(epoch - 1, self.epochs, self.first_rank, layer.rank, **told)
        has_fallen = rank < layer.rank
        if has_fallen:
            self._keep(cut(layer, rank, optimisers), optimisers)
        return has_fallen

    def take_rank(self) -> None:
        """Give what goes with the factors their rank; which columns they are says what is loaded next."""
        kept = torch.arange(self.layer.rank, device=self.layer.S.device)
        if len(kept) < len(getattr(self, "B_S", kept)) or len(kept) < len(getattr(self, "gradient_energy", kept)):
            self._keep(kept, ())

    def _keep(self, kept: Tensor, optimisers: Sequence[torch.optim.Optimizer]) -> None:
        """Cut what goes with the factors, column by column, as they were cut."""
        for B in self.maps:
            cut_columns(B, kept, optimisers)
        if self.schedule.kind == "gradient":
            self.gradient_energy = self.gradient_energy[kept]
        if self.reset:
            forget([self.layer.U, self.layer.S, self.layer.V], optimisers)


def cut_columns(p: nn.Parameter, kept: Tensor, optimisers: Sequence[torch.optim.Optimizer]) -> None:
    """Keep some columns (last dimension) of a parameter and of what optimisers remember of it; the object stays."""
    shape = p.shape
    for optimiser in optimisers:
        for key, value in optimiser.state.get(p, {}).items():
            if isinstance(value, Tensor) and value.shape == shape:
                optimiser.state[p][key] = value[..., kept].contiguous()
    replace(p, p[..., kept])


def _factors(B: Tensor, layer: Factored, iterations: int) -> tuple[Tensor, Tensor, Tensor]:
    U, S, Vh = decomposed(B, layer.rank, iterations)
    return tuple(x.contiguous().to(layer.S.dtype) for x in (U[:, : layer.rank], S[: layer.rank], Vh[: layer.rank].mT))

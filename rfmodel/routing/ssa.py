"""SSA: singular value decomposition space alignment (Roy et al.), and backpropagation in the same space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf

from rfmodel.errors import InputError, nearest, one_of
from rfmodel.factors import RankSchedule
from rfmodel.routing.factoring import MOMENTS, START, Factors
from rfmodel.routing.feedback import Feedback
from rfmodel.routing.geometry import Dense
from rfmodel.routing.local_error import Broadcast, Own, Terms, Twin, lifted_shape
from rfmodel.routing.local_loss import ALIGNS, PROJECT, Weighing
from rfmodel.routing.options import above_nought, taking, whole
from rfmodel.routing.rules import Plan, Rule, make_rule, register_rule
from rfmodel.routing.unit_topology import to_units

COEFFICIENTS = {"ce": 0.1, "cosine": 0.01, "align": 0.1, "ortho": 0.05, "hoyer": 0.01}  # section 4
SCHEDULE = ("kind", "every", "floor", "energy", "start", "hoyer")


@dataclass(frozen=True)
class FactorSettings:
    """What every rule on factored layers lets be chosen.

    Parameters
    ----------
    smoothing : float
        epsilon of the smoothed Hoyer term, eq. 71.
    project : {"none", "sphere", "grassmann", "stiefel"}
    retract_every : int
        Steps between two retractions of U and V; see `local_loss.Weighing`.
    rank : int or float
        At the start: a number, or a fraction of the full rank; the paper's is full.
    moments : {"keep", "reset"}
        Whether the optimisers' moments are cut with the factors or set to nought.
    schedule : table, optional
        kind, every, floor, energy, start and hoyer of `rfmodel.factors.RankSchedule`.
    """

    rule: str
    smoothing: float = 1e-3
    project: str = "none"
    retract_every: int = 0
    rank: int | float = 1.0
    moments: str = "keep"
    schedule: Mapping[str, object] | None = None

    def __post_init__(self) -> None:
        above_nought(self.rule, "smoothing", self.smoothing)
        one_of(f"option project of rule '{self.rule}':", self.project, PROJECT)
        one_of(f"option moments of rule '{self.rule}':", self.moments, MOMENTS)
        whole(self.rule, "retract_every", self.retract_every)
        is_share = isinstance(self.rank, float) and 0 < self.rank <= 1
        is_whole = isinstance(self.rank, int) and not isinstance(self.rank, bool) and self.rank >= 1
        if not (is_share or is_whole):
            raise InputError(
                f"rank {self.rank!r} of rule '{self.rule}' is impossible; use a whole number from 1, or a fraction of "
                "the full rank above 0 and up to 1.0"
            )
        self.made_schedule()

    def made_schedule(self) -> RankSchedule:
        """Return the schedule of ranks."""
        given = {} if self.schedule is None else self.schedule
        if not isinstance(given, Mapping):
            raise InputError(
                f"schedule {given!r} of rule '{self.rule}' is no table; say for example "
                "schedule = {kind = 'energy', energy = 0.95}"
            )
        for key in given:
            one_of(f"option schedule of rule '{self.rule}':", key, SCHEDULE)
        try:
            return RankSchedule(**given)
        except InputError as error:
            raise InputError(f"schedule of rule '{self.rule}': {error}") from None

    def weighing(self, **weights: object) -> Weighing:
        """Return how the terms weigh, beside what is chosen here."""
        return Weighing(smoothing=self.smoothing, project=self.project, retract_every=self.retract_every, **weights)

    def factors(self, taught: bool, weighing: Weighing, **chosen: object) -> Factors:
        """Return how a rule's layers are factored."""
        return Factors(taught, weighing, self.rank, self.made_schedule(), moments=self.moments, **chosen)


@dataclass(frozen=True)
class SSAOptions(FactorSettings):
    """Options of SSA: what the papers leave open, each a choice.

    Parameters
    ----------
    coefficients : table, optional
        ce, cosine, align, ortho and hoyer of eq. 6; all five where any is given.
    feedback : {"twin", "dense"}
        How the class error reaches a unit: lifted to the layer's inputs and through B_U B_S B_V^T, or by DFA's dense
        matrix beside factors of a matrix of their own. See `local_error`.
    start : {"random", "weights"}
        Whether the feedback matrix is drawn or starts as the weights.
    aligns : {"weights", "feedback", "both"}
        Which of the two L_align moves: eqs. 3 to 5 name the weights' factors alone.
    at : {"activity", "preactivation"}
        Where the error is delivered and the cosine taken: after a unit's norm, nonlinearity and pool, which then pass
        it on (DFA's f'), or at its layer's own output, with all of them left out ("we use it mostly for the forward
        process", A.3). A residual block's is its output either way.
    reduction : {"mean", "sum"}
        Whether the errors of a batch are averaged, or added up as eq. 7, which divides by no batch, has them. Beside
        the other terms that is a factor of the batch's size: averaged errors leave the weights where L_align has them.
    towards : {"error", "descent"}
        The sign of eq. 8.
    svd_iterations : int
        Power iterations of the feedback matrix's randomised decomposition; 0 is the exact one.
    scale : float
        Factor on the spread of what is drawn.
    """

    coefficients: Mapping[str, float] | None = None
    feedback: str = "twin"
    start: str = "random"
    aligns: str = "weights"
    at: str = "activity"
    reduction: str = "sum"
    towards: str = "error"
    svd_iterations: int = 2
    scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_coefficients(self.rule, self.coefficients)
        for name, known in (
            ("feedback", ("twin", "dense")),
            ("start", START),
            ("aligns", ALIGNS),
            ("at", ("activity", "preactivation")),
            ("reduction", ("mean", "sum")),
            ("towards", ("error", "descent")),
        ):
            one_of(f"option {name} of rule '{self.rule}':", getattr(self, name), known)
        whole(self.rule, "svd_iterations", self.svd_iterations)
        above_nought(self.rule, "scale", self.scale)

    @property
    def weights(self) -> Mapping[str, float]:
        """The coefficients in force."""
        return COEFFICIENTS if self.coefficients is None else self.coefficients

    def made(self) -> Rule:
        """Return the rule."""
        w = self.weights
        weighing = self.weighing(align=w["align"], ortho=w["ortho"], hoyer=w["hoyer"], aligns=self.aligns)
        factors = self.factors(True, weighing, start=self.start, scale=self.scale, svd_iterations=self.svd_iterations)
        return Rule(self.rule, to_units(self.at), self._feedback, factors=factors)

    def _feedback(self, plan: Plan) -> Feedback:
        geometry = Dense((plan.classes,), plan.shape)
        terms = Terms(self.weights["ce"], self.weights["cosine"], self.reduction, self.towards)
        if plan.is_last:
            return Own(geometry, terms)
        if self.feedback == "dense":
            return Broadcast(geometry, terms, self.scale * plan.std, plan.generator)
        fits = [loss for loss in plan.losses if lifted_shape(loss.layer, plan.shape) is not None]
        if not fits:
            raise InputError(
                f"edge '{plan.edge}': none of the unit's layers makes {plan.shape}, as feedback = 'twin' asks of one; "
                "use feedback = 'dense'"
            )
        # In a residual block the widest is on the way, and a shortcut's small one beside it.
        twin = max(fits, key=lambda loss: len(loss.layer.U) * len(loss.layer.V))
        return Twin(geometry, terms, self.scale * plan.std, plan.generator, twin)


def _check_coefficients(rule: str, given: object) -> None:
    if given is None:
        return
    if not isinstance(given, Mapping):
        raise InputError(f"coefficients {given!r} of rule '{rule}' are no table; say for example {_example()}")
    for key, value in given.items():
        if key not in COEFFICIENTS:
            raise InputError(
                f"coefficient '{key}' of rule '{rule}' is unknown: known are {', '.join(COEFFICIENTS)}"
                f"{nearest(key, COEFFICIENTS)}"
            )
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < inf:
            raise InputError(f"coefficient {key} = {value!r} of rule '{rule}' is impossible; use a number from 0")
    if missing := [key for key in COEFFICIENTS if key not in given]:
        raise InputError(
            f"coefficients of rule '{rule}' lack {', '.join(missing)}; give all five, 0 for a term that is left out"
        )


def _example() -> str:
    return "{" + ", ".join(f"{key} = {value}" for key, value in COEFFICIENTS.items()) + "}"


@register_rule("ssa")
@taking(SSAOptions)
def ssa(options: SSAOptions) -> Rule:
    """SSA: each unit's factors U, S, V descend a local loss, of the output's error and of their own form (eq. 6).

    Neither orthonormality nor unit length is enforced; `ssa2024` and `ssa2025` are the published variants.
    """
    return options.made()


@dataclass(frozen=True)
class SSA2024(SSAOptions):
    """SSA as submitted to ICLR 2025: five terms, columns on the unit sphere, the Hoyer term every tenth epoch."""

    project: str = "sphere"


@register_rule("ssa2024")
@taking(SSA2024)
def ssa2024(options: SSA2024) -> Rule:
    """SSA as submitted to ICLR 2025: five terms, columns of U and V on the unit sphere, Hoyer every ten epochs."""
    return options.made()


@dataclass(frozen=True)
class SSA2025(SSAOptions):
    """SSA as in arXiv 2510.25594: no cosine term, projected gradients, Hoyer while the rank falls by epochs."""

    project: str = "grassmann"

    @property
    def weights(self) -> Mapping[str, float]:
        return COEFFICIENTS | {"cosine": 0.0} if self.coefficients is None else self.coefficients

    def made_schedule(self) -> RankSchedule:
        made = super().made_schedule()
        return made if "hoyer" in (self.schedule or {}) else replace(made, hoyer="reduction")


@register_rule("ssa2025")
@taking(SSA2025)
def ssa2025(options: SSA2025) -> Rule:
    """SSA as in arXiv 2510.25594: three terms, gradients projected, Hoyer only while the rank falls to 0.7."""
    return options.made()


@dataclass(frozen=True)
class SVDOptions(FactorSettings):
    """Options of rules on factored layers without feedback factors.

    Parameters
    ----------
    ortho, hoyer : float
        Weights of the two regularisers.
    """

    ortho: float = 0.05
    hoyer: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("ortho", "hoyer"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < inf:
                raise InputError(f"{name} {value!r} of rule '{self.rule}' is impossible; use a number from 0")

    def over(self, rule: Rule) -> Rule:
        """Return a rule with its layers factored."""
        weighing = self.weighing(ortho=self.ortho, hoyer=self.hoyer)
        return replace(rule, name=self.rule, factors=self.factors(False, weighing))


@register_rule("svd_bp")
@taking(SVDOptions)
def svd_bp(options: SVDOptions) -> Rule:
    """SVD training by backpropagation: factored layers, singular vectors kept orthonormal, values sparse (Yang 2020).

    The weights of the two terms are those of SSA's local loss; the paper says of this baseline no more than its source.
    """
    return options.over(make_rule("bp"))


@register_rule("svd")
@taking(SVDOptions)
def svd(options: SVDOptions, rule: str | Mapping[str, object] = "bp") -> Rule:
    """Any rule on factored layers: the error by that rule, the factors regularised and cut as in `svd_bp`.

    Parameters
    ----------
    rule : str or table
        A rule's name, or a table with name and options, as in {name = "ldfa", rank = 8}.
    """
    told = {"name": rule} if isinstance(rule, str) else dict(rule) if isinstance(rule, Mapping) else {}
    if "name" not in told:
        raise InputError(f"option rule = {rule!r} of rule 'svd' names no rule; use a name, or a table with one")
    made = make_rule(str(told.pop("name")), **told)
    if made.factors is not None or made.parts or made.step is not None:
        raise InputError(
            f"option rule of rule 'svd': '{made.name}' has layers, parts or a step of its own; use it by itself"
        )
    return options.over(made)

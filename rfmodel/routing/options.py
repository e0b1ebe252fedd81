"""Options that several rules share, spelt once and checked once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from math import inf, prod
from typing import TYPE_CHECKING

from torch import nn

from rfmodel.errors import InputError, one_of
from rfmodel.routing.geometry import Linear
from rfmodel.routing.low_rank import LowRank
from rfmodel.routing.parts import Parts, Rows

if TYPE_CHECKING:
    from rfmodel.routing.rules import Plan

Rank = int | float | Sequence[int | float]


def taking(options: type) -> Callable[[Callable], Callable]:
    """Return a decorator that gives a rule's function the fields of a dataclass of options as its own arguments.

    The function takes (options, **its own); what it gets to see is `options(...)`, checked.
    """

    def decorate(make: Callable) -> Callable:
        own = list(inspect.signature(make).parameters.values())[1:]
        shared = [
            inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=_default(f), annotation=f.type)
            for f in fields(options)
            if f.name != "rule"
        ]
        names = {parameter.name for parameter in shared}

        def factory(*given: object, **chosen: object) -> object:
            bound = factory.__signature__.bind(*given, **chosen).arguments
            taken = {key: value for key, value in bound.items() if key in names}
            return make(options(rule=factory.rule_name, **taken), **{k: v for k, v in bound.items() if k not in names})

        # The rank may be given first and without its name, as in ldfa(2).
        shared[0] = shared[0].replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD)
        keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        factory.__signature__ = inspect.Signature([*shared, *keyword])
        factory.__doc__, factory.__name__, factory.__module__ = make.__doc__, make.__name__, make.__module__
        factory.rule_name = make.__name__
        return factory

    return decorate


def _default(field: object) -> object:
    return inspect.Parameter.empty if field.default is MISSING else field.default


@dataclass(frozen=True)
class FactorOptions:
    """Options of every low-rank map; see `LowRank`.

    Parameters
    ----------
    rank : int, float or list
        A number; a fraction of the channels of the error, above 0 and below 1; or one of either for each edge, in
        the order in which their targets fire.
    schedule : list of [epoch, rank], optional
        From that epoch on (the first is 1) the rank is another.
    capped : bool
        Give an edge whose error has fewer channels than the rank a map of full rank, in place of a refusal: a rank that
        is meant for every layer need not spare the output.
    scale : float
        Factor on the standard deviation at initialisation.
    qkv : {"each", "fused", "shared"}
        A layer called `qkv` makes queries, keys and values in one. "each" gives each its own map of the rank, as
        three separate layers have; "fused" is one map of three times the rank (the released code), "shared" one map
        of the rank.
    """

    rule: str
    rank: Rank
    decay: float = 0.0
    scale: float = 1.0
    init: str = "random"
    refactor_every: int = 0
    svd_iterations: int = 0
    moments: str = "keep"
    clip_signal: float | None = None
    clip_update: float | None = None
    qkv: str = "each"
    schedule: Sequence[Sequence[float]] | None = None
    capped: bool = False

    def __post_init__(self) -> None:
        for rank in self.rank if _is_list(self.rank) else [self.rank]:
            _check_rank(self.rule, rank)
        if _is_list(self.rank) and not self.rank:
            raise InputError(f"rank [] of rule '{self.rule}' is impossible; give a rank for each edge")
        above_nought(self.rule, "scale", self.scale)
        _decay(self.rule, self.decay)
        for name in ("refactor_every", "svd_iterations"):
            whole(self.rule, name, getattr(self, name))
        for name in ("clip_signal", "clip_update"):
            if getattr(self, name) is not None:
                above_nought(self.rule, name, getattr(self, name))
        one_of(f"option init of rule '{self.rule}':", self.init, ("random", "svd"))
        one_of(f"option moments of rule '{self.rule}':", self.moments, ("keep", "reset"))
        one_of(f"option qkv of rule '{self.rule}':", self.qkv, ("each", "fused", "shared"))
        if not isinstance(self.capped, bool):
            raise InputError(f"capped {self.capped!r} of rule '{self.rule}' is no choice; use true or false")
        _check_schedule(self.rule, self.schedule)

    def feedback(self, plan: Plan, **learning: object) -> LowRank | Parts:
        """Return the map of one edge."""
        if (self.init == "svd" or self.refactor_every) and plan.layer is None:
            raise InputError(
                f"init 'svd' and refactor_every of rule '{self.rule}' decompose a layer's weight, and '{plan.edge}' "
                "runs against none; use init = 'random' and refactor_every = 0 there"
            )
        if self.qkv == "each" and _is_fused(plan):
            third = plan.geometry.m // 3
            geometry = Linear(third, plan.geometry.n)
            rows = [Rows(plan.layer, third * i, third * (i + 1)) for i in range(3)]
            own = [replace(plan, geometry=geometry, layer=part) for part in rows]
            return Parts([self._one(part, learning) for part in own], plan.layer)
        return self._one(plan, learning)

    def _one(self, plan: Plan, learning: Mapping[str, object]) -> LowRank:
        return LowRank(
            plan.geometry,
            self.scale * plan.std,
            plan.generator,
            rank=self._rank(plan, self._own(plan)),
            decay=self.decay,
            init=self.init,
            refactor_every=self.refactor_every,
            svd_iterations=self.svd_iterations,
            moments=self.moments,
            clip_signal=self.clip_signal,
            clip_update=self.clip_update,
            schedule={int(epoch): self._rank(plan, rank) for epoch, rank in self.schedule or ()},
            layer=plan.layer,
            **learning,
        )

    def _own(self, plan: Plan) -> int | float:
        if not _is_list(self.rank):
            return self.rank
        if len(self.rank) != plan.count:
            raise InputError(
                f"rank {list(self.rank)} of rule '{self.rule}' is a list of {len(self.rank)}, and the rule has "
                f"{plan.count} edges; give one rank an edge, in the order in which the sites fire"
            )
        return self.rank[plan.place]

    def _rank(self, plan: Plan, rank: int | float) -> int:
        m, most = plan.geometry.m, plan.geometry.greatest_rank
        asked = rank if isinstance(rank, int) else max(1, round(rank * m))
        if self.qkv == "fused" and isinstance(rank, int) and _is_fused(plan):
            asked = 3 * rank
        if asked > most and self.capped:
            return most
        if asked > most:
            raise InputError(
                f"rank {asked} is impossible on '{plan.edge}': the error there has {m} channels and the map is "
                f"{m} x {prod(plan.geometry.weight_shape(1))}; use 1 to {most}, capped = true, or name sites "
                "that leave this one out"
            )
        return asked


@dataclass(frozen=True)
class OjaOptions(FactorOptions):
    """Options of the local rules; see `LowRank` and `plasticity.oja`."""

    q: str = "fixed"
    p: str = "oja"
    normalise: str = "max"
    use_targets: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.use_targets, bool):
            raise InputError(f"use_targets {self.use_targets!r} of rule '{self.rule}' is no choice; use true or false")
        one_of(f"option q of rule '{self.rule}':", self.q, ("fixed", "hebbian"))
        one_of(f"option p of rule '{self.rule}':", self.p, ("fixed", "oja", "kolen_pollack"))
        one_of(f"option normalise of rule '{self.rule}':", self.normalise, ("max", "none", "std"))

    def local(self, plan: Plan) -> LowRank | Parts:
        """Return the map of one edge; labels drive P where the edge reads the output's own error."""
        return self.feedback(
            plan,
            learn_P=self.p,
            learn_Q=self.q,
            normalise=self.normalise,
            use_targets=self.use_targets and plan.from_output,
        )


def _is_list(rank: object) -> bool:
    return isinstance(rank, list | tuple)


def _is_fused(plan: Plan) -> bool:
    name = plan.edge.target.module.rpartition(".")[2]
    return isinstance(plan.layer, nn.Linear) and name == "qkv" and plan.geometry.m % 3 == 0


def _check_rank(rule: str, rank: object) -> None:
    is_whole = isinstance(rank, int) and not isinstance(rank, bool) and rank >= 1
    if not (is_whole or (isinstance(rank, float) and 0 < rank < 1)):
        raise InputError(
            f"rank {rank!r} of rule '{rule}' is impossible; use a whole number from 1, a fraction of the error's "
            "channels between 0 and 1, or a list of them"
        )


def _check_schedule(rule: str, schedule: object) -> None:
    if schedule is None:
        return
    pairs = schedule if _is_list(schedule) else [None]
    for pair in pairs:
        if not _is_list(pair) or len(pair) != 2 or not isinstance(pair[0], int) or pair[0] < 1:
            raise InputError(
                f"schedule {schedule!r} of rule '{rule}' cannot be read; give pairs of epoch and rank, as in [[11, 8]]"
            )
        _check_rank(rule, pair[1])


def above_nought(rule: str, option: str, value: object) -> None:
    """Refuse what is no number above nought."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < inf:
        raise InputError(f"{option} {value!r} of rule '{rule}' is impossible; use a number above 0")


def whole(rule: str, option: str, value: object, least: int = 0) -> None:
    """Refuse what is no whole number from `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{option} {value!r} of rule '{rule}' is impossible; use a whole number from {least}")


def _decay(rule: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < inf:
        raise InputError(f"decay {value!r} of rule '{rule}' is impossible; use 0 or a small positive number")


def mapping_of(rule: str, option: str, value: object) -> Mapping[str, object]:
    """Refuse what is no table."""
    if not isinstance(value, Mapping) or not value:
        raise InputError(f"{option} {value!r} of rule '{rule}' is no table of site patterns and rules")
    return value

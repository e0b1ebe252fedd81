"""Learning rules by their names in the literature: a topology and the feedback maps laid along its edges.

A rule replaces where an error is read, where it is delivered and by which linear map; the rest stays exact
backpropagation (activations, pooling, normalisation, and every layer that no rule is named for).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import nn

from rfmodel.errors import InputError, nearest, one_of
from rfmodel.routing.feedback import Feedback, Fixed, LowRank, generator_for
from rfmodel.routing.geometry import Geometry, geometry_of
from rfmodel.routing.ports import Edge, Port, Routing, Trace, check
from rfmodel.routing.topologies import direct, layerwise, sites_of


@dataclass(frozen=True)
class Plan:
    """What a rule is told about the edge that it makes a map for.

    Parameters
    ----------
    edge : Edge
    geometry : Linear, Convolution or Dense
    std : float
        Standard deviation for the entries of B: that of the replaced weights on a reciprocal edge, otherwise
        1 / sqrt(3 fan), the law of torch's default initialisation for the error that B adds up.
    generator : torch.Generator
        Drawn from (seed, edge).
    layer : nn.Module or None
        The layer whose weight the edge runs against; None unless the edge is reciprocal.
    classes : int
        Size of the network's output.
    from_output : bool
        Whether the edge reads the output's own error.
    """

    edge: Edge
    geometry: Geometry
    std: float
    generator: torch.Generator
    layer: nn.Module | None
    classes: int
    from_output: bool


@dataclass(frozen=True)
class Rule:
    """A learning rule: a topology and a factory of feedback maps."""

    name: str
    routing: Routing
    feedback: Callable[[Plan], Feedback]


RULES: dict[str, Callable[..., Rule]] = {}


def register_rule(name: str) -> Callable[[Callable[..., Rule]], Callable[..., Rule]]:
    """Return a decorator that makes a function returning a `Rule` known under `name`."""

    def register(factory: Callable[..., Rule]) -> Callable[..., Rule]:
        if name in RULES:
            raise InputError(f"rule '{name}' is registered already, by {RULES[name].__module__}; choose another name")
        RULES[name] = factory
        return factory

    return register


def make_rule(name: str, **options: object) -> Rule:
    """Return the rule of that name with its options.

    Raises
    ------
    InputError
        If the name or an option is unknown, or a needed option is missing.
    """
    factory = RULES[one_of("rule", name, RULES)]
    known = inspect.signature(factory).parameters
    for option in options:
        if option not in known:
            raise InputError(
                f"rule '{name}' has no option '{option}': its options are "
                f"{', '.join(known) or 'none'}{nearest(option, known)}"
            )
    missing = [n for n, p in known.items() if p.default is inspect.Parameter.empty and n not in options]
    if missing:
        raise InputError(f"rule '{name}' needs {', '.join(missing)}; say for example {missing[0]} = 4")
    return factory(**options)


def _no_edges(record: Trace, sites: object) -> list[Edge]:
    return []


@register_rule("bp")
def backpropagation() -> Rule:
    """Backpropagation: no edge, the true Jacobian everywhere."""

    def feedback(plan: Plan) -> Feedback:
        raise InputError(f"backpropagation has no feedback map for '{plan.edge}'")

    return Rule("bp", _no_edges, feedback)


@register_rule("fa")
def feedback_alignment(scale: float = 1.0) -> Rule:
    """Feedback alignment: a fixed random B in place of each W^T (Lillicrap et al. 2016; Hanut & Kadmon eq. 1)."""
    _positive("fa", "scale", scale)
    return Rule("fa", layerwise, lambda plan: Fixed(plan.geometry, scale * plan.std, plan.generator))


@register_rule("dfa")
def direct_feedback_alignment(source: str = "output", scale: float = 1.0) -> Rule:
    """Direct feedback alignment: the output's error to every site by a fixed random B (Nokland 2016)."""
    _positive("dfa", "scale", scale)
    return Rule("dfa", direct(source), lambda plan: Fixed(plan.geometry, scale * plan.std, plan.generator))


@register_rule("ldfa")
def low_dimensional(
    rank: int,
    q: str = "fixed",
    p: str = "oja",
    normalise: str = "max",
    use_targets: bool = False,
    decay: float = 0.0,
    scale: float = 1.0,
) -> Rule:
    """Local LDFA: B = QP along each layer, P by Oja's rule on the arriving error, Q fixed or Hebbian.

    Hanut & Kadmon eqs. 12, 15, 18 and Algorithm 2.
    """
    return Rule("ldfa", layerwise, _local("ldfa", rank, q, p, normalise, use_targets, decay, scale))


@register_rule("dldfa")
def direct_low_dimensional(
    rank: int,
    source: str = "output",
    q: str = "fixed",
    p: str = "oja",
    normalise: str = "max",
    use_targets: bool = False,
    decay: float = 0.0,
    scale: float = 1.0,
) -> Rule:
    """Direct LDFA: the error of a later layer straight to each site by B = QP (Hanut & Kadmon eq. 17)."""
    return Rule("dldfa", direct(source), _local("dldfa", rank, q, p, normalise, use_targets, decay, scale))


@register_rule("ldfa_normative")
def normative(rank: int, decay: float = 0.0, scale: float = 1.0) -> Rule:
    """Normative LDFA: B = QP along each layer, Q and P descending ||QP - W^T||^2 (eqs. 8, 14, Algorithm 1)."""
    _whole_rank("ldfa_normative", rank)
    _positive("ldfa_normative", "scale", scale)
    _decay("ldfa_normative", decay)

    def feedback(plan: Plan) -> Feedback:
        return LowRank(
            plan.geometry,
            scale * plan.std,
            plan.generator,
            rank=_possible(rank, plan),
            learn_P="reconstruction",
            learn_Q="reconstruction",
            decay=decay,
            layer=plan.layer,
        )

    return Rule("ldfa_normative", layerwise, feedback)


def _local(
    name: str, rank: int, q: str, p: str, normalise: str, use_targets: bool, decay: float, scale: float
) -> Callable[[Plan], Feedback]:
    _whole_rank(name, rank)
    _positive(name, "scale", scale)
    _decay(name, decay)
    if not isinstance(use_targets, bool):
        raise InputError(f"use_targets {use_targets!r} of rule '{name}' is no choice; use true or false")
    one_of(f"option q of rule '{name}':", q, ("fixed", "hebbian"))
    one_of(f"option p of rule '{name}':", p, ("fixed", "oja"))
    one_of(f"option normalise of rule '{name}':", normalise, ("max", "none", "std"))

    def feedback(plan: Plan) -> Feedback:
        if use_targets and not plan.from_output:
            raise InputError(
                f"use_targets on '{plan.edge}': labels drive P only where the error is the output's "
                f"({plan.classes} classes), and here it has {plan.geometry.m} channels; name the output layer"
            )
        return LowRank(
            plan.geometry,
            scale * plan.std,
            plan.generator,
            rank=_possible(rank, plan),
            learn_P=p,
            learn_Q=q,
            normalise=normalise,
            use_targets=use_targets,
            decay=decay,
        )

    return feedback


def _whole_rank(name: str, rank: object) -> None:
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
        raise InputError(f"rank {rank!r} of rule '{name}' is impossible; use a whole number from 1")


def _positive(name: str, option: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise InputError(f"{option} {value!r} of rule '{name}' is impossible; use a number above 0")


def _decay(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise InputError(f"decay {value!r} of rule '{name}' is impossible; use 0 or a small positive number")


def _possible(rank: int, plan: Plan) -> int:
    if rank > plan.geometry.m:
        raise InputError(
            f"rank {rank} is impossible on '{plan.edge}': the error there has {plan.geometry.m} channels; "
            f"use 1 to {plan.geometry.m}, or name sites that leave this one out"
        )
    return rank


def lay(record: Trace, rules: Mapping[str, Rule], seed: int = 0) -> dict[Edge, Feedback]:
    """Lay every rule's edges over the traced network and make their maps.

    Parameters
    ----------
    record : Trace
    rules : mapping of site pattern to Rule
        A name wins over a glob, so that {"*": fa, "head.logits": bp} leaves the last layer to backpropagation.
        Sites that no pattern names learn by backpropagation.
    seed : int

    Returns
    -------
    dict of Edge to Feedback, in the order of the patterns

    Raises
    ------
    InputError
        If a site is unknown or named twice, or an edge or a rank cannot be; the message names the pattern.
    """
    taken: dict[str, str] = {}
    edges: dict[Edge, Feedback] = {}
    for pattern in sorted(rules, key=_is_glob):
        try:
            sites = _claim(record, pattern, taken)
            for edge in _reachable(record, pattern, rules[pattern].routing(record, sites)):
                check(edge, record)
                edges[edge] = rules[pattern].feedback(_plan(edge, record, seed))
        except InputError as error:
            raise InputError(f'rules."{pattern}": {error}') from None
    return edges


def _reachable(record: Trace, pattern: str, edges: Sequence[Edge]) -> list[Edge]:
    """A glob stands for the sites before its source: those at or after it learn by backpropagation (appendix C.3)."""
    if not _is_glob(pattern):
        return list(edges)
    before = [edge for edge in edges if record.firing(edge.target).when < record.firing(edge.source).when]
    if edges and not before:
        raise InputError(f"no site lies before the source '{edges[0].source}'; name a later source")
    return before


def _is_glob(pattern: str) -> bool:
    return any(mark in pattern for mark in "*?[")


def _claim(record: Trace, pattern: str, taken: dict[str, str]) -> list[str]:
    sites = [site for site in sites_of(record, pattern) if not (_is_glob(pattern) and site in taken)]
    for site in sites:
        if site in taken:
            raise InputError(f"site '{site}' is named by \"{taken[site]}\" too; keep one of the two")
        taken[site] = pattern
    return sites


def _plan(edge: Edge, record: Trace, seed: int) -> Plan:
    geometry = geometry_of(edge, record)
    layer = record.layer(edge.target.module) if edge.is_reciprocal else None
    std = 1 / sqrt(3 * geometry.fan)
    if layer is not None and layer.weight.numel() > 1 and not layer.weight.is_meta:
        std = float(layer.weight.detach().std())
    classes = record.shape(Port("", "output"))[-1]
    output = edge.source in (Port("", "output"), Port(record.weighted[-1], "output"))
    return Plan(edge, geometry, std, generator_for(seed, str(edge)), layer, classes, output and geometry.m == classes)

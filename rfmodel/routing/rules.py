"""Learning rules: a topology and the feedback maps laid along its edges, known by their names in the literature.

A rule replaces where an error is read, where it is delivered and by which linear map; the rest stays exact
backpropagation (activations, pooling, normalisation, and every layer that no rule is named for). The rules that come
with the package are in `rfmodel.routing.catalogue`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod, sqrt

import torch
from torch import nn

from rfmodel.errors import InputError, nearest, one_of
from rfmodel.routing.feedback import Feedback, Step, generator_for
from rfmodel.routing.geometry import Geometry
from rfmodel.routing.placement import geometry_of
from rfmodel.routing.ports import Edge, Port, Routing, Trace, check
from rfmodel.routing.reciprocal import WeightMirror
from rfmodel.routing.topologies import is_glob, sites_of


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
    seed : int
    place, count : int
        Which of the rule's edges this is, in the order in which their targets fire, and how many there are.
    shape : tuple of int
        Shape at the target, without the batch.
    """

    edge: Edge
    geometry: Geometry
    std: float
    generator: torch.Generator
    layer: nn.Module | None
    classes: int
    from_output: bool
    seed: int = 0
    place: int = 0
    count: int = 1
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Rule:
    """A learning rule: a topology and a factory of feedback maps.

    Parameters
    ----------
    name : str
    routing : callable of (Trace, sites) -> edges
    feedback : callable of Plan -> Feedback
    parts : mapping of site pattern to Rule
        Where it is given, these rules are laid in place of this one, each over its own part.
    wants_output : bool
        Whether one of the edges at least must read the output's own error (Oja's rule on labels).
    """

    name: str
    routing: Routing
    feedback: Callable[[Plan], Feedback]
    parts: Mapping[str, Rule] = field(default_factory=dict)
    wants_output: bool = False


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
    return call_factory(name, RULES[one_of("rule", name, RULES)], options)


def call_factory(name: str, factory: Callable[..., Rule], options: Mapping[str, object]) -> Rule:
    """Return what a rule's function makes of its options; an option that is unknown or missing is refused by name."""
    given = inspect.signature(factory).parameters
    parameters = {n: p for n, p in given.items() if p.kind is not inspect.Parameter.VAR_POSITIONAL}
    known = {n: p for n, p in parameters.items() if p.kind is not inspect.Parameter.VAR_KEYWORD}
    for option in options:
        if option not in known and len(known) == len(parameters):  # what is handed on is checked where it goes
            raise InputError(
                f"rule '{name}' has no option '{option}': its options are "
                f"{', '.join(known) or 'none'}{nearest(option, known)}"
            )
    missing = [n for n, p in known.items() if p.default is inspect.Parameter.empty and n not in options]
    if missing:
        raise InputError(f"rule '{name}' needs {', '.join(missing)}; say for example {missing[0]} = 4")
    return factory(**options)


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
    for pattern, rule in sorted(_parted(rules).items(), key=lambda item: is_glob(item[0])):
        try:
            edges |= _lay_one(record, pattern, rule, taken, seed)
        except InputError as error:
            raise InputError(f'rules."{pattern}": {error}') from None
    return edges


def _parted(rules: Mapping[str, Rule]) -> dict[str, Rule]:
    flat: dict[str, Rule] = {}
    for pattern, rule in rules.items():
        for part, own in (_parted(rule.parts) if rule.parts else {pattern: rule}).items():
            if part in flat:
                raise InputError(f'rules."{part}" is given twice, by itself and in a partition; keep one of the two')
            flat[part] = own
    return flat


def _lay_one(record: Trace, pattern: str, rule: Rule, taken: dict[str, str], seed: int) -> dict[Edge, Feedback]:
    laid: dict[Edge, Feedback] = {}
    sites = _claim(record, pattern, taken)
    edges = [edge for edge in rule.routing(record, sites) if not _is_taken(record, edge, pattern, taken)]
    for place, edge in enumerate(edges):
        check(edge, record)
        plan = replace(_plan(edge, record, seed), place=place, count=len(edges))
        laid[edge] = rule.feedback(plan)
        _refuse_silent(plan, laid[edge])
        _refuse_tied(edge, laid[edge], record)
        _try(edge, laid[edge], record)
    if rule.wants_output and not any(_plan(edge, record, seed).from_output for edge in edges):
        raise InputError(
            f"use_targets of rule '{rule.name}': labels drive P only where the error is the output's, and none of "
            f"{', '.join(map(str, edges))} reads it; name the output layer too"
        )
    return laid


def _claim(record: Trace, pattern: str, taken: dict[str, str]) -> Sequence[str]:
    sites = sites_of(record, pattern)
    kept = [site for site in sites if not (is_glob(pattern) and site in taken)]
    wider = [taken[site] for site in sites if is_glob(taken.get(site, ""))]
    if wider and not kept:
        raise InputError(
            f'every site that it fits is taken by "{wider[0]}", which stands before it; give the narrower pattern first'
        )
    for site in kept:
        if site in taken:
            raise InputError(f"site '{site}' is named by \"{taken[site]}\" too; keep one of the two")
        taken[site] = pattern
    return type(sites)(kept, pattern)


def _is_taken(record: Trace, edge: Edge, pattern: str, taken: dict[str, str]) -> bool:
    """Whether a glob's edge leads to a site that another pattern has."""
    return is_glob(pattern) and taken.get(edge.target.module, pattern) != pattern


def _plan(edge: Edge, record: Trace, seed: int) -> Plan:
    geometry = geometry_of(edge, record)
    layer = record.layer(edge.target.module) if edge.is_reciprocal else None
    std = 1 / sqrt(3 * geometry.fan)
    if layer is not None and layer.weight.numel() > 1 and not layer.weight.is_meta:
        std = float(layer.weight.detach().std())
    classes = record.classes
    output = edge.source in (Port("", "output"), Port(record.weighted[-1], "output"))
    return Plan(
        edge,
        geometry,
        std,
        generator_for(seed, str(edge)),
        layer,
        classes,
        output and geometry.m == classes,
        seed,
        shape=record.shape(edge.target),
    )


def _refuse_tied(edge: Edge, feedback: Feedback, record: Trace) -> None:
    """A map that is updated as a weight is cannot follow one that other modules' gradients move too."""
    if feedback.learns_as_weights and feedback.layer is not None:
        own = feedback.layer.weight
        owners = [n for n, m in record.network.named_modules() if any(p is own for p in m.parameters(recurse=False))]
        if len(owners) > 1:
            raise InputError(
                f"edge '{edge}': {' and '.join(owners)} share one weight, which no map can follow; untie it"
            )


def _refuse_silent(plan: Plan, feedback: Feedback) -> None:
    """Refuse a map that takes its spread from weights without any, and cannot grow one."""
    grows = isinstance(feedback, WeightMirror) or any(p.requires_grad for p in feedback.maps[:1])
    if not (plan.std > 0 or grows or bool(feedback.effective().any())):
        raise InputError(
            f"edge '{plan.edge}': the weights of '{plan.edge.target.module}' are all alike (standard deviation "
            f"{plan.std}), and a map of their spread would deliver nothing; initialise them, or leave the site out"
        )


@torch.no_grad()
def _try(edge: Edge, feedback: Feedback, record: Trace) -> None:
    """Send one blank error along an edge: a map of the wrong shape is refused here and not in training."""
    if type(feedback).__module__.startswith("rfmodel.routing."):
        return
    given = feedback.given()
    blank = dict(device=given[0].device, dtype=given[0].dtype) if given else {}
    delta = torch.zeros(1, *record.shape(edge.source), **blank)
    like = torch.zeros(1, *record.shape(edge.target), **blank)
    step = Step(1.0, 1.0, torch.zeros(1, record.shape(Port("", "output"))[-1], **blank))
    try:
        carried, y = feedback.deliver(delta, like, step, *given)
        learnt = list(feedback.plasticity(delta, y, like, step, *given))
    except InputError:
        raise
    except Exception as error:
        found = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'}"
        raise InputError(
            f"edge '{edge}': {type(feedback).__name__} cannot carry an error of {tuple(delta.shape)} to "
            f"{tuple(like.shape)} ({found}); mend its carry or its weights' shapes"
        ) from None
    if carried.shape != like.shape:
        raise InputError(
            f"edge '{edge}': {type(feedback).__name__} delivers {tuple(carried.shape)} where the target is "
            f"{tuple(like.shape)}; carry must return a tensor shaped like its target"
        )
    shapes = [None if d is None else tuple(d.shape) for d in learnt]
    if any(shape not in (None, tuple(p.shape)) for shape, p in zip(shapes, feedback.maps, strict=False)) or len(
        shapes
    ) != len(feedback.maps):
        raise InputError(
            f"edge '{edge}': {type(feedback).__name__}.plasticity returns {shapes} for maps of "
            f"{[tuple(p.shape) for p in feedback.maps]}; return one pseudo-gradient a map, or None"
        )
    _try_effective(edge, feedback)


def _try_effective(edge: Edge, feedback: Feedback) -> None:
    if type(feedback).effective is Feedback.effective:
        return
    try:
        found = tuple(feedback.effective().shape)
    except Exception as error:
        found = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    asked = (feedback.geometry.m, prod(feedback.geometry.weight_shape(1)))
    if found != asked:
        raise InputError(
            f"edge '{edge}': {type(feedback).__name__}.effective gives {found}; return B in the forward weight's "
            f"orientation, {asked}"
        )

"""Laying: rules over a traced network, each over its own part, as factored layers, maps, heads and steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import sqrt

from torch import nn

from rfmodel.errors import InputError
from rfmodel.routing.factoring import factor, units
from rfmodel.routing.feedback import Feedback, generator_for
from rfmodel.routing.heads import lay_heads
from rfmodel.routing.local_loss import LocalLoss
from rfmodel.routing.placement import geometry_of
from rfmodel.routing.ports import Edge, Port, Trace, check
from rfmodel.routing.rules import Plan, Rule
from rfmodel.routing.topologies import is_glob, sites_of
from rfmodel.routing.trying import refuse_silent, refuse_tied, try_out


def factored(record: Trace, rules: Mapping[str, Rule], seed: int, epochs: int | None) -> dict[str, LocalLoss]:
    """Factor in place the layers of the rules that ask for it, and return the local loss of each; see `factoring`."""
    taken: dict[str, str] = {}
    found = {}
    ordered = sorted(_parted(rules).items(), key=lambda item: is_glob(item[0]))
    if all(rule.factors is None for _, rule in ordered):
        return {}
    for pattern, rule in ordered:
        try:
            found[pattern] = rule, _edges(record, pattern, rule, taken)
        except InputError as error:
            raise InputError(f'rules."{pattern}": {error}') from None
    return factor(record, found, seed, epochs)


def lay(
    record: Trace, rules: Mapping[str, Rule], seed: int = 0, losses: Mapping[str, LocalLoss] | None = None
) -> dict[Edge, Feedback]:
    """Lay every rule's edges over the traced network and make their maps.

    Parameters
    ----------
    record : Trace
    rules : mapping of site pattern to Rule
        A name wins over a glob, so that {"*": fa, "head.logits": bp} leaves the last layer to backpropagation.
        Sites that no pattern names learn by backpropagation.
    seed : int
    losses : mapping of layer to LocalLoss, optional
        Of the layers that `factored` has factored.

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
            edges |= _lay_one(record, pattern, rule, taken, seed, losses or {})
        except InputError as error:
            raise InputError(f'rules."{pattern}": {error}') from None
    return edges


def heads_of(record: Trace, rules: Mapping[str, Rule], seed: int = 0) -> dict[Port, nn.Module]:
    """Return the heads of the rules that have some, by the port where their unit ends; see `lay_heads`."""
    taken: dict[str, str] = {}
    ordered = sorted(_parted(rules).items(), key=lambda item: is_glob(item[0]))
    claimed = {pattern: (rule, _claim(record, pattern, taken)) for pattern, rule in ordered}
    return lay_heads(record, {p: (rule, sites) for p, (rule, sites) in claimed.items() if rule.cuts is not None}, seed)


def step_of(record: Trace, rules: Mapping[str, Rule], seed: int = 0) -> nn.Module | None:
    """Return the training step of the rule that has one of its own, or None.

    Raises
    ------
    InputError
        If it is not laid over the whole network, or other rules are laid beside it.
    """
    flat = _parted(rules)
    own = [(pattern, rule) for pattern, rule in flat.items() if rule.step is not None]
    if not own:
        return None
    pattern, rule = own[0]
    if pattern != "*" or len(flat) > 1:
        raise InputError(
            f"rules.\"{pattern}\": rule '{rule.name}' is a training step of its own and teaches whole networks; found "
            f"{', '.join(map(repr, flat))}: lay it over '*', and no other rule beside it"
        )
    try:
        return rule.step(record, seed)
    except InputError as error:
        raise InputError(f'rules."{pattern}": {error}') from None


def _parted(rules: Mapping[str, Rule]) -> dict[str, Rule]:
    flat: dict[str, Rule] = {}
    for pattern, rule in rules.items():
        for part, own in (_parted(rule.parts) if rule.parts else {pattern: rule}).items():
            if part in flat:
                raise InputError(f'rules."{part}" is given twice, by itself and in a partition; keep one of the two')
            flat[part] = own
    return flat


def _edges(record: Trace, pattern: str, rule: Rule, taken: dict[str, str]) -> list[Edge]:
    sites = _claim(record, pattern, taken)
    return [edge for edge in rule.routing(record, sites) if not _is_taken(record, edge, pattern, taken)]


def _lay_one(
    record: Trace, pattern: str, rule: Rule, taken: dict[str, str], seed: int, losses: Mapping[str, LocalLoss]
) -> dict[Edge, Feedback]:
    laid: dict[Edge, Feedback] = {}
    edges = _edges(record, pattern, rule, taken)
    own = units(record, [edge.target for edge in edges]) if losses and rule.factors is not None else {}
    for place, edge in enumerate(edges):
        check(edge, record)
        taught = tuple(losses[name] for name in own.get(edge.target, ()))
        plan = replace(_plan(edge, record, seed), place=place, count=len(edges), losses=taught)
        laid[edge] = rule.feedback(plan)
        refuse_silent(plan, laid[edge])
        refuse_tied(edge, laid[edge], record)
        try_out(edge, laid[edge], record)
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
        is_last=edge.target == Port(record.weighted[-1], "output"),
    )

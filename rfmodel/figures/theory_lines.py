"""Which conditions of the theory bench belong together: lines over rank, width or step, and matrices of one kind."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import xarray as xr

from rfmodel.figures.groups import Line, settings_of
from rfmodel.figures.labels import dotted
from rfmodel.figures.selection import conditions
from rfmodel.figures.theory_selection import of_condition, size, word_of

RULES = {
    "gd": "gradient descent",
    "fa": "FA",
    "fa_star": "FA*",
    "adaptive_q": "Q learns, P fixed",
    "normative": "normative Q, P",
    "oja": "Oja",
}
SIZES = ("feedback.rank", "rule.width")
FOLLOWED = "integration."  # how a condition is followed, which makes it no other
LONGEST = 24  # characters of a value within a label


def rule_name(study: xr.Dataset, condition: str) -> str:
    """Return what a condition's rule is called: of Oja's, what drives it and whether Q learns beside it."""
    rule = word_of(study, condition, "rule")
    feedback = settings_of(study, condition).get("feedback", {})
    name = RULES.get(rule, rule or condition)
    if rule != "oja" or not isinstance(feedback, dict):
        return name
    drive = {"residual": " by the residual", "targets": " by the targets"}.get(str(feedback.get("drive")), "")
    return f"{name}{drive}" + (", Q learns" if feedback.get("learn_q") else "")


def theory_lines(
    study: xr.Dataset, along: str = "rank", chosen: Sequence[str] | None = None, least: int = 1
) -> list[Line]:
    """Return conditions equal in all but one thing, as lines along it, in the study's order.

    Along rank and width it does not matter how a condition is followed, and of several at one place the one that is
    followed longest stands for all.

    Parameters
    ----------
    study : Dataset
    along : str
        "rank" or "width", a coordinate; or the dotted key of a setting that is a number, as "integration.step".
    chosen : sequence of str, optional
        Conditions looked at, all by default; those that have no place along it are left out.
    least : int
        Places that a line has to have; labels tell the others apart.
    """
    held: dict[str, list[tuple[float, str]]] = {}
    traits: dict[str, tuple[str, dict[str, str]]] = {}
    for condition in chosen or conditions(study):
        at = _place(study, condition, along)
        if np.isnan(at):
            continue
        own = _traits(study, condition, along)
        key = json.dumps([rule_name(study, condition), own], sort_keys=True)
        held.setdefault(key, []).append((at, condition))
        traits[key] = (rule_name(study, condition), own)
    held = {key: points for key, points in held.items() if len({at for at, _ in points}) >= least}
    labels = told_apart([traits[key] for key in held])
    found = []
    for label, points in zip(labels, held.values(), strict=True):
        if along in ("rank", "width"):
            points = _longest(study, points)
        places, names = zip(*sorted(points, key=lambda point: point[0]), strict=True)
        found.append(Line(label, places, names))
    return found


def matrices(study: xr.Dataset, chosen: Sequence[str] | None = None) -> dict[str, list[str]]:
    """Return the conditions on each kind of matrix (its law, sizes and values) by what the kind is called."""
    held: dict[str, list[str]] = {}
    traits: dict[str, tuple[str, dict[str, str]]] = {}
    for condition in chosen or conditions(study):
        law = word_of(study, condition, "law")
        own = {k: v for k, v in _traits(study, condition).items() if k.startswith("matrix.")}
        key = json.dumps([law, own], sort_keys=True)
        held.setdefault(key, []).append(condition)
        traits[key] = (law or "matrix", own)
    return dict(zip(told_apart(list(traits.values())), held.values(), strict=True))


def told_apart(traits: list[tuple[str, dict[str, str]]]) -> list[str]:
    """Return a label of each (name, traits): the name, and what differs between those of one name."""
    labels = []
    for name, own in traits:
        alike = [other for known, other in traits if known == name]
        keys = dict.fromkeys(key for other in alike for key in other)
        differing = [key for key in keys if len({other.get(key) for other in alike}) > 1]
        labels.append(", ".join([name, *(_said(key, own[key]) for key in differing if key in own)]))
    return labels


def _said(key: str, value: str) -> str:
    plain = json.loads(value)
    text = plain if isinstance(plain, str) else value
    return f"{key.rpartition('.')[2]} {text if len(text) <= LONGEST else text[: LONGEST - 2] + ' …'}"


def _traits(study: xr.Dataset, condition: str, along: str = "") -> dict[str, str]:
    found = dotted(settings_of(study, condition))
    without = (*SIZES, FOLLOWED) if along in ("rank", "width") else (along or "seeds",)
    return {key: value for key, value in found.items() if key and key != "seeds" and not key.startswith(without)}


def _longest(study: xr.Dataset, points: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """Return one condition a place: the first of those that are followed longest."""
    found: dict[float, str] = {}
    for at, condition in points:
        if at not in found or duration(study, condition) > duration(study, found[at]):
            found[at] = condition
    return list(found.items())


def duration(study: xr.Dataset, condition: str) -> float:
    """Return how long a condition is followed, in units of tau."""
    return float(np.nanmax(of_condition(study, condition)["time"].values))


def _place(study: xr.Dataset, condition: str, along: str) -> float:
    if along in ("rank", "width"):
        return size(study, condition)
    value = json.loads(dotted(settings_of(study, condition)).get(along, "null"))
    return float(value) if isinstance(value, int | float) else float("nan")

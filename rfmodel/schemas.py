"""Schemas: what the settings of a protocol may be, by the model that it names; a network by default. Knows no torch.

A protocol of a solvable model says which in its key `theory`; any other trains networks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rfmodel.errors import InputError, nearest
from rfmodel.network_settings import Table, kind_of
from rfmodel.settings import Settings
from rfmodel.theory.settings import MODELS, FactorisationSettings

Tree = Mapping[str, Any]
RANKLESS = {  # rules of the package that have no rank; a user's own may
    "bp", "fa", "usf", "brsf", "frsf", "kolen_pollack", "weight_mirror", "dfa", "sparse_dfa", "drtp",
    "predsim", "auglocal", "pepita",
}  # fmt: skip


def ranked_rules(tree: Tree) -> list[dict[str, Any]]:
    """Return the rules of a network's settings that are tables and may have a rank, parts of a partition included."""
    rules = tree.get("rules", {})
    rules = {"*": rules} if isinstance(rules, dict) and isinstance(rules.get("name"), str) else rules
    return _tables(rules)


def _tables(rules: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for rule in rules.values() if isinstance(rules, dict) else ():
        if isinstance(rule, dict) and rule.get("name") == "partition":
            found += _tables(rule.get("parts"))
        elif isinstance(rule, dict) and str(rule.get("name")) not in RANKLESS:
            found.append(rule)
    return found


def ranked_feedback(tree: Tree) -> list[dict[str, Any]]:
    """Return the feedback of a linear network's settings, if it is one that has a rank."""
    feedback = tree.get("feedback")
    return [feedback] if isinstance(feedback, dict) and feedback.get("name", "gd") != "gd" else []


def inherited(tree: Tree) -> Tree:
    """What `train.feedback` leaves open is as in `train.optimiser`, but for the decay, which is the rule's own."""
    train = tree.get("train", {})
    forward, feedback = (train.get(k) if isinstance(train, dict) else None for k in ("optimiser", "feedback"))
    if not isinstance(forward, dict) or not isinstance(feedback, dict):
        return tree
    kept = {key: value for key, value in forward.items() if key != "weight_decay"}
    if feedback.get("name", forward.get("name")) != forward.get("name"):
        kept.pop("options", None)
    if "schedule" in feedback:
        kept = {key: value for key, value in kept.items() if key not in ("gamma", "milestones", "floor")}
    return {**tree, "train": {**train, "feedback": {**kept, **feedback}}}


def usual(tree: Tree) -> Tree:
    """What a factorisation's table leaves open is as where no such table is given."""
    own = FactorisationSettings.usual
    return {**tree, **{key: own[key] | tree[key] for key in own if isinstance(tree.get(key), dict)}}


@dataclass(frozen=True)
class Schema:
    """What the settings of a protocol may be.

    Parameters
    ----------
    settings : type
        Of one run's.
    short : mapping of str to tuple of str
        Axes that are called otherwise than the settings they set, and the path of those.
    example : str
        What an axis of ranks needs.
    ranked : callable of (tree)
        The tables of a tree of settings that have a rank.
    completed : callable of (tree)
        The tree with what some of its tables leave open to others.
    theory : str
        The solvable model; "" is none.
    """

    settings: type[Table]
    short: Mapping[str, tuple[str, ...]]
    example: str
    ranked: Callable[[Tree], list[dict[str, Any]]] = lambda tree: []
    completed: Callable[[Tree], Tree] = lambda tree: tree
    theory: str = ""

    def table(self, part: str, tree: Tree) -> type[Table] | None:
        """Return the class of a table of the settings where it depends on the tree; None elsewhere."""
        return kind_of(tree) if part == "network" and not self.theory else None


_LAW = {key: ("spectrum", key) for key in ("law", "modes", "largest", "smallest", "exponent", "head")}
_INTEGRATION = {key: ("integration", key) for key in ("duration", "points", "step")}
_TASK = {key: ("task", key) for key in ("inputs", "hidden", "outputs", "samples", "noise")}
_MATRIX = {key: ("matrix", key) for key in ("rows", "columns")}
NETWORKS = Schema(
    Settings,
    {key: ("network", key) for key in ("bottleneck", "depth", "width", "kernel")}
    | {"classes": ("data", "classes"), "rule": ("rules",)},
    'a rule written as a table, as in rules.retina = {name = "ldfa"}',
    ranked_rules,
    inherited,
)
SCHEMAS = {
    "linear_dynamics": Schema(
        MODELS["linear_dynamics"],
        {"rule": ("feedback", "name")} | _INTEGRATION | _TASK | {key: ("task", *path) for key, path in _LAW.items()},
        'feedback that has one, as in feedback.name = "fa"',
        ranked_feedback,
        theory="linear_dynamics",
    ),
    "matrix_factorisation": Schema(
        MODELS["matrix_factorisation"],
        {"rule": ("rule", "name"), "width": ("rule", "width")}
        | _INTEGRATION
        | _MATRIX
        | {key: ("matrix", *path) for key, path in _LAW.items()},
        "a linear network: the axis of a factorisation is 'width'",
        completed=usual,
        theory="matrix_factorisation",
    ),
}


def schema_of(file: str, raw: Tree) -> Schema:
    """Return the schema of a protocol's tables.

    Parameters
    ----------
    file : str
        Named in errors.
    raw : mapping
        The file's tables.

    Raises
    ------
    InputError
        If `theory` names no model.
    """
    if "theory" not in raw:
        return NETWORKS
    found = raw["theory"]
    if not isinstance(found, str) or found not in SCHEMAS:
        raise InputError(
            f"{file}: key 'theory' = {found!r} is unknown: known are {', '.join(SCHEMAS)}{nearest(str(found), SCHEMAS)}"
        )
    return SCHEMAS[found]

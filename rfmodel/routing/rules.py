"""Learning rules: a topology and the feedback maps laid along its edges, known by their names in the literature.

A rule replaces where an error is read, where it is delivered and by which linear map; the rest stays exact
backpropagation (activations, pooling, normalisation, and every layer that no rule is named for). The rules that come
with the package are in `rfmodel.routing.catalogue`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from rfmodel.errors import InputError, nearest, one_of
from rfmodel.routing.factoring import Factors
from rfmodel.routing.feedback import Feedback
from rfmodel.routing.geometry import Geometry
from rfmodel.routing.heads import HeadPlan
from rfmodel.routing.local_loss import LocalLoss
from rfmodel.routing.ports import Edge, Port, Routing, Trace


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
    losses : tuple of LocalLoss
        Of the factored layers that the edge's error teaches, in the order in which they fire.
    is_last : bool
        Whether the target is the output of the network's last layer.
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
    losses: tuple[LocalLoss, ...] = ()
    is_last: bool = False


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
    factors : Factors, optional
        How layers are trained in the space of their singular value decomposition.
    cuts : callable of (Trace, sites) -> ports, optional
        Where units end that learn from a loss of their own; the graph is cut there, and no edge is laid.
    head : callable of HeadPlan -> Module, optional
        Makes the local loss at each cut: a module that takes (h, y), the activity and one-hot labels (batch, classes),
        and returns a mean over the batch. Its parameters learn as weights do. None leaves the graph whole there.
    step : callable of (Trace, seed) -> Module, optional
        Makes a training step of the rule's own, for the whole network: a module that takes (network, images, Step) and
        returns the network's output, whose backward pass gives the weights what they learn by.
    """

    name: str
    routing: Routing
    feedback: Callable[[Plan], Feedback]
    parts: Mapping[str, Rule] = field(default_factory=dict)
    wants_output: bool = False
    factors: Factors | None = None
    cuts: Callable[[Trace, Sequence[str]], Sequence[Port]] | None = None
    head: Callable[[HeadPlan], nn.Module | None] | None = None
    step: Callable[[Trace, int], nn.Module] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.factors, Factors | None):
            raise InputError(
                f"factors {self.factors!r} of rule '{self.name}' are no rfmodel.routing.factoring.Factors; give those, "
                "or None"
            )


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

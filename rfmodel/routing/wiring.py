"""Wiring: one routed pass, what the hooks of a network share, and the hooks that place taps and cuts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from weakref import WeakSet

import torch
from torch import Tensor, nn

from rfmodel.errors import InputError
from rfmodel.routing.feedback import Feedback, Step
from rfmodel.routing.local_loss import LocalLoss
from rfmodel.routing.ports import Edge, Port
from rfmodel.routing.taps import Deliver, FactorTap, Tap, Tell, WeightTap

FACTORS = ("U", "S", "V")
Note = Callable[[Edge, Tensor, Tensor], None]


@dataclass(eq=False)
class Pass:
    """One routed forward pass: what its hooks are told, and what they need if its modules run again.

    Parameters
    ----------
    step : Step
    cutting : bool
        False where only the true errors are read.
    note : callable of (edge, arriving, delivered), optional
    live : dict of Port to Tensor, or None
        The activity at each target, still attached to what made it; None once the forward pass is over.
    kept : dict of Port to Tensor
        Activities without the graph, for taps that are placed again.
    due : dict of Edge to Tensor
        What stands for the edges whose source is still to come; empty once the forward pass is over.
    told : dict of Edge to Tensor
        The errors at these edges' sources, from where they are read in the backward pass to where they are delivered.
    losses : list of Tensor
        Of the heads, until the output has taken them in.
    frees : bool
        Whether units with a loss of their own learn from it where they end, and what they kept is freed.
    nodes : tuple of int
        Autograd's number of the first node that the pass made, and of the first that it did not.
    is_graded : bool
        Whether gradients were on where the pass began.
    """

    step: Step
    cutting: bool = True
    note: Note | None = None
    live: dict[Port, Tensor] | None = field(default_factory=dict)
    kept: dict[Port, Tensor] = field(default_factory=dict)
    due: dict[Edge, Tensor] = field(default_factory=dict)
    told: dict[Edge, Tensor] = field(default_factory=dict)
    losses: list[Tensor] = field(default_factory=list)
    frees: bool = False
    nodes: tuple[int, int] = (0, 0)
    is_graded: bool = field(default_factory=torch.is_grad_enabled)


@dataclass
class Wiring:
    """What the hooks of a network share.

    Parameters
    ----------
    edges : dict of Port to list of (Edge, Feedback)
        By source.
    afar : dict of Port to list of (Edge, Feedback)
        By target, those whose source is another module than the target's own, in the order in which sources fire.
    tapped : list of (Module, names)
        The layers that compute with tapped parameters, and which.
    now : Pass, optional
        The forward pass under way.
    passes : WeakSet of Pass
        Those whose backward pass may still come; their graphs own them.
    """

    edges: dict[Port, list[tuple[Edge, Feedback]]] = field(default_factory=dict)
    afar: dict[Port, list[tuple[Edge, Feedback]]] = field(default_factory=dict)
    tapped: list[tuple[nn.Module, tuple[str, ...]]] = field(default_factory=list)
    now: Pass | None = None
    passes: WeakSet[Pass] = field(default_factory=WeakSet)

    def __reduce__(self):
        return (
            Wiring,
            (),
            {"edges": self.edges, "afar": self.afar, "tapped": self.tapped},
        )  # a copy has none of its original's passes

    @contextmanager
    def serve(self, passed: Pass) -> Iterator[Pass]:
        """Within this context every forward pass of the network is `passed`."""
        before, self.now = self.now, passed  # a whole model that is checkpointed runs again as one of its units learns
        eager = not torch.compiler.is_compiling()
        first = torch.autograd._get_sequence_nr() if eager else 0
        try:
            yield passed
        finally:
            self.now, passed.live = before, None
            passed.due.clear()  # each holds the graph, and the graph the pass
            if eager:
                for layer, names in self.tapped:  # hooks do not run on an interrupt
                    for name in names:
                        layer.__dict__.pop(name, None)
                passed.nodes = (first, torch.autograd._get_sequence_nr())
                self.passes.add(passed)

    def serving(self) -> Pass | None:
        """Return the pass that hooks serve now, or None where the network is to be plain.

        Activation checkpointing runs modules again in the midst of a backward pass. They must then be tapped as they
        were in the pass that they belong to, if in any, and the node that asks for them tells which that is.
        """
        if self.now is not None and self.now.is_graded and not torch.is_grad_enabled():
            raise InputError(
                "a routed module runs without gradients inside a pass that has them, so that its errors would be lost; "
                "take torch.no_grad out of the network, and checkpoint activations with use_reentrant=False"
            )
        if self.now is not None or torch.compiler.is_compiling() or not self.passes:
            return self.now
        node = torch._C._current_autograd_node()
        number = -1 if node is None else node._sequence_nr()
        return next((passed for passed in self.passes if passed.nodes[0] <= number < passed.nodes[1]), None)


@dataclass
class Cut:
    """Forward pre-hook (target on the input side) or hook (output side) that keeps the tensor and detaches it."""

    port: Port
    wiring: Wiring

    def __call__(self, module: nn.Module, args: tuple, output: Tensor | None = None):
        passed = self.wiring.serving()
        if passed is None:
            return None
        value = args[0] if output is None else output
        if passed.note is not None:
            value = value.view_as(value)  # an alias: what runs beside the target has no part in the error read here
        if passed.live is not None:
            passed.live[self.port] = value
        if not passed.cutting:
            return (value, *args[1:]) if output is None else value
        self.seen(value, passed)
        cut = value.detach()
        if passed.live is None:
            passed.kept[self.port] = cut  # the layer's own tap is placed again too
        return (cut, *args[1:]) if output is None else cut

    def seen(self, value: Tensor, passed: Pass) -> None:
        """Take what is to be had of the activity before it is cut from what made it."""
        if torch.compiler.is_compiling():  # which orders the backward pass itself, and follows no `told`
            return
        for edge, feedback in self.wiring.afar.get(self.port, ()):
            due = Deliver.apply(value, _labels(feedback, passed), edge, feedback, passed, *feedback.given())
            if passed.live is not None:
                passed.due[edge] = due


@dataclass
class TapHere:
    """Forward hook (source on the output side) or pre-hook (input side) that taps the error of every edge."""

    port: Port
    wiring: Wiring

    def __call__(self, module: nn.Module, args: tuple, output: Tensor | None = None):
        passed = self.wiring.serving()
        if passed is None or not passed.cutting:
            return None
        value = args[0] if output is None else output
        for edge, feedback in self.wiring.edges[self.port]:
            if edge in passed.due and not torch.compiler.is_compiling():
                value = Tell.apply(value, passed.due[edge], edge, passed)
            elif edge.is_reciprocal or passed.live is not None:  # one end, or both, in a part that is compiled
                if passed.live is not None:
                    live = passed.live[edge.target]
                else:
                    live = passed.kept[edge.target].detach().requires_grad_()
                value = Tap.apply(value, live, _labels(feedback, passed), edge, feedback, passed, *feedback.given())
        return (value, *args[1:]) if output is None else value


def _labels(feedback: Feedback, passed: Pass) -> Tensor | None:
    if feedback.reads_labels and passed.step.labels is None:
        raise InputError("a rule that learns from labels needs them: call routed(images, labels)")
    return passed.step.labels if feedback.reads_labels else None


@dataclass
class TapWeight:
    """Lets a layer compute with a tapped weight: `lay` is a forward pre-hook, `take_away` a forward hook.

    The tapped weight lies in the module's own dictionary, where it is found before the parameter of that name; the
    parameter, its gradient and the state dict stay as they are.
    """

    feedback: Feedback
    wiring: Wiring

    def lay(self, module: nn.Module, args: tuple) -> None:
        passed = self.wiring.serving()
        if passed is not None and passed.cutting:
            tapped = WeightTap.apply(module.weight, self.feedback, passed.step, *self.feedback.maps)
            module.__dict__["weight"] = tapped

    def take_away(self, module: nn.Module, args: tuple, output: object) -> None:
        module.__dict__.pop("weight", None)


@dataclass
class TapFactors:
    """Lets a factored layer compute with tapped factors, as `TapWeight` does a plain one with a tapped weight."""

    loss: LocalLoss
    wiring: Wiring

    def lay(self, module: nn.Module, args: tuple) -> None:
        passed = self.wiring.serving()
        if passed is not None and passed.cutting:
            own = (module._parameters[name] for name in FACTORS)
            tapped = FactorTap.apply(*own, self.loss, passed, *self.loss.maps)
            module.__dict__.update(zip(FACTORS, tapped, strict=True))

    def take_away(self, module: nn.Module, args: tuple, output: object) -> None:
        for name in FACTORS:
            module.__dict__.pop(name, None)

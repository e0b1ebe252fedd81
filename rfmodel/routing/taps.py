"""Taps and cuts: the two autograd identities that hand errors on, and the hooks that place them.

`Tap` stands on an activity, `WeightTap` on a layer's weight, `FactorTap` on its factors. They change nothing forward;
backward they hand on what arrives, and besides deliver an error, return a feedback map's plasticity as its gradient, or
add a local loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from weakref import WeakSet

import torch
from torch import Tensor, nn

from rfmodel.errors import InputError
from rfmodel.routing.feedback import Feedback, Step
from rfmodel.routing.local_loss import LocalLoss
from rfmodel.routing.ports import Edge, Port

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
    losses : list of Tensor
        Of the heads, until the output has taken them in.
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
    losses: list[Tensor] = field(default_factory=list)
    nodes: tuple[int, int] = (0, 0)
    is_graded: bool = field(default_factory=torch.is_grad_enabled)


class Tap(torch.autograd.Function):
    """The identity on `source`; its backward pass also delivers the feedback's error to `live`."""

    @staticmethod
    def forward(ctx, source, live, labels, edge, feedback, passed, *given):
        ctx.save_for_backward(live, labels, *given)
        ctx.edge, ctx.feedback, ctx.passed = edge, feedback, passed
        return source.view_as(source)

    @staticmethod
    def backward(ctx, delta):
        live, labels, *given = ctx.saved_tensors  # read once: activation checkpointing recomputes at each access
        feedback, passed = ctx.feedback, ctx.passed
        step = replace(passed.step, labels=labels)
        plastic = (None,) * len(given)
        with _as_written(delta):
            carried, y = feedback.deliver(delta, live, step, *given)
            if any(ctx.needs_input_grad[6:]):
                learnt = tuple(feedback.plasticity(delta, y, live, step, *given))
                plastic = learnt + (None,) * (len(given) - len(learnt))
        if passed.note is not None:
            passed.note(ctx.edge, delta, carried)
        return delta, carried.to(live.dtype), None, None, None, None, *plastic


class WeightTap(torch.autograd.Function):
    """The identity on a layer's weight; its backward pass also tells the feedback map the weight's gradient."""

    @staticmethod
    def forward(ctx, weight, feedback, step, *maps):
        ctx.save_for_backward(*maps)
        ctx.feedback, ctx.step = feedback, step
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx, dW):
        with _as_written(dW):
            return dW, None, None, *ctx.feedback.from_gradient(dW, ctx.step, *ctx.saved_tensors)


class FactorTap(torch.autograd.Function):
    """The identity on a layer's U, S and V; its backward pass also adds the gradients of the layer's local loss."""

    @staticmethod
    def forward(ctx, U, S, V, loss, passed, *maps):
        ctx.save_for_backward(U, S, V, *maps)
        ctx.loss, ctx.passed = loss, passed  # the pass lives as long as its graph
        return U.view_as(U), S.view_as(S), V.view_as(V)

    @staticmethod
    def backward(ctx, dU, dS, dV):
        U, S, V, *maps = ctx.saved_tensors
        with _as_written(dU):
            own, learnt = ctx.loss.gradients((dU, dS, dV), (U, S, V), maps, ctx.passed.step.share)
        return *own, None, None, *learnt


def _as_written(x: Tensor) -> AbstractContextManager:
    """Return a context without autocast, so that maps learn in their own dtype wherever backward() is called.

    A compiled backward pass has the autocast of its forward pass whatever stands here; see
    torch._functorch.config.backward_pass_autocast.
    """
    device = x.device.type
    if torch.compiler.is_compiling() or not torch.amp.is_autocast_available(device):
        return nullcontext()
    return torch.autocast(device, enabled=False)


@dataclass
class Wiring:
    """What the hooks of a network share.

    Parameters
    ----------
    edges : dict of Port to list of (Edge, Feedback)
        By source.
    tapped : list of (Module, names)
        The layers that compute with tapped parameters, and which.
    now : Pass, optional
        The forward pass under way.
    passes : WeakSet of Pass
        Those whose backward pass may still come; their graphs own them.
    """

    edges: dict[Port, list[tuple[Edge, Feedback]]] = field(default_factory=dict)
    tapped: list[tuple[nn.Module, tuple[str, ...]]] = field(default_factory=list)
    now: Pass | None = None
    passes: WeakSet[Pass] = field(default_factory=WeakSet)

    def __reduce__(self):
        return Wiring, (), {"edges": self.edges, "tapped": self.tapped}  # a copy has none of its original's passes

    @contextmanager
    def serve(self, passed: Pass) -> Iterator[Pass]:
        """Within this context every forward pass of the network is `passed`."""
        self.now = passed
        eager = not torch.compiler.is_compiling()
        first = torch.autograd._get_sequence_nr() if eager else 0
        try:
            yield passed
        finally:
            self.now, passed.live = None, None
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

    def heard_afar(self, target: Port) -> bool:
        """Whether an error is delivered at `target` from another module than its own."""
        return any(
            edge.target == target and not edge.is_reciprocal for edges in self.edges.values() for edge, _ in edges
        )


@dataclass
class Cut:
    """Forward pre-hook (target on the input side) or hook (output side) that keeps the tensor and detaches it."""

    port: Port
    wiring: Wiring
    heard_afar: bool

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
        # A tap may be placed again before its target is computed again, unless the two are one layer's.
        if passed.live is None or (self.heard_afar and not torch.compiler.is_compiling()):
            passed.kept[self.port] = cut
        return (cut, *args[1:]) if output is None else cut

    def seen(self, value: Tensor, passed: Pass) -> None:
        """Take what is to be had of the activity before it is cut from what made it."""


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
            if feedback.reads_labels and passed.step.labels is None:
                raise InputError("a rule that learns from labels needs them: call routed(images, labels)")
            labels = passed.step.labels if feedback.reads_labels else None
            if passed.live is not None:
                live = passed.live[edge.target]
            else:
                live = passed.kept[edge.target].detach().requires_grad_()
            value = Tap.apply(value, live, labels, edge, feedback, passed, *feedback.given())
        return (value, *args[1:]) if output is None else value


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

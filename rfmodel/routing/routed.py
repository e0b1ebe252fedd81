"""Routed: a network whose forward pass is its own and whose backward pass is a rule's.

At each target the graph is cut: the module gets a detached tensor, so the true transposed weight never
contributes and its input gradient is never computed. At each source an identity is tapped in whose backward pass
hands the error on, carries it to the target by the feedback map, and returns that map's plasticity as its gradient.
One `loss.backward()` therefore runs any rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from rfmodel.errors import InputError
from rfmodel.routing.feedback import Feedback
from rfmodel.routing.ports import Edge, Port, trace
from rfmodel.routing.rules import Rule, lay, make_rule


class Tap(torch.autograd.Function):
    """The identity on `source`; its backward pass also delivers `feedback.carry(delta)` to `live`."""

    @staticmethod
    def forward(ctx, source, live, labels, feedback, weight, *maps):
        ctx.save_for_backward(live, labels, *maps)
        ctx.feedback, ctx.weight = feedback, weight
        return source.view_as(source)

    @staticmethod
    def backward(ctx, delta):
        live, labels, *maps = ctx.saved_tensors  # read once: activation checkpointing recomputes at each access
        carried, plastic = None, tuple(None for _ in maps)
        if ctx.needs_input_grad[1]:
            carried = ctx.feedback.carry(delta, live, *maps).to(live.dtype)
        if any(ctx.needs_input_grad[5:]):
            plastic = ctx.feedback.plasticity(delta, live, ctx.weight, labels, *maps)
        return delta, carried, None, None, None, *plastic


@dataclass
class Wiring:
    """What the hooks share during one routed forward pass."""

    live: dict[Port, Tensor] | None = None
    cutting: bool = True
    weight: float = 1.0
    labels: Tensor | None = None
    edges: dict[Port, list[tuple[Port, Feedback]]] = field(default_factory=dict)


@dataclass
class Cut:
    """Forward pre-hook (target on the input side) or hook (output side) that keeps the tensor and detaches it."""

    port: Port
    wiring: Wiring

    def __call__(self, module: nn.Module, args: tuple, output: Tensor | None = None):
        if self.wiring.live is None:
            return None
        value = args[0] if output is None else output
        self.wiring.live[self.port] = value
        if not self.wiring.cutting:
            return None
        return (value.detach(), *args[1:]) if output is None else value.detach()


@dataclass
class TapHere:
    """Forward hook (source on the output side) or pre-hook (input side) that taps the error of every edge."""

    port: Port
    wiring: Wiring

    def __call__(self, module: nn.Module, args: tuple, output: Tensor | None = None):
        wiring = self.wiring
        if wiring.live is None or not wiring.cutting:
            return None
        value = args[0] if output is None else output
        for target, feedback in wiring.edges[self.port]:
            if feedback.learns_from_labels and wiring.labels is None:
                raise InputError("a rule with use_targets needs the labels: call routed(images, labels)")
            labels = wiring.labels if feedback.learns_from_labels else None
            value = Tap.apply(value, wiring.live[target], labels, feedback, wiring.weight, *feedback.maps)
        return (value, *args[1:]) if output is None else value


class Routed(nn.Module):
    r"""A network taught by a rule: forward the network's, backward the rule's.

    .. math:: \delta_{target} = \sum_{e:\, source(e) \to target} B_e\, \delta_{source(e)}

    Parameters
    ----------
    network : nn.Module
        A plain network. Called by itself it stays plain: the hooks act only inside `Routed.forward`.
    rules : mapping of site pattern to Rule or rule name
        See `rules.lay`; {} is backpropagation.
    example : Tensor, shape (batch, ...)
        An input to trace the network with; its values do not matter.
    seed : int
        Each map is drawn from (seed, edge name).

    Attributes
    ----------
    edges : list of Edge
    feedback : nn.ModuleDict
        The maps; `feedback_parameters()` and `network.parameters()` go to their own optimisers.
    loss_weight : float or None
        Share of the loss that one sample carries; None is 1/len(batch), that of a mean loss. Set it to 1/N where
        a step's N samples arrive in several passes, so that plasticity does not depend on the split.

    Raises
    ------
    InputError
        If a rule cannot be laid over the network; the message names the site, edge or port.
    """

    def __init__(self, network: nn.Module, rules: Mapping[str, Rule | str], example: Tensor, seed: int = 0) -> None:
        super().__init__()
        self.network = network
        record = trace(network, example)
        made = {site: make_rule(rule) if isinstance(rule, str) else rule for site, rule in rules.items()}
        laid = lay(record, made, seed)
        if laid:
            _refuse_in_place(network)
        self.edges = list(laid)
        self.feedback = nn.ModuleDict({_key(edge): feedback for edge, feedback in laid.items()})
        self.feedback.to(example.device)
        self.loss_weight: float | None = None
        self.classes = record.shape(Port("", "output"))[-1]
        self._exact = False
        self._wiring = Wiring()
        self._hook()

    def _hook(self) -> None:
        wiring = self._wiring
        for edge in self.edges:
            wiring.edges.setdefault(edge.source, []).append((edge.target, self.feedback[_key(edge)]))
        # Taps go before cuts, so that a port that is both reads its error upstream of the cut.
        hooks = [TapHere(port, wiring) for port in wiring.edges]
        hooks += [Cut(port, wiring) for port in dict.fromkeys(edge.target for edge in self.edges)]
        for hook in hooks:
            module = self.network.get_submodule(hook.port.module)
            register = module.register_forward_hook if hook.port.side == "output" else module.register_forward_pre_hook
            register(hook)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the network's output; `labels` (batch,) are needed only by rules that learn from them."""
        if self._exact or not self.edges:
            return self.network(images)
        with self._open(images, labels, cutting=True):
            return self.network(images)

    @contextmanager
    def _open(self, images: Tensor, labels: Tensor | None, cutting: bool) -> Iterator[dict[Port, Tensor]]:
        wiring = self._wiring
        wiring.live, wiring.cutting = {}, cutting
        wiring.weight = 1 / max(len(images), 1) if self.loss_weight is None else self.loss_weight
        wiring.labels = None if labels is None else nn.functional.one_hot(labels, self.classes).to(torch.float32)
        try:
            yield wiring.live
        finally:
            wiring.live = wiring.labels = None

    @property
    def routes_errors(self) -> bool:
        """Whether gradients through this module follow feedback maps and not the true Jacobian."""
        return bool(self.edges) and not self._exact

    @contextmanager
    def exact(self) -> Iterator[nn.Module]:
        """Within this context gradients are true gradients; it yields the plain network."""
        before, self._exact = self._exact, True
        try:
            yield self.network
        finally:
            self._exact = before

    def feedback_parameters(self) -> list[nn.Parameter]:
        """Return the feedback weights that learn."""
        return [p for p in self.feedback.parameters() if p.requires_grad]

    def teaching_signals(
        self,
        images: Tensor,
        labels: Tensor,
        loss: Callable[[Tensor, Tensor], Tensor] = nn.functional.cross_entropy,
    ) -> dict[Port, Tensor]:
        """Return the error delivered at each target: the rule's, or the true one inside `exact()`.

        Leaves every `.grad` and the mode of the network as they were.

        Parameters
        ----------
        images : Tensor, shape (batch, ...)
        labels : Tensor, shape (batch,)
        loss : callable of (output, labels)

        Returns
        -------
        dict of Port to Tensor, shaped like the activity at the target
        """
        if not self.edges:
            return {}
        with torch.enable_grad(), self._open(images, labels, cutting=not self._exact) as live:
            value = loss(self.network(images), labels)
            ports = list(live)
            return dict(zip(ports, torch.autograd.grad(value, [live[p] for p in ports]), strict=True))


def _key(edge: Edge) -> str:
    return str(edge).replace(".", "/")  # a ModuleDict's keys have no dots


def _refuse_in_place(network: nn.Module) -> None:
    for name, module in network.named_modules():
        if getattr(module, "inplace", False):
            raise InputError(
                f"module '{name}' works in place, which would overwrite a tapped tensor; use inplace=False"
            )

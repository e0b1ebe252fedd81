"""Walk: one forward and backward pass without values, and what of it belongs to which layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.flop_counter import FlopCounterMode

from rfmodel.costs.blueprint import Blueprint
from rfmodel.costs.counter import counter
from rfmodel.errors import InputError
from rfmodel.routing import Edge, Feedback, Port


@dataclass
class Call:
    """One call of a weighted layer.

    Parameters
    ----------
    layer : str
    products : int
        FLOPs of W h: 2 for each entry of the output and each weight that goes into it. W^T delta and delta h^T have
        the same products, summed in other orders.
    hands_on, learns : bool
        Whether its input, and its weight, ask for a gradient.
    node : autograd node or None
        Of its output.
    """

    layer: str
    products: int
    hands_on: bool
    learns: bool
    node: object


@dataclass
class Walk:
    """What one pass did.

    Parameters
    ----------
    calls : list of Call
        In the order in which they were made.
    rest_forward, rest_backward : int
        FLOPs outside the weighted layers and the feedback.
    edges : list of Edge
        Those that delivered an error.
    heard : set of Feedback
        Maps that were told their layer's weight gradient.
    shapes : dict of Port to tuple
        What each end of an edge carried, with the batch.
    """

    calls: list[Call] = field(default_factory=list)
    rest_forward: int = 0
    rest_backward: int = 0
    edges: list[Edge] = field(default_factory=list)
    heard: set[Feedback] = field(default_factory=set)
    shapes: dict[Port, tuple[int, ...]] = field(default_factory=dict)


def walk(plan: Blueprint, size: int, exact: bool = False) -> Walk:
    """Take one step without values, by the rule or, where `exact`, by backpropagation."""
    routed, found = plan.routed, Walk()
    images, labels = plan.batch(size)
    with plan.stepping(size), counter() as count, routed.exact() if exact else nullcontext():
        with _watching(routed, found, count) as between:
            output = routed(images, labels)
        if not isinstance(output, Tensor):
            raise InputError(f"the network returns a {type(output).__name__}; an account needs one tensor")
        found.rest_forward = between.flops
        nodes = _upstream(output.grad_fn)
        _sort(nodes, found, between, count)
        if output.requires_grad:
            output.sum().backward()
    reached = set(nodes)
    for call in found.calls:
        call.hands_on &= call.node in reached
        call.learns &= call.node in reached
    return found


@dataclass
class _Between:
    """FLOPs outside the weighted layers, and the autograd nodes that were made inside them.

    What a module within a layer does, as a parametrization of its weight, is outside of it.
    """

    count: FlopCounterMode
    flops: int = 0
    inside: set[int] = field(default_factory=set)
    depth: list[bool] = field(default_factory=lambda: [False])
    mark: tuple[int, int] = (0, 0)

    def turn(self) -> None:
        """Book what was done since the last turn."""
        flops, node = self.mark
        self.mark = self.count.get_total_flops(), torch.autograd._get_sequence_nr()
        if self.depth[-1]:
            self.inside |= set(range(node, self.mark[1]))
        else:
            self.flops += self.mark[0] - flops

    def enter(self, is_layer: bool) -> None:
        self.turn()
        self.depth.append(is_layer)

    def leave(self) -> None:
        self.turn()
        self.depth.pop()


def is_weighted(module: nn.Module) -> bool:
    """Whether a module does what Linear or Conv2d do: a subclass with a forward of its own may do anything."""
    return type(module).forward in (nn.Linear.forward, nn.Conv2d.forward)


@contextmanager
def _watching(routed: nn.Module, found: Walk, count: FlopCounterMode) -> Iterator[_Between]:
    between, handles = _Between(count), []
    network = routed.network
    for name, module in network.named_modules():
        if is_weighted(module):
            handles += _on_layer(name, module, found, between)
            for part in module.modules():
                if part is not module:
                    handles.append(part.register_forward_pre_hook(lambda *_: between.enter(False)))
                    handles.append(part.register_forward_hook(lambda *_: between.leave(), prepend=True))
    for port in {port for edge in routed.edges for port in (edge.source, edge.target)}:
        handles.append(_on_port(port, network.get_submodule(port.module), found))
    between.turn()
    try:
        yield between
        between.turn()
    finally:
        for handle in handles:
            handle.remove()


def _on_layer(name: str, module: nn.Module, found: Walk, between: _Between) -> list:
    # The pre-hook comes last and sees what the layer gets, cut or not; the hook comes first and sees what it makes.
    opened: list[Call] = []

    def enter(module: nn.Module, args: tuple, named: dict) -> None:
        h = args[0] if args else named["input"]
        opened.append(Call(name, 0, h.requires_grad, _learns(module), None))
        between.enter(True)

    def leave(module: nn.Module, args: tuple, output: Tensor) -> None:
        between.leave()
        call = opened.pop()
        call.products, call.node = 2 * output.numel() * _fan_in(module), output.grad_fn
        found.calls.append(call)

    return [
        module.register_forward_pre_hook(enter, with_kwargs=True),
        module.register_forward_hook(leave, prepend=True),
    ]


def _on_port(port: Port, module: nn.Module, found: Walk):
    if port.side == "input":
        return module.register_forward_pre_hook(lambda _, args: found.shapes.update({port: tuple(args[0].shape)}))
    return module.register_forward_hook(lambda _, args, output: found.shapes.update({port: tuple(output.shape)}))


def _fan_in(layer: nn.Module) -> int:
    """How many weights go into one entry of the output."""
    if isinstance(layer, nn.Linear):
        return layer.in_features
    return layer.in_channels // layer.groups * prod(layer.kernel_size)


def _learns(layer: nn.Module) -> bool:
    if "weight" in layer.__dict__:  # laid over the parameter: tapped, or made by an older kind of parametrization
        return layer.__dict__["weight"].requires_grad
    if parametrize.is_parametrized(layer, "weight"):
        return any(p.requires_grad for p in layer.parametrizations.weight.parameters())
    return layer.weight.requires_grad


def _sort(nodes: list, found: Walk, between: _Between, count: FlopCounterMode) -> None:
    """Tell the nodes of taps from those of layers, and let the counter say what each of the rest does."""
    mark = [0]

    def before(*_: object) -> None:
        mark[0] = count.get_total_flops()

    def after(*_: object) -> None:
        found.rest_backward += count.get_total_flops() - mark[0]

    for node in nodes:
        feedback = getattr(node, "feedback", None)
        if isinstance(feedback, Feedback):
            if hasattr(node, "edge"):
                found.edges.append(node.edge)
            else:
                found.heard.add(feedback)
        elif node._sequence_nr() not in between.inside:
            node.register_prehook(before)
            node.register_hook(after)


def _upstream(root: object) -> list:
    """Return every autograd node that the backward pass from `root` comes to, `root` included."""
    if root is None:
        return []
    seen, stack = {root: None}, [root]
    while stack:
        for parent, _ in stack.pop().next_functions:
            if parent is not None and parent not in seen:
                seen[parent] = None
                stack.append(parent)
    return list(seen)

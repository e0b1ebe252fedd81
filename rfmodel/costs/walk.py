"""Walk: one forward and backward pass without values, and what of it belongs to which layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from rfmodel.costs.blueprint import Blueprint
from rfmodel.costs.counter import counter
from rfmodel.costs.products import Products, is_weighted, products_of
from rfmodel.errors import InputError
from rfmodel.routing import Edge, Feedback, Port, Routed


@dataclass
class Call:
    """One call of a weighted layer.

    Parameters
    ----------
    layer : str
    products : Products
    node : autograd node or None
        Of its output.
    """

    layer: str
    products: Products
    node: object


@dataclass
class Walk:
    """What one pass did.

    Parameters
    ----------
    calls : list of Call
        In the order in which they were made.
    rest_forward, rest_backward : int
        FLOPs outside the weighted layers, the feedback and the local losses.
    rest_feedback : int
        FLOPs by which a rule's own step sends the error to the images.
    local : dict of row to int
        FLOPs of local losses, of factored layers and of heads, forward and backward.
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
    rest_feedback: int = 0
    local: dict[str, int] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    heard: set[Feedback] = field(default_factory=set)
    shapes: dict[Port, tuple[int, ...]] = field(default_factory=dict)


def walk(plan: Blueprint, size: int, exact: bool = False) -> Walk:
    """Take one step without values, by the rule or, where `exact`, by backpropagation."""
    routed, found = plan.routed, Walk()
    images, labels = plan.batch(size)
    with plan.stepping(size), counter() as count, routed.exact() if exact else nullcontext():
        between = _Between(count, found)
        with _watching(routed, between):
            output = routed(images, labels)
        if not isinstance(output, Tensor):
            raise InputError(f"the network returns a {type(output).__name__}; an account needs one tensor")
        nodes = _upstream(output.grad_fn)
        _sort(nodes, routed, between)
        again = Walk()
        if output.requires_grad:
            with nullcontext() if exact or routed.own_step is None else _watching(routed, _Between(count, again)):
                output.sum().backward()
    reached = set(nodes)
    for call in found.calls:
        if call.node not in reached:
            call.products = Products(call.products.forward, 0, 0)
    _take_in(found, again)
    return found


def _take_in(found: Walk, again: Walk) -> None:
    """Add the layers of a second pass, which was made in place of a backward one, to those of the first."""
    if again.calls:
        found.calls += again.calls
        found.rest_feedback = found.rest_backward - sum(sum(call.products) for call in again.calls)
        found.rest_backward = 0


INSIDE = object()  # a weighted layer, whose products have closed forms


@dataclass
class _Between:
    """FLOPs outside the weighted layers, and what the autograd nodes of the pass were made by.

    What a module within a layer does, as a parametrization of its weight, is outside of it.
    """

    count: FlopCounterMode
    found: Walk
    makers: dict[int, object] = field(default_factory=dict)  # by node: INSIDE, or the row of a head; the rest are not
    within: list[object] = field(default_factory=lambda: [None])
    mark: tuple[int, int] = (0, 0)

    def turn(self) -> None:
        """Book what was done since the last turn."""
        flops, node = self.mark
        self.mark = self.count.get_total_flops(), torch.autograd._get_sequence_nr()
        if self.within[-1] is not None:
            self.makers |= dict.fromkeys(range(node, self.mark[1]), self.within[-1])
        self.book(self.within[-1], self.mark[0] - flops, forward=True)

    def book(self, maker: object, flops: int, forward: bool = False) -> None:
        """Book FLOPs by what did them."""
        if isinstance(maker, str):
            self.found.local[maker] = self.found.local.get(maker, 0) + flops
        elif maker is None and forward:
            self.found.rest_forward += flops
        elif maker is None:
            self.found.rest_backward += flops

    def enter(self, maker: object) -> None:
        self.turn()
        self.within.append(maker)

    def leave(self) -> None:
        self.turn()
        self.within.pop()

    def watch(self, module: nn.Module, maker: object) -> list:
        """Let all that a module does be of one maker."""
        return [
            module.register_forward_pre_hook(lambda *_: self.enter(maker)),
            module.register_forward_hook(lambda *_: self.leave(), prepend=True),
        ]


@contextmanager
def _watching(routed: Routed, between: _Between) -> Iterator[None]:
    handles, network = [], routed.network
    for name, module in network.named_modules():
        if is_weighted(module):
            handles += _on_layer(name, module, between)
            for part in module.modules():
                if part is not module:
                    handles += between.watch(part, None)
    for port, head in zip(routed.cuts, routed.heads.values(), strict=True):
        handles += between.watch(head, port.module)
    for port in {port for edge in routed.edges for port in (edge.source, edge.target)}:
        handles.append(_on_port(port, network.get_submodule(port.module), between.found))
    between.turn()
    try:
        yield
        between.turn()
    finally:
        for handle in handles:
            handle.remove()


def _on_layer(name: str, module: nn.Module, between: _Between) -> list:
    # The pre-hook comes last and sees what the layer gets, cut or not; the hook comes first and sees what it makes.
    opened: list[Tensor] = []

    def enter(module: nn.Module, args: tuple, named: dict) -> None:
        opened.append(args[0] if args else named["input"])
        between.enter(INSIDE)

    def leave(module: nn.Module, args: tuple, output: Tensor) -> None:
        between.leave()
        between.found.calls.append(Call(name, products_of(module, opened.pop(), output), output.grad_fn))

    return [
        module.register_forward_pre_hook(enter, with_kwargs=True),
        module.register_forward_hook(leave, prepend=True),
    ]


def _on_port(port: Port, module: nn.Module, found: Walk):
    if port.side == "input":
        return module.register_forward_pre_hook(lambda _, args: found.shapes.update({port: tuple(args[0].shape)}))
    return module.register_forward_hook(lambda _, args, output: found.shapes.update({port: tuple(output.shape)}))


def _sort(nodes: list, routed: Routed, between: _Between) -> None:
    """Tell the nodes of taps from those of layers, and let the counter say what each of the others does."""
    losses = {loss: name for name, loss in routed.losses.items()}
    for node in nodes:
        feedback = getattr(node, "feedback", None)
        if isinstance(feedback, Feedback):
            if hasattr(node, "edge"):
                between.found.edges.append(node.edge)
            else:
                between.found.heard.add(feedback)
            continue
        maker = losses.get(getattr(node, "loss", None), between.makers.get(node._sequence_nr()))
        if maker is not INSIDE:
            _time(node, maker, between)


def _time(node: object, maker: object, between: _Between) -> None:
    """Book what a node does in the backward pass by its maker."""
    mark = [0]

    def before(*_: object) -> None:
        mark[0] = between.count.get_total_flops()

    def after(*_: object) -> None:
        between.book(maker, between.count.get_total_flops() - mark[0])

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

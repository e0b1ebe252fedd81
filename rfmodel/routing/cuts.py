"""Cuts: where errors must be delivered so that each layer is taught once, whatever skips the network has.

A direct error that is delivered inside a residual branch adds to what arrives through the identity beside it. The
targets that `closed` returns part the network into pieces, each of which hears one delivered error (or the loss).
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from rfmodel.routing.ports import Port, Trace, looking


def closed(record: Trace, pattern: str, before: Port) -> list[Port]:
    """Return the targets of a direct rule over all the sites that a glob names, in the order in which they fire.

    They are the inputs of the weighted layers, and the places where a skip begins ("forks") that no path passes by:
    the outputs of residual blocks. A target inside a block is left out if a layer would otherwise be taught twice;
    the block is then taught at its output, and by backpropagation within.

    Parameters
    ----------
    record : Trace
    pattern : str
        Glob over module names; "*" is all.
    before : Port
        The source of the error: targets fire before it.
    """
    until = record.firing(before).when
    named = [name for name in record.weighted[1:] if fnmatch.fnmatchcase(name, pattern)]
    gates = [port for port in forks(record) if fnmatch.fnmatchcase(port.module, pattern)]
    targets = [Port(name, "input") for name in named] + gates
    targets = [port for port in targets if record.firing(port).when < until]
    while True:
        taught = teach(record, targets)
        targets = [port for port in targets if port in taught.learns]
        twice = {port for ports in taught.by.values() if len(ports) > 1 for port in ports}
        dropped = twice - set(gates)
        if not dropped & set(targets):
            return sorted(targets, key=lambda port: record.firings[port].when)
        targets = [port for port in targets if port not in dropped]


@dataclass
class Taught:
    """Who teaches whom once a network is cut at some targets.

    Parameters
    ----------
    by : dict of layer name to set of Port or None
        The targets whose error reaches a weighted layer; None is the loss.
    learns : set of Port
        Targets upstream of which something learns.
    """

    by: dict[str, set[Port | None]] = field(default_factory=dict)
    learns: set[Port] = field(default_factory=set)


def teach(record: Trace, targets: Sequence[Port]) -> Taught:
    """Cut the network at `targets`, run it once, and return which layers each delivered error reaches."""
    outputs: dict[str, Tensor] = {}
    handles = [
        record.layer(name).register_forward_hook(lambda _, args, out, n=name: outputs.__setitem__(n, out))
        for name in record.weighted
    ]
    roots = _cut(record, targets, handles)
    found = Taught(learns={port for port, value in roots.items() if port is not None and value.requires_grad})
    layers = {name: output.grad_fn for name, output in outputs.items()}
    for port, root in roots.items():
        reached = set(_upstream(root.grad_fn))
        for name, node in layers.items():
            if node in reached:
                found.by.setdefault(name, set()).add(port)
    return found


def is_parted(record: Trace, targets: Sequence[Port]) -> bool:
    """Whether cuts at `targets` part the network: no error that is delivered runs back through another's operations.

    Each part of the graph may then be freed as soon as its error has run through it. Parameters may be shared.
    """
    seen: set[object] = set()
    for root in _cut(record, targets).values():
        nodes = {node for node in _upstream(root.grad_fn) if not hasattr(node, "variable")}
        if nodes & seen:
            return False
        seen |= nodes
    return True


def _cut(record: Trace, targets: Sequence[Port], handles: Sequence = ()) -> dict[Port | None, Tensor]:
    """Run the network once, cut at `targets`; return the output (None) and what each target had before its cut."""
    live: dict[Port, Tensor] = {}

    def cut_input(port: Port):
        def hook(module: nn.Module, args: tuple) -> tuple:
            live[port] = args[0]
            return (args[0].detach(), *args[1:])

        return hook

    def cut_output(port: Port):
        def hook(module: nn.Module, args: tuple, output: Tensor) -> Tensor:
            live[port] = output
            return output.detach()

        return hook

    placed = list(handles)
    for port in targets:
        module = record.network.get_submodule(port.module)
        inward = port.side == "input"
        register = module.register_forward_pre_hook if inward else module.register_forward_hook
        placed.append(register((cut_input if inward else cut_output)(port)))
    with looking(record.network, placed):
        return {None: record.network(record.example), **live}


def forks(record: Trace) -> list[Port]:
    """Return the module outputs where a skip begins: every path from the input passes them, and a layer is bypassed.

    A residual block's output is one: the next block and the identity beside it read it. An activation that reads its
    input twice, x sigmoid(x), bypasses no weighted layer and is none.
    """
    nodes: dict[object, Port] = {}
    layers: set[object] = set()
    handles = []

    def note(port: Port, is_container: bool):
        def hook(module: nn.Module, args: tuple, output: object) -> None:
            # Of several modules that return one tensor, the first container names it: the block, not its last ReLU.
            if isinstance(output, Tensor) and output.grad_fn is not None:
                known = nodes.get(output.grad_fn)
                if known is None or (is_container and known in leaves):
                    nodes[output.grad_fn] = port
                if not is_container:
                    leaves.add(port)
                if port.module in record.weighted:
                    layers.add(output.grad_fn)

        return hook

    leaves: set[Port] = set()
    for name, module in record.network.named_modules():
        port = Port(name, "output")
        if name and port in record.firings and record.firings[port].count == 1:
            handles.append(module.register_forward_hook(note(port, any(True for _ in module.children()))))
    with looking(record.network, handles):
        final = record.network(record.example)
    readers: dict[object, list] = {}
    order = {node: place for place, node in enumerate(_inputs_first(final.grad_fn))}
    for node in order:
        for parent, _ in node.next_functions:
            readers.setdefault(parent, []).append(node)
    first = record.layer(record.weighted[0]).weight if record.weighted else None
    begin = [node for node in nodes if _bypasses(node, readers, order, layers)]
    return [nodes[node] for node in begin if not _reads(final.grad_fn, first, without=node)]


def passed_by(record: Trace, ports: Sequence[Port]) -> set[Port]:
    """Return those of the ports that a skip leads past: the output hears a layer before them on another way too."""
    nodes: dict[Port, object] = {}
    layers: list[object] = []
    handles = []
    for name in record.weighted:
        hook = record.layer(name).register_forward_hook(lambda _, args, output: layers.append(output.grad_fn))
        handles.append(hook)
    for port in ports:
        module = record.network.get_submodule(port.module)
        if port.side == "input":
            hook = module.register_forward_pre_hook(lambda _, args, p=port: nodes.__setitem__(p, args[0].grad_fn))
        else:
            hook = module.register_forward_hook(lambda _, args, out, p=port: nodes.__setitem__(p, out.grad_fn))
        handles.append(hook)
    with looking(record.network, handles):
        final = record.network(record.example)
    return {
        port
        for port, node in nodes.items()
        if set(layers) & set(_upstream(node)) & set(_upstream(final.grad_fn, without=node))
    }


def _bypasses(node: object, readers: dict[object, list], order: dict[object, int], layers: set[object]) -> bool:
    """Whether a weighted layer lies on one of several ways from `node` to the place where they have all met."""
    open_ways: dict[object, int] = {}
    found, reached = False, node
    while True:
        for reader in readers.get(reached, []):
            open_ways[reader] = open_ways.get(reader, 0) + 1
        if not open_ways:
            return found
        reached = min(open_ways, key=order.__getitem__)
        open_ways.pop(reached)
        if not open_ways:
            return found
        found = found or reached in layers


def _inputs_first(root: object) -> Iterable[object]:
    """Yield every autograd node above `root` after all that it reads, `root` itself last."""
    stack, seen = [(root, False)], set()
    while stack:
        node, is_done = stack.pop()
        if is_done:
            yield node
        elif node is not None and node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((parent, False) for parent, _ in node.next_functions)


def _reads(root: object, weight: torch.Tensor | None, without: object) -> bool:
    return any(getattr(node, "variable", None) is weight for node in _upstream(root, without))


def _upstream(root: object, without: object = None) -> Iterable[object]:
    """Yield every autograd node above `root`, itself included, never passing `without`."""
    if root is None or root is without:
        return
    seen, stack = {root}, [root]
    while stack:
        node = stack.pop()
        yield node
        for parent, _ in node.next_functions:
            if parent is not None and parent is not without and parent not in seen:
                seen.add(parent)
                stack.append(parent)

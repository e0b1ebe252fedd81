"""Ports and edges: where an error is read and where it is delivered, checked against one traced forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from rfmodel.errors import InputError, nearest

Shape = tuple[int, ...]


@dataclass(frozen=True, order=True)
class Port:
    """A place in a network: one side of a module.

    Parameters
    ----------
    module : str
        Dotted module name; "" is the network itself.
    side : str
        "input" or "output".
    """

    module: str
    side: str = "output"

    def __post_init__(self) -> None:
        if self.side not in ("input", "output"):
            raise InputError(f"port side '{self.side}' of '{self.module}' is unknown: known are input, output")

    def __str__(self) -> str:
        return f"{self.module or 'network'}.{self.side}"


@dataclass(frozen=True, order=True)
class Edge:
    """One feedback connection: the error read at `source` is delivered at `target`, where the graph is cut."""

    source: Port
    target: Port

    def __str__(self) -> str:
        return f"{self.source}->{self.target}"

    @property
    def is_reciprocal(self) -> bool:
        """Whether the edge runs from a layer's output back to its own input, as the transposed weights do."""
        return self.source == Port(self.target.module, "output") and self.target.side == "input"


Routing = Callable[["Trace", Sequence[str]], Sequence[Edge]]


@dataclass
class Firing:
    """What one port did in the traced pass: how often it fired, when, and the shape it carried."""

    count: int = 0
    when: int = -1
    shape: Shape | None = None
    batch: int = 0  # length of the leading dimension
    upstream_learns: bool = False
    is_overwritten: bool = False  # by a later operation that works in place


@dataclass
class Trace:
    """One forward pass of a network on an example: the ports that fired, in order, with their shapes.

    Parameters
    ----------
    network : nn.Module
        The plain network.
    example : Tensor
        What it was traced on.
    firings : dict
        What each port did; ports that never fired are absent.
    """

    network: nn.Module
    example: Tensor
    firings: dict[Port, Firing] = field(default_factory=dict)

    @property
    def weighted(self) -> list[str]:
        """Names of the Linear and Conv2d layers that fired, in the order in which they fired."""
        names = [n for n, m in self.network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
        fired = [n for n in names if Port(n, "input") in self.firings]
        return sorted(fired, key=lambda n: self.firings[Port(n, "input")].when)

    def layer(self, name: str) -> nn.Module:
        return self.network.get_submodule(name)

    def firing(self, port: Port) -> Firing:
        """Return what `port` did.

        Raises
        ------
        InputError
            If the module is not in the network, never fired (called functionally, or not at all), fired more
            than once, or carried something other than one tensor.
        """
        names = [name for name, _ in self.network.named_modules()]
        if port.module not in names:
            raise InputError(f"'{port.module}' is not in the network{nearest(port.module, names)}")
        seen = self.firings.get(port)
        if seen is None:
            raise InputError(
                f"port '{port}' never fired in a forward pass: its module is called functionally or not at all; "
                "route a module that the network calls"
            )
        if seen.count > 1:
            raise InputError(
                f"port '{port}' fired {seen.count} times in one forward pass: a routed module must be used once; "
                "give each use its own module"
            )
        if seen.shape is None:
            raise InputError(f"port '{port}' does not carry one tensor; route a module that takes and returns one")
        return seen

    @property
    def classes(self) -> int:
        """Size of the last dimension of the network's output; 0 where it has none, or is no one tensor."""
        seen = self.firings[Port("", "output")]
        return seen.shape[-1] if seen.shape else 0

    def shape(self, port: Port) -> Shape:
        """Return the shape at `port` without the batch dimension."""
        shape = self.firing(port).shape
        assert shape is not None  # firing() has refused it
        return shape


def trace(network: nn.Module, example: Tensor) -> Trace:
    """Run `network` once on `example` and record every port that fires.

    The mode, the parameters and the random state of the network are left as they were. Runs on the meta device
    too, where it costs nothing.

    Parameters
    ----------
    network : nn.Module
    example : Tensor, shape (batch, ...)

    Returns
    -------
    Trace
    """
    record, clock, handles = Trace(network, example), iter(range(10**9)), []
    carried: list[tuple[Firing, Tensor, int]] = []

    def note(port: Port, value: object) -> None:
        seen = record.firings.setdefault(port, Firing())
        seen.count, seen.when = seen.count + 1, next(clock)
        if isinstance(value, tuple) and len(value) == 1:
            value = value[0]
        if isinstance(value, Tensor):
            seen.shape, seen.upstream_learns = tuple(value.shape[1:]), value.requires_grad
            seen.batch = len(value) if value.ndim else 0
            carried.append((seen, value, value._version))

    for name, module in network.named_modules():
        enter, leave = Port(name, "input"), Port(name, "output")
        handles.append(module.register_forward_pre_hook(lambda _, args, p=enter: note(p, args)))
        handles.append(module.register_forward_hook(lambda _, args, out, p=leave: note(p, out)))
    with looking(network, handles):
        network(example)
    for seen, value, version in carried:
        seen.is_overwritten |= value._version != version
    return record


@contextmanager
def looking(network: nn.Module, handles: Sequence) -> Iterator[None]:
    """Within this context the network is in eval mode with gradients; then modes return and hooks are removed.

    Noise that does not rest in eval mode is drawn, and the random state is then as before.
    """
    modes = {module: module.training for module in network.modules()}
    devices = {p.device for p in network.parameters() if p.is_cuda}
    try:
        network.eval()
        with torch.enable_grad(), torch.random.fork_rng(devices):
            yield
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode


def check(edge: Edge, record: Trace) -> None:
    """Refuse an edge that the traced network cannot carry.

    Raises
    ------
    InputError
        If a port is missing, silent or fires twice, if the error would be read before it is delivered (an edge
        that points forward), if its ends hold different numbers of samples, if a later operation overwrites in
        place what a port carries, or if nothing upstream of the target learns.
    """
    source, target = record.firing(edge.source), record.firing(edge.target)
    if source.when <= target.when:
        raise InputError(f"edge '{edge}' points forward: '{edge.source}' comes before '{edge.target}'; swap them")
    if source.batch != target.batch:
        raise InputError(
            f"edge '{edge}' joins {source.batch} samples to {target.batch}: between its ends the network folds its "
            "batch, or has it not in front; keep the batch the leading dimension, or route ports that agree"
        )
    for port, seen in ((edge.source, source), (edge.target, target)):
        if seen.is_overwritten:
            raise InputError(
                f"edge '{edge}': what '{port}' carries is overwritten in place later on, and its error with it; write "
                "h = h + x in place of h += x, or route another port"
            )
    if not target.upstream_learns:
        raise InputError(
            f"edge '{edge}' delivers an error where nothing upstream learns; leave '{edge.target.module}' out"
        )

"""Auxiliary networks: fresh units in the forms of a traced network's own, joined where others were left out."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import gcd, log2

import torch
from torch import Tensor, nn

from rfmodel.errors import InputError
from rfmodel.routing.heads import HeadPlan
from rfmodel.routing.ports import Port, Shape, Trace, looking

POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.LPPool2d)


@dataclass(frozen=True)
class Unit:
    """What a network does between the ends of two units.

    Parameters
    ----------
    modules : tuple of (name, Module)
        One after the other they are the unit.
    before, after : tuple of int
        Shape of what goes in and comes out, without the batch.
    """

    modules: tuple[tuple[str, nn.Module], ...]
    before: Shape
    after: Shape

    @property
    def halvings(self) -> int:
        """How often the unit halves an image; what leaves out a border halves nothing."""
        if len(self.after) != 3:
            return 0
        return max(0, round(log2(max(self.before[1:]) / max(self.after[1:]))))


def auxiliary(plan: HeadPlan, chosen: Sequence[int]) -> nn.Sequential:
    """Return an auxiliary network for the unit that ends at the plan's port: fresh units and a linear classifier.

    Parameters
    ----------
    plan : HeadPlan
    chosen : sequence of int
        Places, among the plan's ends, of the units in whose forms it is built.

    Raises
    ------
    InputError
        If a unit is no sequence of modules, or has a form that cannot take other channels.
    """
    if len(plan.shape) not in (1, 3):
        raise InputError(
            f"rule 'auglocal' builds on vectors and maps (channels, height, width), and '{plan.port}' carries "
            f"{plan.shape} a sample; use it on networks of those"
        )
    if "units" not in plan.shared:
        plan.shared["units"] = units_of(plan.record, plan.ends)
    units = plan.shared["units"]
    parts, shape, at, owed = [], plan.shape, plan.place, 0
    for j in chosen:
        unit, skipped = units[j], units[at + 1 : j]
        owed += sum(one.halvings for one in skipped) + unit.halvings
        made = _Joint(plan.record, unit, skipped, halve=owed > 0 and not unit.halvings)
        for part in made.parts(shape):
            parts.append(part)
            shape = _shape_behind(part, shape)
        owed -= unit.halvings or min(owed, 1)
        at = j
    if len(shape) == 3:
        parts += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*parts, nn.Linear(shape[0], plan.classes))


def units_of(record: Trace, ends: Sequence[Port]) -> list[Unit | None]:
    """Return the unit that ends at each port; of the first nothing is asked, it is None.

    Raises
    ------
    InputError
        If one is no sequence of modules: run one after the other they do not give what the network gives.
    """
    values = _values(record, ends)
    found: list[Unit | None] = [None]
    for begin, end in zip(ends, ends[1:], strict=False):
        modules = tuple(_between(record, begin, end))
        if not _gives(record, modules, values[begin], values[end]):
            raise InputError(
                f"what lies between '{begin}' and '{end}' is not its modules one after the other "
                f"({', '.join(name for name, _ in modules) or 'none'}), so that no auxiliary network can be built of "
                "it; write a skip, and each step of a chain, as a module"
            )
        found.append(Unit(modules, record.shape(begin), record.shape(end)))
    return found


def _gives(record: Trace, modules: Sequence[tuple[str, nn.Module]], x: Tensor, asked: Tensor) -> bool:
    with looking(record.network, []), torch.no_grad():
        try:
            for _, module in modules:
                x = module(x)
        except Exception:  # whatever a module makes of another's output: it is not its input
            return False
    if not isinstance(x, Tensor) or x.shape != asked.shape:
        return False
    return x.is_meta or torch.equal(x.nan_to_num(), asked.nan_to_num())  # an example's values may be anything


def _values(record: Trace, ports: Sequence[Port]) -> dict[Port, Tensor]:
    values: dict[Port, Tensor] = {}
    handles = []
    for port in ports:
        module = record.network.get_submodule(port.module)
        if port.side == "output":
            handles.append(module.register_forward_hook(lambda _, args, out, p=port: values.__setitem__(p, out)))
        else:
            handles.append(module.register_forward_pre_hook(lambda _, args, p=port: values.__setitem__(p, args[0])))
    with looking(record.network, handles), torch.no_grad():
        record.network(record.example)
    return values


def _between(record: Trace, begin: Port, end: Port) -> Iterator[tuple[str, nn.Module]]:
    """Yield the widest modules that run wholly between two ports, in order; a Sequential by its parts."""
    since, until = record.firings[begin].when, record.firings[end].when
    inside = []
    for name, module in record.network.named_modules():
        enter, leave = record.firings.get(Port(name, "input")), record.firings.get(Port(name, "output"))
        runs = enter is not None and leave is not None and since < enter.when and leave.when <= until
        if name and runs and not isinstance(module, nn.Sequential):
            inside.append((enter.when, name, module))
    names = {name for _, name, _ in inside}
    for _, name, module in sorted(inside, key=lambda one: one[0]):
        parents = name.split(".")[:-1]
        if not any(".".join(parents[:k]) in names for k in range(1, len(parents) + 1)):
            yield name, module


@dataclass(frozen=True)
class _Joint:
    """A fresh unit that takes what it is given, in the place of those that were left out before it."""

    record: Trace
    unit: Unit
    skipped: Sequence[Unit]
    halve: bool  # whether it is to halve the image for those that were left out

    def parts(self, shape: Shape) -> Iterator[nn.Module]:
        halve = self.halve
        for name, module in self.unit.modules:
            if isinstance(module, nn.Flatten | nn.Linear) and len(shape) == 3:
                for part in self._flat(shape):
                    yield part
                    shape = _shape_behind(part, shape)
            if isinstance(module, nn.Flatten):
                continue
            if halve and isinstance(module, nn.Conv2d) and (pool := self._pool()) is not None:
                yield pool
                shape, halve = _shape_behind(pool, shape), False
            part = self._part(name, module, shape, halve)
            halve = halve and not any(isinstance(m, nn.Conv2d) for m in part.modules())
            yield part
            shape = _shape_behind(part, shape)

    def _part(self, name: str, module: nn.Module, shape: Shape, halve: bool) -> nn.Module:
        if isinstance(module, nn.Linear):
            return nn.Linear(shape[0], module.out_features, module.bias is not None)
        if isinstance(module, nn.Conv2d):
            return conv_like(module, shape[0], 2 if halve else 1)
        own = _bare(module)
        if any(isinstance(m, nn.Conv2d) for m in own.modules()):
            return block_like(own, self.record.shape(Port(name, "input")), shape, 2 if halve else 1)
        return own

    def _pool(self) -> nn.Module | None:
        pools = [module for unit in self.skipped for _, module in unit.modules if isinstance(module, POOLS)]
        return _bare(pools[-1]) if pools else None

    def _flat(self, shape: Shape) -> list[nn.Module]:
        """Return what makes a vector of a map: of the size that it has where the network makes one."""
        names = [
            name for u in (*self.skipped, self.unit) for name, module in u.modules if isinstance(module, nn.Flatten)
        ]
        size = self.record.shape(Port(names[-1], "input"))[1:] if names else (1, 1)
        return [*([] if size == shape[1:] else [nn.AdaptiveAvgPool2d(size)]), nn.Flatten()]


def conv_like(layer: nn.Conv2d, channels: int, stride: int = 1) -> nn.Conv2d:
    """Return a fresh convolution of a layer's form for so many input channels, its stride times `stride`."""
    return nn.Conv2d(
        channels,
        layer.out_channels,
        layer.kernel_size,
        tuple(stride * s for s in layer.stride),
        layer.padding if stride == 1 or layer.padding != "same" else tuple(k // 2 for k in layer.kernel_size),
        layer.dilation,
        gcd(channels, layer.groups),  # a depthwise layer that is given fewer channels makes several of each
        layer.bias is not None,
        layer.padding_mode,
    )


def block_like(block: nn.Module, before: Shape, shape: Shape, stride: int = 1) -> nn.Module:
    """Return a block changed in place, so that it takes `shape` in place of `before` and strides `stride` further.

    Of the modules that read the block's input, the one whose output no other module reads is the shortcut; where
    anything changes, it becomes a 1 x 1 convolution with batch norm (He et al. 2016, option B).
    """
    if shape[0] == before[0] and stride == 1:
        return block
    after = _shape_behind(block, before)
    readers, shortcuts = _readers(block, before)
    own = max(1, round(max(before[1:]) / max(after[1:])))
    main = [
        (name, m)
        for name, m in block.named_modules()
        if isinstance(m, nn.Conv2d) and not any(name == s or name.startswith(f"{s}.") for s in shortcuts)
    ]
    widest = next((name for name, m in main if m.kernel_size == max(c.kernel_size for _, c in main)), None)
    first = [next((n for n, _ in main if n == r or n.startswith(f"{r}.")), None) for r in readers]
    for name, layer in main:
        channels = shape[0] if name in first else layer.in_channels
        block.set_submodule(name, conv_like(layer, channels, stride if name == widest else 1))
    for name in shortcuts:
        projection = nn.Conv2d(shape[0], after[0], 1, own * stride, bias=False)
        block.set_submodule(name, nn.Sequential(projection, nn.BatchNorm2d(after[0])))
    return block


def _readers(block: nn.Module, before: Shape) -> tuple[list[str], list[str]]:
    """Return which of a block's modules read its input on the main way, and which are its shortcut."""
    given: dict[str, Tensor] = {}
    made: dict[str, Tensor] = {}
    handles = []
    for name, child in block.named_children():
        handles.append(child.register_forward_pre_hook(lambda _, args, n=name: given.__setitem__(n, args[0])))
        handles.append(child.register_forward_hook(lambda _, args, out, n=name: made.__setitem__(n, out)))
    x = torch.zeros(2, *before)
    with looking(block, handles), torch.no_grad():
        block(x)
    readers = [name for name, value in given.items() if value is x]
    read = {id(value) for value in given.values() if value is not x}
    shortcuts = [name for name in readers if id(made[name]) not in read] if len(readers) > 1 else []
    return [name for name in readers if name not in shortcuts], shortcuts


def fresh(network: nn.Module, initialisation: str) -> None:
    """Draw every weight of a network anew.

    Parameters
    ----------
    network : nn.Module
    initialisation : {"he", "default"}
        "he": convolutions normal with variance 2 / (fan out), zero biases; other modules as torch makes them.

    Raises
    ------
    InputError
        If a module with weights does not say how they start.
    """
    for name, module in network.named_modules():
        own = [p for p in module.parameters(recurse=False)]
        if own and not hasattr(module, "reset_parameters"):
            raise InputError(
                f"'{name}' ({type(module).__name__}) of an auxiliary network has weights and no reset_parameters, so "
                "that no fresh ones can be drawn; give it that method"
            )
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
        if initialisation == "he" and isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _bare(module: nn.Module) -> nn.Module:
    """Return a copy where modules are made now, in their number format, that trains."""
    here = torch.empty(0)
    return copy.deepcopy(module).to(here.device, here.dtype).requires_grad_(True).train()


def _shape_behind(part: nn.Module, shape: Shape) -> Shape:
    with looking(part, []), torch.no_grad():
        try:
            return tuple(part(torch.zeros(2, *shape)).shape[1:])
        except Exception as error:
            found = f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"
            raise InputError(
                f"a fresh {type(part).__name__} cannot take {shape} in an auxiliary network ({found}); use a network "
                "whose units take any number of channels"
            ) from None

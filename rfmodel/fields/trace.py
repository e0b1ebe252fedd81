"""What a network does with an image on the way to a layer, found by running it once without arithmetic."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from rfmodel.errors import InputError


@dataclass(frozen=True)
class Step:
    """A module without children that fired before the layer, or the layer: what it was given, and what it gave."""

    module: nn.Module
    given: Tensor
    given_version: int
    gave: Tensor
    gave_version: int


@dataclass
class Trace:
    """The modules that ran, as seen from one layer.

    Attributes
    ----------
    shapes : shapes of the layer's outputs, one for each time that it fired.
    steps : the modules without children that fired until the layer did, in order.
    before, after : names of the modules entered until the layer fired, and of those first entered later.
    inputs : the network's input.
    entry_version : version of the tensor that the module entered last was given; a change in place raises it.
    decides : whether the network could not be run without arithmetic, so that its course may depend on values.
    """

    shapes: list[tuple[int, ...]] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    before: set[str] = field(default_factory=set)
    after: set[str] = field(default_factory=set)
    inputs: Tensor | None = None
    entry_version: int = 0
    decides: bool = False

    def chain(self) -> list[Step] | None:
        """Return the steps if each was given exactly what the one before gave, from the input on; None otherwise.

        A tensor that was changed in place between two modules counts as another one, and a network whose course may
        depend on values is no chain: other images may take another course.
        """
        if self.decides:
            return None
        last, version = self.inputs, 0
        for step in self.steps:
            if step.given is not last or step.given_version != version:
                return None
            last, version = step.gave, step.gave_version
        return self.steps

    def state_after(self, model: nn.Module) -> set[str]:
        """Return the names of the state dict's entries that belong to modules entered only after the layer fired."""
        names = set()
        for name in model.state_dict():
            owner = name.rpartition(".")[0]
            parts = owner.split(".")
            around = {".".join(parts[:i]) for i in range(1, len(parts) + 1)}
            if owner not in self.before and around & self.after:
                names.add(name)
        return names


def trace(model: nn.Module, layer: str, inputs: Tensor) -> Trace:
    """Return the trace of one forward pass, on meta tensors where the network allows it.

    Parameters
    ----------
    model : network in eval mode.
    layer : dotted name of a module of it.
    inputs : Tensor (1, channels, height, width), as the network sees it.

    Returns
    -------
    Trace

    Raises
    ------
    InputError
        If the network refuses the images, or the layer did not fire exactly once or gives no tensor.
    """
    try:
        found = _run_without_arithmetic(model, layer, inputs)
    except InputError:
        raise
    except Exception:
        # Networks whose course depends on values, or that make tensors of their own, need real arithmetic.
        found = _run(model, layer, inputs)
    if len(found.shapes) != 1:
        times = f"fired {len(found.shapes)} times" if found.shapes else "did not fire"
        raise InputError(
            f"layer '{layer}' {times} in a forward pass: a layer that runs once, such as the module around it, would do"
        )
    return found


def _run_without_arithmetic(model: nn.Module, layer: str, inputs: Tensor) -> Trace:
    state = {name: _meta(t) for name, t in (*model.named_parameters(), *model.named_buffers())}
    found = Trace()
    _watch(model, layer, _meta(inputs), found, lambda x: torch.func.functional_call(model, state, (x,)))
    return found


def _run(model: nn.Module, layer: str, inputs: Tensor) -> Trace:
    found = Trace(decides=True)
    try:
        _watch(model, layer, inputs.clone(), found, model)
    except InputError:
        raise
    except Exception as error:
        # A network may raise anything on images that it cannot take; its own first line is the reason to show.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"the network refuses images of shape {tuple(inputs.shape[1:])}: {reason}; "
            "the image_shape that it was built for would do"
        ) from error
    return found


def _watch(model: nn.Module, layer: str, inputs: Tensor, found: Trace, run) -> None:
    target = model.get_submodule(layer)
    found.inputs = inputs
    handles = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(_entered(name, module, target, found)))
        if module is target or not any(True for _ in module.children()):
            handles.append(module.register_forward_hook(_left(layer, target, found)))
    try:
        with torch.no_grad():
            run(inputs)
    finally:
        for handle in handles:
            handle.remove()


def _entered(name: str, module: nn.Module, target: nn.Module, found: Trace):
    def hook(_module, args):
        if found.shapes and module is not target:
            if name not in found.before:
                found.after.add(name)
            return
        found.before.add(name)
        found.entry_version = args[0]._version if args and isinstance(args[0], Tensor) else -1

    return hook


def _left(layer: str, target: nn.Module, found: Trace):
    def hook(module, args, output):
        if not found.shapes:
            given = args[0] if len(args) == 1 and isinstance(args[0], Tensor) else torch.empty(0)
            gave = first_tensor(output, layer) if module is target else output
            if not isinstance(gave, Tensor):
                gave = torch.empty(0)
            found.steps.append(Step(module, given, found.entry_version, gave, gave._version))
        if module is target:
            found.shapes.append(tuple(first_tensor(output, layer).shape))

    return hook


def first_tensor(output, layer: str) -> Tensor:
    """Return a module's output, or the first of several, as attention and recurrent layers give.

    Raises
    ------
    InputError
        If there is no tensor.
    """
    first = output[0] if isinstance(output, tuple | list) and output else output
    if not isinstance(first, Tensor):
        raise InputError(f"layer '{layer}' gives {type(output).__name__}: a layer whose output is a tensor would do")
    return first


def _meta(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, device="meta")

"""Blueprint: a routed network without its numbers, on which a step of any size can be walked through at no cost."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rfmodel.errors import InputError
from rfmodel.routing import Routed


class _WithoutValues(TorchFunctionMode):
    """Within this mode a deep copy of a tensor is one of its shape on the meta device."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.Tensor.clone:  # how a parameter copies itself
            return torch.empty_like(args[0], device="meta")
        if function is torch.Tensor.__deepcopy__:
            tensor, memo = args
            blank = torch.empty_like(tensor, device="meta", requires_grad=tensor.requires_grad)
            memo[id(tensor)] = blank
            return blank
        return function(*args, **(kwargs or {}))


@dataclass(frozen=True)
class Blueprint:
    """A routed network on the meta device, and the shape of an image.

    Parameters
    ----------
    routed : Routed
        In training mode, but for batch norm where only products count: it has none, and refuses batches of one.
    image_shape : tuple of int
        Without the batch.
    """

    routed: Routed
    image_shape: tuple[int, ...]

    @property
    def dtype(self) -> torch.dtype:
        floating = (p.dtype for p in self.routed.network.parameters() if p.is_floating_point())
        return next(floating, torch.get_default_dtype())

    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        """Return images and labels without values."""
        images = torch.empty(size, *self.image_shape, dtype=self.dtype, device="meta")
        return images, torch.empty(size, dtype=torch.long, device="meta")

    @contextmanager
    def stepping(self, size: int) -> Iterator[None]:
        """Within this context a step can be taken; what fails for lack of values or a wrong shape is said in a line.

        Raises
        ------
        InputError
        """
        self.routed.zero_grad(set_to_none=True)
        try:
            with torch.enable_grad(), torch.device("meta"):  # what a module makes in passing is without values too
                yield
        except InputError:
            raise
        except Exception as error:
            reason = str(error).strip().splitlines() or ["no reason given"]
            raise InputError(
                f"a step on the shapes of {size} images of {self.image_shape} fails ({type(error).__name__}: "
                f"{reason[0][:200]}); give the shape that the network takes, and layers and maps that look at no values"
            ) from None


def blueprint(routed: Routed, image_shape: Sequence[int], training: bool = False) -> Blueprint:
    """Return a routed network's blueprint, its batch norm in `training` or not; the network itself is only read."""
    with _WithoutValues():
        bare = copy.deepcopy(routed)
    bare.train()
    for module in bare.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            module.train(training)
    return Blueprint(bare, tuple(int(side) for side in image_shape))

"""Compiling: a routed network by torch.compile, refused at once where the machine cannot."""

from __future__ import annotations

import torch
from torch import nn

from rfmodel.errors import InputError


def compiled(network: nn.Module, device: torch.device) -> nn.Module:
    """Return the network compiled for batches of fixed sizes; it shares its weights with the original.

    Raises
    ------
    InputError
        If nothing can be compiled for the device here; a compiler of C++ (processor) or Triton (GPU) is missing.
    """
    try:
        torch.compile(_probe)(torch.ones(2, device=device))
    except Exception as error:  # torch's backends raise what their compilers raise
        reason = str(error).strip().splitlines()[0][:120]
        raise InputError(
            f"train.compile = true, but torch.compile fails for {device.type} here ({reason}); install a C++ compiler "
            "(processor) or Triton (GPU), or set it to false"
        ) from None
    torch._dynamo.reset()  # a process that trains many networks would use up the limit of recompilations
    return torch.compile(network, dynamic=False)


def _probe(x: torch.Tensor) -> torch.Tensor:
    return x * 2 + 1

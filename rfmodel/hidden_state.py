"""Hidden state: what a map of the user's own holds beside its parameters and buffers, which no checkpoint sees."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import nn

BARE = frozenset(vars(nn.Module()))  # what every module holds of its own
PLAIN = (int, float, complex, str, bytes, type(None))


def hidden(module: nn.Module) -> dict[str, object]:
    """Return what the user's own modules within a module hold in plain attributes, by name, in a form that compares.

    rfmodel's and torch's modules hold their state where a checkpoint sees it, and so does one that gives it by
    `get_extra_state`. Of objects but numbers, words, tensors, generators and collections of them nothing is known.

    Parameters
    ----------
    module : nn.Module
    """
    return {
        f"{place} ({type(one).__name__}).{key}": _form(value)
        for place, one in module.named_modules()
        if _is_users(one)
        for key, value in vars(one).items()
        if key not in BARE
    }


def _is_users(module: nn.Module) -> bool:
    own = type(module).__module__.partition(".")[0] not in ("rfmodel", "torch")
    return own and type(module).get_extra_state is nn.Module.get_extra_state


def _form(value: object) -> object:
    if isinstance(value, torch.Generator):
        value = value.get_state()
    if isinstance(value, nn.Module):  # seen by itself, or no part of the map
        return "module"
    if isinstance(value, torch.Tensor):
        held = value.detach().cpu().contiguous()
        return (
            str(held.dtype),
            tuple(held.shape),
            hashlib.sha256(held.reshape(-1).view(torch.uint8).numpy()).hexdigest(),
        )
    if isinstance(value, Mapping):
        return [(repr(key), _form(inner)) for key, inner in value.items()]
    if isinstance(value, list | tuple | set):
        return [_form(inner) for inner in value]
    return repr(value) if isinstance(value, PLAIN) else type(value).__name__

"""The ranks that a saved state has, given to a network before the state is loaded."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from rfmodel.errors import InputError
from rfmodel.factors.cutting import replace
from rfmodel.factors.factorise import factored
from rfmodel.factors.layers import Factored


def take_ranks(network: nn.Module, state: Mapping[str, Tensor], prefix: str = "") -> None:
    """Give each factored layer the rank that it has in a state, so that load_state_dict fits.

    Only shapes change: which columns stay is of no account, as the state overwrites them. Layers that the state does
    not name stay as they are.

    Parameters
    ----------
    network : Module
    state : mapping of str to Tensor
        A state dict of the network.
    prefix : str
        What the state puts before the network's own names.

    Raises
    ------
    InputError
        If a layer's rank in the state is above its present one, or its factors there do not fit each other or the
        layer. Nothing is cut then.
    """
    ranks = {}
    for name, layer in factored(network).items():
        own = f"{prefix}{name}." if name else prefix
        saved = {key: state[own + key] for key in "USV" if own + key in state}
        if saved:
            ranks[name] = _rank_in(saved, layer, name)
    for name, rank in ranks.items():
        layer = network.get_submodule(name)
        for p in (layer.U, layer.S, layer.V) if rank < layer.rank else ():
            replace(p, p.detach()[..., :rank])


def _rank_in(saved: Mapping[str, Tensor], layer: Factored, name: str) -> int:
    absent = [key for key in "USV" if key not in saved]
    if absent:
        raise InputError(f"layer '{name}' has no {' and no '.join(absent)} in the saved state; load a whole state dict")
    rank = saved["S"].numel()
    wanted = {"U": (len(layer.U), rank), "S": (rank,), "V": (len(layer.V), rank)}
    found = {key: tuple(tensor.shape) for key, tensor in saved.items()}
    if found != wanted:
        shapes = ", ".join(f"{key} {found[key]}" for key in "USV")
        raise InputError(
            f"layer '{name}' has {shapes} in the saved state, and its matrix is {len(layer.U)} x {len(layer.V)}; load "
            "a state of the same network"
        )
    if not 1 <= rank <= layer.rank:
        raise InputError(
            f"layer '{name}' has rank {rank} in the saved state and {layer.rank} here; factorise the network at the "
            "rank that its training began with"
        )
    return rank

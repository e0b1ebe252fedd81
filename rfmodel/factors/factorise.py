"""A network's layers into factors and back, in place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from torch import nn

from rfmodel.errors import InputError, nearest
from rfmodel.factors.layers import Factored, FactoredConv2d, FactoredLinear
from rfmodel.factors.splitting import check_splits


def factorise(network: nn.Module, names: Sequence[str], rank: int | float = 1.0) -> list[str]:
    """Replace layers of a network by their factored forms, in place.

    Parameters
    ----------
    network : Module
        With real weights or on the meta device.
    names : sequence of str
        Dotted names of Linear and Conv2d layers.
    rank : int or float
        A fraction of each layer's full rank in (0, 1], or a whole number, capped at the full rank.

    Returns
    -------
    list of str
        The names, in the order given.

    Raises
    ------
    InputError
        If a name is unknown or the network's own, a layer cannot be split, is factored already or shares its weight,
        or the rank is none. Nothing is replaced then.
    """
    layers = {name: _named(network, name) for name in names}
    for name, layer in layers.items():
        if isinstance(layer, Factored):
            raise InputError(f"layer '{name}' is factored already, at rank {layer.rank}; cut changes its rank")
        check_splits(layer, name)
        _check_alone(network, name, layer)
    for layer in dict.fromkeys(layers.values()):
        form = FactoredLinear if isinstance(layer, nn.Linear) else FactoredConv2d
        _replace(network, layer, form.of(layer, rank))
    return list(layers)


def merge(network: nn.Module) -> nn.Module:
    """Put plain layers back in place of the factored ones, and return the network.

    The plain layers have none of the factored layers' hooks: those that act on factors would find none.
    """
    if isinstance(network, Factored):
        return network.merged()
    for layer in [module for module in network.modules() if isinstance(module, Factored)]:
        _replace(network, layer, layer.merged())
    return network


def factored(network: nn.Module) -> dict[str, Factored]:
    """Return the factored layers of a network by their dotted names, in the order in which they are registered."""
    return {name: module for name, module in network.named_modules() if isinstance(module, Factored)}


def _named(network: nn.Module, name: str) -> nn.Module:
    known = dict(network.named_modules(remove_duplicate=False))
    if name == "":
        kind = type(network).__name__
        raise InputError(f"the network itself, a {kind}, cannot be replaced in place; use FactoredLinear.of(network)")
    if name not in known:
        raise InputError(f"layer '{name}' is not in the network{nearest(str(name), known) or '; see named_modules()'}")
    return known[name]


def _check_alone(network: nn.Module, name: str, layer: nn.Module) -> None:
    for parent, other in _others(network, layer):
        raise InputError(
            f"layer '{name}' shares its weight with '{parent}{'.' * bool(parent)}{other}', and factors would part "
            "them; leave both whole, or give each its own weight"
        )


def _others(network: nn.Module, layer: nn.Module) -> Iterator[tuple[str, str]]:
    for parent, module in network.named_modules():
        for name, parameter in module._parameters.items():
            if parameter is layer.weight and module is not layer:
                yield parent, name


def _replace(network: nn.Module, layer: nn.Module, by: nn.Module) -> None:
    for parent in list(network.modules()):
        for name in [name for name, child in _children(parent) if child is layer]:
            setattr(parent, name, by)


def _children(parent: nn.Module) -> Iterable[tuple[str, nn.Module | None]]:
    return parent._modules.items()  # named_children() leaves out a layer's second name

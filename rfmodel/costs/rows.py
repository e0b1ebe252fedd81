"""Rows: to which layer of a table a module, an edge or a parameter belongs, and the table itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction

import numpy as np
import xarray as xr
from torch import nn

from rfmodel.routing import Port, Routed

REST = "rest"


def rows_of(routed: Routed, layers: Iterable[str], others: Iterable[str]) -> tuple[str, ...]:
    """Return the rows: weighted layers and other modules at which something is delivered, as they fire, then "rest"."""
    order = routed.order
    named = dict.fromkeys([*layers, *others])
    return (*sorted(named, key=lambda name: order.get(Port(name, "output"), len(order))), REST)


def tabled(
    name: str,
    units: str,
    axis: str,
    columns: Sequence[str],
    layers: Sequence[str],
    batch: int,
    *cells: Mapping[tuple[str, str], int | Fraction],
    dtype: type = np.float64,
) -> xr.DataArray:
    """Return cells by (layer, column), added up, as an array of dims (layer, `axis`)."""
    values = np.zeros((len(layers), len(columns)), dtype)
    for (layer, column), amount in (item for one in cells for item in one.items()):
        values[layers.index(layer), columns.index(column)] += dtype(amount)
    coords = {"layer": list(layers), axis: list(columns)}
    return xr.DataArray(values, coords, ("layer", axis), name, {"units": units, "batch": batch})


def owner(name: str, layers: Iterable[str]) -> str:
    """Return the layer that a parameter is of, or is named below, as a parametrization's tensors are."""
    owners = [layer for layer in layers if name.startswith(f"{layer}." if layer else "")]
    return max(owners, key=len, default=REST)


def beside(routed: Routed) -> Iterator[tuple[str, nn.Module, bool]]:
    """Yield the modules beside the network with their rows, and whether the weights' optimiser has them.

    They are the feedback maps, at the target of their edge, the local losses of factored layers, the heads, where
    their unit ends, and a rule's own step.
    """
    for edge, feedback in routed.maps.items():
        yield edge.target.module, feedback, feedback.learns_as_weights
    for name, loss in routed.losses.items():
        yield name, loss, False
    for port, head in zip(routed.cuts, routed.heads.values(), strict=True):
        yield port.module, head, True
    if routed.own_step is not None:
        yield REST, routed.own_step, False

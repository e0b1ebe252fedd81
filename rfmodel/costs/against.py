"""Against plain: a rule at given ranks beside backpropagation in the plain network, by layer, trained and used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from rfmodel.costs.accounting import Account, account_of
from rfmodel.costs.asked import positive
from rfmodel.costs.blueprint import blueprint
from rfmodel.costs.memory import MemoryAccount, memory_of
from rfmodel.costs.rows import REST
from rfmodel.costs.twin import at_ranks
from rfmodel.costs.updates import both, states
from rfmodel.routing import Routed

SIDES = ("rule", "bp")
Optimisers = str | int | Sequence[str | int]


def against_plain(
    routed: Routed,
    batch: int,
    image_shape: Sequence[int],
    optimisers: Optimisers = "adam",
    ranks: float | Mapping[str, int | float] | None = None,
    remembered: Optimisers | None = None,
) -> xr.Dataset:
    """Return FLOPs and bytes of training and of inference, of a rule and of backpropagation in the plain network.

    The plain network is the same with its factors merged: where layers are factored, backpropagation does not train
    factors. Inference takes one batch; that of a rule on factors stays factored.

    Parameters
    ----------
    routed : Routed
        It is only read.
    batch : int
    image_shape : tuple of int
        Without the batch.
    optimisers : str or int, or two of them
        Names of the optimisers of weights and feedback, or their operations on a parameter.
    ranks : float or mapping of factored layer to int or float, optional
        Ranks in place of those in force, which they cannot exceed; a fraction is one of the full rank.
    remembered : str or int, or two of them, optional
        How many numbers the optimisers remember of a parameter, where `optimisers` gives operations.

    Returns
    -------
    Dataset
        training_flops, inference_flops, training_bytes, inference_bytes (side, layer), and their sums
        training_flops_total, ... (side), with the sides "rule" and "bp". A layer that one of the two lacks has 0 there.
        A layer's inference_bytes are its parameters and the most that lives at once while it runs; the total has all
        parameters and the greatest of these. The total of training_bytes is what is held at once, too: see
        `MemoryAccount.at_once`.

    Raises
    ------
    InputError
        As `account` and `memory`; if a rank is asked for a layer that is not factored.
    """
    positive("batch", batch)
    plan, trained = (blueprint(routed, image_shape, training) for training in (False, True))
    if ranks is not None:
        plan, trained = at_ranks(plan, ranks), at_ranks(trained, ranks)
    spent = account_of(plan, batch, both(optimisers))
    held = memory_of(trained, batch, both(optimisers if remembered is None else remembered, states))
    sides = [(spent, held), (spent.backpropagation(), held.backpropagation())]
    layers = [name for name in dict.fromkeys(n for s, m in sides for n in (*s.layers, *m.layers)) if name != REST]
    found: dict[str, list] = {}
    for one, other in sides:
        for name, (values, total) in _columns(one, other).items():
            found.setdefault(name, []).append([values.get(layer, 0) for layer in (*layers, REST)])
            found.setdefault(f"{name}_total", []).append(total)
    variables = {
        name: (("side",) if name.endswith("_total") else ("side", "layer"), np.asarray(rows, float))
        for name, rows in found.items()
    }
    return xr.Dataset(variables, {"side": list(SIDES), "layer": [*layers, REST]}, {"batch": batch})


def _columns(spent: Account, held: MemoryAccount) -> dict[str, tuple[dict[str, float], float]]:
    """Return by name the values of each layer, and of all."""
    trained = spent.table.sum("part").to_series().to_dict()
    used = spent.inference
    stored, living = (
        held.table.sum("kind").to_series().to_dict(),
        held.inference_table.sum("kind").to_series().to_dict(),
    )
    return {
        "training_flops": (trained, float(spent.total())),
        "inference_flops": (used, sum(used.values())),
        "training_bytes": (stored, held.at_once),
        "inference_bytes": (living, held.total_inference()),
    }

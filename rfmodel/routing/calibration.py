"""Calibration: bring what each edge delivers to the size that backpropagation's error has there."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from rfmodel.errors import InputError
from rfmodel.routing.ports import Edge, Port
from rfmodel.routing.routed import Loss, Routed


def calibrate(
    routed: Routed, batches: Iterable[tuple[Tensor, Tensor]], loss: Loss = nn.functional.cross_entropy
) -> dict[Edge, float]:
    r"""Scale each feedback map so that the error it delivers has the norm of backpropagation's.

    .. math:: B_e \leftarrow f_e B_e, \quad
              f_e = \sqrt{\sum \|\delta^{BP}\|^2 / \sum \|\delta^{rule}\|^2}

    over the batches, target by target from the last to the first, so that what arrives at a source has been
    calibrated already. The edges of one target get one factor, which each map's `gain` keeps.

    Parameters
    ----------
    routed : Routed
        Its mode, gradients and buffers stay as they are; use eval mode for a network with dropout.
    batches : iterable of (images, labels)
    loss : callable of (output, labels)

    Returns
    -------
    dict of Edge to float
        The factors.

    Raises
    ------
    InputError
        If there is no batch, inside `exact()`, or if an error is nought or not finite, so that no factor exists; no
        map is then scaled.
    """
    pairs = list(batches)
    if not pairs:
        raise InputError("calibration was given no batch of images; give it at least one")
    if routed.edges and not routed.routes_errors:
        raise InputError("calibration scales what a rule delivers; do it outside exact()")
    before = {edge: feedback.gain.clone() for edge, feedback in routed.maps.items()}
    with routed.exact():
        true = _energy(routed, pairs, loss)
    factors: dict[Edge, float] = {}
    targets = true.keys() & {edge.target for edge in routed.edges}
    for port in sorted(targets, key=lambda target: routed.order[target], reverse=True):
        factor = (true[port] / _energy(routed, pairs, loss)[port]).sqrt()
        if not bool(factor.isfinite() & (factor > 0)):
            for edge in factors:  # nothing is left half done
                routed.maps[edge].rescale(before[edge] / routed.maps[edge].gain)
            raise InputError(
                f"the error at '{port}' cannot be calibrated: its norm or backpropagation's is nought or not finite "
                "on these images; use more images, or leave this site out"
            )
        for edge in (edge for edge in routed.edges if edge.target == port):
            routed.maps[edge].rescale(factor)
            factors[edge] = float(factor)
    return {edge: factors[edge] for edge in routed.edges}


def _energy(routed: Routed, pairs: list[tuple[Tensor, Tensor]], loss: Loss) -> dict[Port, Tensor]:
    total: dict[Port, Tensor] = {}
    for images, labels in pairs:
        for port, delta in routed.teaching_signals(images, labels, loss).items():
            total[port] = total.get(port, 0) + delta.double().square().sum()
    return {port: torch.as_tensor(value) for port, value in total.items()}

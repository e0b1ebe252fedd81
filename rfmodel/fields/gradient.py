"""Fields as gradients: one forward pass of one blank image, then the gradients of all units in batches."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rfmodel.fields.probe import Probe


def gradients(
    probe: Probe, blank: Tensor, units: Tensor, chunk: int, progress: Callable[[int, int], None] | None = None
) -> tuple[Tensor, Tensor]:
    """Return the gradient of every unit's activation with respect to the image, at the blank.

        rf_u = d a_u / d x  at  x = blank

    Parameters
    ----------
    probe : the layer and position to read.
    blank : Tensor (1, channels, height, width), in image units [0, 1].
    units : Tensor (n,), indices.
    chunk : units whose gradients are computed at a time.
    progress : called with (units done, units in all).

    Returns
    -------
    fields : Tensor (n, channels, height, width), activation per unit of image intensity.
    activations : Tensor (n,).
    """
    if probe.cone is not None:
        return _cone_gradients(probe, blank, units, chunk, progress)
    image = blank.clone().requires_grad_()
    activations = probe.responses(image, units)[0]
    fields = blank.new_zeros((len(units), *blank.shape[1:]))
    if activations.requires_grad:
        one_hot = torch.eye(len(units), dtype=activations.dtype, device=activations.device)
        for start in range(0, len(units), chunk):
            rows = slice(start, start + chunk)
            fields[rows] = _rows(activations, image, one_hot[rows])
            if progress is not None:
                progress(min(start + chunk, len(units)), len(units))
    return fields, activations.detach()


def _cone_gradients(probe, blank, units, chunk, progress) -> tuple[Tensor, Tensor]:
    fields, activations = [], []
    for start in range(0, len(units), chunk):
        slope, activation = probe.cone.gradients((blank - probe.mean) / probe.std, units[start : start + chunk])
        fields.append(slope / probe.std)
        activations.append(activation)
        if progress is not None:
            progress(min(start + chunk, len(units)), len(units))
    return torch.cat(fields), torch.cat(activations)


def _rows(activations: Tensor, image: Tensor, one_hot: Tensor) -> Tensor:
    """Return (rows, channels, height, width): the backward pass is run once, over a batch of gradients."""
    try:
        found = torch.autograd.grad(
            activations, image, one_hot, retain_graph=True, is_grads_batched=True, allow_unused=True
        )[0]
    except RuntimeError:
        # A backward pass that cannot be batched (an operator without that rule) is run once for each unit.
        each = [torch.autograd.grad(activations, image, v, retain_graph=True, allow_unused=True)[0] for v in one_hot]
        found = None if each[0] is None else torch.stack(each)
    return 0.0 if found is None else found[:, 0]

"""Fields as most exciting images: activation maximisation inside a ball around the blank, all units as one batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rfmodel.errors import InputError
from rfmodel.fields.probe import Probe


@dataclass(frozen=True)
class Ascent:
    """How the maximiser climbs; lengths are in image units, where black is 0 and white is 1.

    Attributes
    ----------
    steps : number of ascent steps.
    radius : R, the largest |x - blank|; None gives an RMS contrast of 0.1, R = 0.1 sqrt(number of pixels).
    step : first step's length in units of R; later steps shrink linearly to zero.
    lower, upper : range of the image, None for no limit.
    noise : SD of the noise added to the blank at the start, which wakes units whose gradient at the blank is zero.
    """

    steps: int = 20
    radius: float | None = None
    step: float = 1.0
    lower: float | None = None
    upper: float | None = None
    noise: float = 0.0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"steps = {self.steps} climbs nowhere: 1 or more would do")
        for name in ("radius", "step"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name} = {value} is no length: a positive number would do")
        if self.noise < 0:
            raise InputError(f"noise = {self.noise} is no standard deviation: 0 or more would do")


def most_exciting(
    probe: Probe,
    blank: Tensor,
    units: Tensor,
    chunk: int,
    ascent: Ascent,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the image that drives each unit most within a distance of the blank, less the blank.

        x*_u = argmax a_u(x)   over   |x - blank| <= R,   lower <= x <= upper

    by projected ascent along the normalised gradient; of all the steps, the best is kept. For a unit that is linear,
    or any rising function of a linear drive w . x, x* - blank = R w / |w| where the range does not bind.

    Parameters
    ----------
    probe : the layer and position to read.
    blank : Tensor (1, channels, height, width), in image units.
    units : Tensor (n,), indices.
    chunk : units that climb at a time.
    ascent : steps, radius and range.
    seed : seed of the start's noise.
    progress : called with (units done, units in all).

    Returns
    -------
    fields : Tensor (n, channels, height, width), zero for units whose gradient was zero at every step.
    activations : Tensor (n,), at the most exciting image.

    Raises
    ------
    InputError
        If the blank lies outside the range.
    """
    low = -torch.inf if ascent.lower is None else ascent.lower
    high = torch.inf if ascent.upper is None else ascent.upper
    if not (low <= blank.min() and blank.max() <= high):
        raise InputError(
            f"the blank {blank.min().item():g} lies outside the images' range {low:g} to {high:g}: "
            "a range around it would do"
        )
    radius = 0.1 * blank.numel() ** 0.5 if ascent.radius is None else ascent.radius
    rng = np.random.default_rng(seed)
    fields, activations = [], []
    for start in range(0, len(units), chunk):
        chosen = units[start : start + chunk]
        noise = torch.from_numpy(rng.standard_normal((len(chosen), *blank.shape[1:]))).to(blank)
        begin = (blank + ascent.noise * noise).clamp(low, high)
        found, response = _climb(probe, blank, chosen, begin, ascent, radius, (low, high))
        fields.append(found - blank)
        activations.append(response)
        if progress is not None:
            progress(min(start + chunk, len(units)), len(units))
    return torch.cat(fields), torch.cat(activations)


def _climb(probe, blank, units, image, ascent, radius, limits) -> tuple[Tensor, Tensor]:
    """Return the best images and activations of one batch, one image a unit."""
    best = blank.expand_as(image).clone()
    record = image.new_full((len(units),), -torch.inf)
    for step in range(ascent.steps + 1):
        image = image.detach().requires_grad_()
        response = probe.responses(image, units).diagonal()
        better = response.detach() > record
        record = torch.where(better, response.detach(), record)
        best[better] = image.detach()[better]
        if step == ascent.steps or not response.requires_grad:
            break
        slope = torch.autograd.grad(response.sum(), image)[0]
        length = slope.flatten(1).norm(dim=1)[:, None, None, None]
        stride = ascent.step * radius * (1 - step / ascent.steps)
        # A zero gradient leaves its image where it is.
        moved = image.detach() + stride * slope / torch.where(length > 0, length, 1.0)
        image = _project(moved.clamp(*limits), blank, radius)
    return best, record


def _project(image: Tensor, blank: Tensor, radius: float) -> Tensor:
    """Return images scaled towards the blank into the ball; a box around the blank is left by no image inside it."""
    offset = image - blank
    length = offset.flatten(1).norm(dim=1)[:, None, None, None]
    return blank + offset * (radius / length.clamp_min(radius))

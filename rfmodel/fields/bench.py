"""How much faster one call is than the loop that a person would write."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from torch import Tensor, nn

from rfmodel.fields.extraction import extract


def looped_gradients(model: nn.Module, layer: str, units: range, image: Tensor) -> Tensor:
    """Return the gradients of units at the layer's centre by one forward and one backward pass for each unit.

    This is the plain loop that `extract` is compared with, and agrees with.

    Parameters
    ----------
    model : network in eval mode.
    layer : dotted name of a layer with a map (n, channels, height, width).
    units : channels.
    image : Tensor (1, channels, height, width).

    Returns
    -------
    Tensor (len(units), channels, height, width).
    """
    caught: dict[str, Tensor] = {}
    handle = model.get_submodule(layer).register_forward_hook(lambda _m, _a, output: caught.update(output=output))
    found = []
    try:
        for unit in units:
            x = image.clone().requires_grad_()
            model(x)
            map_ = caught["output"]
            centre = map_[0, unit, map_.shape[2] // 2, map_.shape[3] // 2]
            found.append(torch.autograd.grad(centre, x)[0][0])
    finally:
        handle.remove()
    return torch.stack(found)


def bench_fields(
    model: nn.Module,
    layer: str = "retina.conv2",
    units: int = 32,
    repeats: int = 5,
    image_shape: tuple[int, int, int] = (1, 32, 32),
    blank: float = 0.5,
) -> dict[str, Any]:
    """Return how many times faster `extract` is than the plain loop, measured in turns.

    Both are run once before timing; then loop and call alternate, and each pair gives one ratio, so that whatever else
    the machine is doing touches both alike.

    Parameters
    ----------
    model : the network; the published comparison is 32 units of retina.conv2 of a 9 x 9, 32-channel Retina-VVS.
    layer, units, image_shape, blank : what is extracted.
    repeats : number of pairs.

    Returns
    -------
    dict with `layer`, `units`, `loop_seconds`, `call_seconds`, `ratios` (lists, one entry a pair), `ratio_min`,
    `ratio_median`, `difference` (largest absolute difference over the largest absolute value) and `threads`.
    """
    image = torch.full((1, *image_shape), blank, dtype=next(model.parameters()).dtype)
    chosen = range(units)
    mode = model.training
    model.eval()
    try:
        reference = looped_gradients(model, layer, chosen, image)
        call = lambda: extract(model, layer, chosen, image_shape=image_shape, blank=blank)  # noqa: E731
        fields = torch.from_numpy(call()["rf"].values).reshape(reference.shape).nan_to_num()
        loop_seconds, call_seconds = [], []
        for _ in range(repeats):
            loop_seconds.append(_seconds(lambda: looped_gradients(model, layer, chosen, image)))
            call_seconds.append(_seconds(call))
    finally:
        model.train(mode)
    ratios = [loop / one for loop, one in zip(loop_seconds, call_seconds, strict=True)]
    return {
        "layer": layer, "units": units, "loop_seconds": loop_seconds, "call_seconds": call_seconds, "ratios": ratios,
        "ratio_min": min(ratios), "ratio_median": statistics.median(ratios), "threads": torch.get_num_threads(),
        "difference": ((fields - reference).abs().max() / reference.abs().max()).item(),
    }  # fmt: skip


def _seconds(run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start

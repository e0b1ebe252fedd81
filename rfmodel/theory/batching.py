"""What it gains to follow all seeds at once, against one after the other."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rfmodel.theory.initial import draw_weights, rotated
from rfmodel.theory.linear_network import follow, simulated
from rfmodel.theory.settings import LinearDynamicsSettings, Manner
from rfmodel.theory.tasks import draw_task


@dataclass(frozen=True)
class Gain:
    """Seeds at once against seeds one by one.

    Parameters
    ----------
    ratio : float
        Time of the loop over that of the batch, the median of the repeats.
    together, apart : int
        Evaluations of the right-hand side, or steps: each of all seeds, and of the seeds one by one, added up.
    """

    ratio: float
    together: int
    apart: int


def gain_of_batching(settings: LinearDynamicsSettings, manner: Manner = "flow", repeats: int = 3) -> Gain:
    """Time one integration of all seeds against a loop over the seeds, interleaved.

    Both make the same observations of the same tasks and weights. Apart, the flow of each seed takes the steps that
    suit it; together, all take the same.

    Parameters
    ----------
    settings : LinearDynamicsSettings
    manner : {"flow", "full_batch", "online"}
    repeats : int
        A ratio is taken within each, after one that warms both up.

    Returns
    -------
    Gain
    """
    task = draw_task(settings.task, settings.seeds)
    start = draw_weights(settings, task)
    times = np.linspace(0.0, settings.integration.duration, settings.integration.points)

    def run(which: slice) -> int:
        one, weights = task.of_seeds(which), start.of_seeds(which)
        if manner == "flow":
            return follow(settings, one, rotated(weights, one), times).evaluations
        return simulated(settings, one, weights, times, manner).evaluations

    def apart() -> int:
        return sum(run(slice(seed, seed + 1)) for seed in range(settings.seeds))

    ratios = []
    for _ in range(repeats + 1):
        together_for, together = _timed(lambda: run(slice(None)))
        apart_for, evaluations = _timed(apart)
        ratios.append(apart_for / together_for)
    return Gain(statistics.median(ratios[1:]), together, evaluations)


def _timed(work: Callable[[], int]) -> tuple[float, int]:
    begun = time.perf_counter()
    found = work()
    return time.perf_counter() - begun, found

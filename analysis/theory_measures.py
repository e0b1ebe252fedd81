"""What the theory bench is measured by beside its protocols: steps halved, ranks argued, rates swept, seeds batched."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from rfmodel.theory import equations, factorisation, projections
from rfmodel.theory.batching import Gain, gain_of_batching
from rfmodel.theory.initial import draw_weights, rotated
from rfmodel.theory.integration import State, integrate
from rfmodel.theory.linear_network import linear_dynamics
from rfmodel.theory.pursuit import critical_rate_of
from rfmodel.theory.settings import FactorisationSettings, LinearDynamicsSettings, SpectrumSettings
from rfmodel.theory.spectra import of_law
from rfmodel.theory.tasks import draw_task

Row = dict[str, str | int | float]
RULES = {
    "gradient descent": {"name": "gd"},
    "FA, r = 8": {"name": "fa", "rank": 8},
    "adaptive Q, r = 8": {"name": "adaptive_q", "rank": 8},
    "normative, r = 8": {"name": "normative", "rank": 8},
    "Oja by targets, r = 8": {"name": "oja", "rank": 8},
    "Oja by the residual, r = 8": {"name": "oja", "rank": 8, "drive": "residual"},
}
STEPS = (0.02, 0.01, 0.005)
SMALL = {"inputs": 24, "hidden": 16, "outputs": 16}
RATES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
TOP, REST = np.linspace(2.0, 1.6, 3), np.linspace(1.0, 0.5, 9)
SPECTRA = {f"3 + 9 modes, gap {gap:g}": ((*TOP, *(TOP[-1] * gap * REST)), 3) for gap in (1.0, 0.8, 0.6, 0.4, 0.2)}
SPECTRA |= {"16 modes, evenly spaced": (tuple(np.linspace(2.0, 0.5, 16)), 8)}


def halved(seeds: int) -> Iterator[Row]:
    """Yield, for each rule at the published sizes, how far simulation and flow are apart as the step is halved."""
    for name, feedback in RULES.items():
        row: Row = {"rule": name}
        for step in STEPS:
            settings = LinearDynamicsSettings.model_validate(
                {"seeds": seeds, "feedback": feedback, "integration": {"duration": 20.0, "step": step}}
            )
            row[f"step {step:g}"] = float(linear_dynamics(settings)["difference"].max())
        first, second, third = (float(row[f"step {step:g}"]) for step in STEPS)
        yield row | {"first ratio": first / second, "second ratio": second / third}


def argued(seeds: int) -> Iterator[Row]:
    """Yield the Johnson-Lindenstrauss argument by number: what a projection keeps, and what is learnt through it."""
    leading = of_law(SpectrumSettings(modes=8, largest=2.0, smallest=1.0))
    tasks = {
        "rank 8": (leading, 8),
        "8 modes and a tail": (np.concatenate([leading, np.full(56, 0.3)]), 8),
        "power law, all modes": (of_law(SpectrumSettings(law="power", modes=64, exponent=1.0)), None),
    }
    for name, (values, dimension) in tasks.items():
        d = projections.effective_modes(values) if dimension is None else dimension
        found = projections.argument(values, 64, projections.argued_ranks(d, 64), seeds, dimension=d)
        for row in projections.by_number(found):
            yield {
                "task": name,
                "leading modes": d,
                "rank": row["rank"],
                "rank / (d log m)": row["ratio"],
                "median distortion": row["distortion_median"],
                "largest distortion": row["distortion_largest"],
                "smallest leading overlap": row["overlap_smallest"],
            }


def pursued(seeds: int, duration: float = 60.0) -> Iterator[Row]:
    """Yield, by the spectrum and Oja's rate, how many seeds keep the top modes under eq. 16."""
    for name, (values, rank) in SPECTRA.items():
        spectrum = {"law": "given", "modes": len(values), "values": values}
        row: Row = {"spectrum": name, "r": rank, "critical rate": float(critical_rate_of(np.array(values), rank))}
        for rate in RATES:
            settings = LinearDynamicsSettings.model_validate(
                {
                    "seeds": seeds,
                    "task": SMALL | {"spectrum": spectrum},
                    "feedback": {"name": "oja", "drive": "residual", "rank": rank, "rate": rate},
                    "initial": {"feedback": "orthonormal"},
                }
            )
            row[f"rate {rate:g}"] = int((_smallest_of_top(settings, rank, duration) > 0.9).sum())
        yield row


def _smallest_of_top(settings: LinearDynamicsSettings, rank: int, duration: float) -> np.ndarray:
    """Return each seed's smallest overlap of the modes that the feedback has room for, at the end of the flow."""
    task = draw_task(settings.task, settings.seeds)
    flow, state = equations.flow_of(settings.feedback, task, rotated(draw_weights(settings, task), task))
    W1, W2, _ = integrate(flow, state, np.array([0.0, duration]), lambda *_: {"none": np.zeros(0)}, 1e-6).last
    return equations.overlap(task.S, W2, W1, rank).min(1)


def batched(repeats: int = 5) -> Iterator[Row]:
    """Yield what one integration of all seeds gains over one a seed: interleaved in one run, median of the ratios."""
    for name, sizes in (("n, k, m = 128, 64, 64", {}), ("n, k, m = 24, 16, 16", SMALL)):
        settings = LinearDynamicsSettings.model_validate(
            {
                "seeds": 10,
                "task": sizes,
                "feedback": {"name": "fa", "rank": 8},
                "integration": {"duration": 20.0, "step": 0.02},
            }
        )
        for manner in ("flow", "full_batch"):
            yield _gain(f"linear, {name}, 10 seeds, {manner}", gain_of_batching(settings, manner, repeats))
    settings = FactorisationSettings.model_validate({"rule": {"name": "fa"}, "integration": {"duration": 20.0}})
    yield _gain("factorisation, 32 x 32, r = 8, 20 seeds, flow", gain_of_factor_batching(settings, repeats))


def _gain(case: str, gain: Gain) -> Row:
    return {"case": case, "loop / batch": gain.ratio, "evaluations, batch": gain.together, "loop": gain.apart}


def gain_of_factor_batching(settings: FactorisationSettings, repeats: int) -> Gain:
    """Time one integration of all seeds of a factorisation against a loop over the seeds, interleaved."""
    every = factorisation.draw(settings)
    arrays = ("values", "Y", "C", "Z", "W")
    alone = [
        replace(every, **{name: getattr(every, name)[i : i + 1] for name in arrays}) for i in range(settings.seeds)
    ]
    times = np.linspace(0.0, settings.integration.duration, settings.integration.points)

    def evaluations(problem: factorisation.Problem) -> int:
        def look(_: float, state: State) -> dict[str, np.ndarray]:
            return {"error": factorisation.relative_error(problem, state)}

        return integrate(factorisation.moving(problem), problem.start, times, look).evaluations

    ratios = []
    for _ in range(repeats):
        start = time.perf_counter()
        together = evaluations(every)
        middle = time.perf_counter()
        apart = sum(evaluations(one) for one in alone)
        ratios.append((time.perf_counter() - middle) / (middle - start))
    return Gain(statistics.median(ratios), together, apart)

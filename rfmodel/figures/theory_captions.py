"""What each figure of the theory bench shows, of how many seeds, with the numbers that it comes to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from rfmodel.figures.captions import join
from rfmodel.figures.intervals import median_over_runs
from rfmodel.figures.linear_dynamics import summed
from rfmodel.figures.overlaps_over_time import shown_modes
from rfmodel.figures.published_dynamics import Shown
from rfmodel.figures.theory_agreement import BOUND, largest_differences
from rfmodel.figures.theory_selection import at_end, of_condition, seed_numbers, simulated, size

MEDIAN = (
    "Medians over seeds; the 95 % interval lies between two of the seeds' values (binomial order statistics), and fewer"
    " than six seeds have none."
)
STUDENT = "Means over seeds with Student's 95 % interval."
RANGE = "Lines are the flow's medians over seeds, bands the range over seeds."
RECOVERED = 0.9  # overlap from which a mode counts as recovered
LISTED = 4  # conditions named one by one


def seeds_of(study: xr.Dataset, chosen: Sequence[str]) -> str:
    """Say how many seeds each condition has."""
    counts = {c: len(seed_numbers(of_condition(study, c))) for c in chosen}
    if len(set(counts.values())) == 1:
        count = next(iter(counts.values()))
        return f"n: {_seeds(count)}{' of each condition' if len(chosen) > 1 else ''}."
    return "n: " + "; ".join(f"{c}: {_seeds(count)}" for c, count in counts.items()) + "."


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


def overlaps(study: xr.Dataset, chosen: Sequence[str], seed: int | None) -> str:
    """Return the caption of panels of mode overlaps."""
    runs = [of_condition(study, c) for c in chosen]
    many = max(run.sizes["mode"] for run in runs)
    some = len(shown_modes(many)) < many
    counted = f"{len(shown_modes(many))} of {many} modes are drawn, evenly from first to last." if some else ""
    beside = all(simulated(run) for run in runs)
    solid = "Solid: the simulated learning rule; dashed: its equations, integrated." if beside else (
        "Solid: the simulated learning rule where there is one; else the equations alone are drawn, in colour."
    )  # fmt: skip
    which = "Medians over seeds." if seed is None else f"Seed {seed}: both start from the same weights."
    share = "Overlap uᵢᵀ W₂ W₁ vᵢ / sᵢ of each mode i; 1 is recovered."
    return join(share, solid, which, counted, _apart(runs), seeds_of(study, chosen))


def _apart(runs: Sequence[xr.Dataset]) -> str:
    found = [values.max() for run in runs for values in largest_differences(run).values()]
    if not found:
        return ""
    return f"Largest difference of a simulation from its equations, over conditions and seeds: {max(found):.2g}."


def published(study: xr.Dataset, panels: Sequence[Shown], seed: int | None) -> str:
    """Return the caption of the published plate."""
    shown = "; ".join(f"{p.figure}: {p.condition}" for p in panels)
    chosen = list(dict.fromkeys(p.condition for p in panels))
    bold = " Bold: the mean over all modes." if any(p.mean for p in panels) else ""
    return join(f"As Fig. 2 b–g and 4a of Hanut & Kadmon. {shown}.{bold}", overlaps(study, chosen, seed))


def by_mode(study: xr.Dataset, chosen: Sequence[str]) -> str:
    """Return the caption of `overlap_by_mode`."""
    said = "; ".join(_spent(study, c) for c in chosen[:LISTED])
    return join(
        "Overlap of each mode at the end of the flow; crosses are closed forms of the stationary point.",
        MEDIAN,
        f"Over all seeds: {said}.",
        seeds_of(study, chosen),
    )


def _spent(study: xr.Dataset, condition: str) -> str:
    run = of_condition(study, condition)
    found = at_end(run.transpose("manner", "seed", "point", "mode", ...), "overlap")
    rank = size(study, condition)
    top = found.shape[1] if np.isnan(rank) else min(int(rank), found.shape[1])
    rest = f", the rest {_span(found[:, top:])}" if top < found.shape[1] else ""
    total = np.median(found.sum(axis=1))
    return f"{condition}: leading {top} modes {_span(found[:, :top])}{rest}, sum over modes {total:.2f} (median)"


def _span(values: np.ndarray) -> str:
    return f"{values.min():.2f} to {values.max():.2f}"


def by_rank(study: xr.Dataset, chosen: Sequence[str]) -> str:
    """Return the caption of `overlap_by_rank`."""
    over = [c for c in chosen if summed(of_condition(study, c)).mean() > _allowed(study, c) + 0.01]
    more = f" Their sum exceeds the rank by more than .01 of the modes in {_named(over)}." if over else ""
    return join(
        f"At the end of the flow: the overlaps' sum over modes, and modes with an overlap above {RECOVERED}, both as"
        f" shares of the modes. Dots: as many as the feedback has ranks.{more}",
        STUDENT,
        seeds_of(study, chosen),
    )


def _allowed(study: xr.Dataset, condition: str) -> float:
    rank = size(study, condition)
    return 1.0 if np.isnan(rank) else min(1.0, rank / of_condition(study, condition).sizes["mode"])


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return "; ".join(names[:LISTED]) + more


def times(study: xr.Dataset, chosen: Sequence[str]) -> str:
    """Return the caption of `recovery_time`."""
    parts = []
    for condition in chosen:
        held = np.isfinite(of_condition(study, condition)["recovery_time"].transpose("seed", "mode").values)
        parts.append(f"{condition}: {int(held.all(axis=0).sum())} of {held.shape[1]}")
    return join(
        f"Time at which the flow's overlap reaches {RECOVERED}. Hollow where some seeds never recover the mode, and"
        " nothing where none does; crosses are the closed form where there is one.",
        MEDIAN,
        f"Modes recovered in every seed: {'; '.join(parts)}.",
        seeds_of(study, chosen),
    )


def residual(study: xr.Dataset, chosen: Sequence[str]) -> str:
    """Return the caption of `residual_over_time`."""
    said = "; ".join(
        f"{c}: {_median(study, c, 'residual_inside'):.2g} inside, {_median(study, c, 'residual_outside'):.2g} outside"
        for c in chosen[:LISTED]
    )
    return join(
        "Share of the task's squared norm that is not learnt, in the directions that the feedback delivers and in those"
        " that it does not; stationarity constrains the former alone.",
        RANGE,
        f"At the end (medians): {said}.",
        seeds_of(study, chosen),
    )


def _median(study: xr.Dataset, condition: str, name: str) -> float:
    found = at_end(of_condition(study, condition), name)
    return float(np.median(found[np.isfinite(found)])) if np.isfinite(found).any() else float("nan")


def capture(study: xr.Dataset, chosen: Sequence[str]) -> str:
    """Return the caption of `capture_over_time`."""
    said = "; ".join(f"{c}: {_median(study, c, 'capture'):.2f}" for c in chosen[:LISTED])
    return join(
        "‖P̂ U_r‖² / r: how much of the r leading left singular directions lies in the rows of P; 1 is all.",
        RANGE,
        f"At the end (medians): {said}.",
        seeds_of(study, chosen),
    )


def agreement(study: xr.Dataset, chosen: Sequence[str]) -> str:
    """Return the caption of `agreement`."""
    found = {
        (c, m): float(values.max()) for c in chosen for m, values in largest_differences(of_condition(study, c)).items()
    }
    if not found:
        return join("No condition was simulated.", seeds_of(study, chosen))
    (condition, manner), worst = max(found.items(), key=lambda item: item[1])
    above = [f"{c} ({m.replace('_', ' ')})" for (c, m), value in found.items() if value >= BOUND]
    return join(
        "Largest difference of simulation and flow over times (and modes), a mark a seed.",
        f"The largest is {worst:.2g}: {condition}, {manner.replace('_', ' ')}.",
        f"At or above {BOUND:g}: {_named(above)}." if above else f"All are below {BOUND:g}.",
        seeds_of(study, chosen),
    )


def by_step(study: xr.Dataset, chosen: Sequence[str]) -> str:
    """Return the caption of `difference_by_step`."""
    said = "Largest difference of full-batch simulation and flow over seeds, by step; dots: proportional to it."
    return join(said, seeds_of(study, chosen))


def errors(study: xr.Dataset, chosen: Sequence[str]) -> str:
    """Return the caption of `error_over_time`."""
    below = "Dots: the Eckart–Young optimum of the same colour's condition." if "optimum" in study else ""
    said = "; ".join(f"{c}: {_median_flow(study, c):.2g}" for c in chosen)
    return join(RANGE, below, f"At the end (medians): {said}.", seeds_of(study, chosen))


def _median_flow(study: xr.Dataset, condition: str) -> float:
    return float(np.median(at_end(of_condition(study, condition), "error")))


def by_width(study: xr.Dataset, chosen: Sequence[str]) -> str:
    """Return the caption of `error_by_width`."""
    gaps = [
        float(np.nanmax(abs(at_end(run, "error") - run["stationary"].values)))
        for run in (of_condition(study, c) for c in chosen)
        if np.isfinite(run["stationary"].values).any()
    ]
    said = f"Error and closed form differ by {max(gaps):.2g} at most, over widths and seeds." if gaps else ""
    return join(
        "‖Y − Z W‖ / ‖Y‖ at the end of the flow; crosses: its closed form (medians); dots: the least possible with r"
        " columns.",
        MEDIAN,
        said,
        seeds_of(study, chosen),
    )


def alignment(study: xr.Dataset, chosen: Sequence[str]) -> str:
    """Return the caption of `alignment_over_time`."""
    said = "; ".join(f"{c}: {_median(study, c, 'alignment'):.0f}°" for c in chosen[:LISTED])
    return join(
        "Angle between the fixed feedback C and Zᵀ, which it stands for; dots: a right angle, nothing in common.",
        RANGE,
        f"At the end (medians): {said}.",
        seeds_of(study, chosen),
    )


def angles(study: xr.Dataset, chosen: Sequence[str]) -> str:
    """Return the caption of panels of `principal_angles`."""
    said = "; ".join(f"{c}: {_angle(study, c)}" for c in chosen[:LISTED])
    return join(
        "Principal angles between the row spaces of W of random feedback and of gradient descent from the same weights"
        " on the same matrix, at equal error. Grey: the range over seeds and the median of two random subspaces.",
        MEDIAN,
        f"Medians: {said}.",
        seeds_of(study, chosen),
    )


def _angle(study: xr.Dataset, condition: str) -> str:
    run = of_condition(study, condition)
    mine, chance = (
        np.nanmedian(run[n].transpose("seed", "angle").values) for n in ("principal_angle", "principal_angle_random")
    )
    error = np.nanmedian(run["equal_error"].values) if "equal_error" in run else np.nan
    at = f" at an error of {error:.2g}" if np.isfinite(error) else ""
    return f"{mine:.0f}°{at}, {chance:.0f}° of random ones"


def separation(study: xr.Dataset, chosen: Sequence[str]) -> str:
    """Return the caption of `separation`."""
    found = {c: _ratio(study, c) for c in chosen}
    worst = max(found, key=lambda c: found[c][0])
    reached = [c for c, (median, low, _) in found.items() if (low if np.isfinite(low) else median) >= 2]
    return join(
        "Error at the end of the flow over the Eckart–Young optimum; lines at 1 and 2. The ratio's mean need not be"
        " finite, so that medians are drawn.",
        MEDIAN,
        f"Largest median: {_written(found[worst])}, {worst}.",
        f"At least 2 with its interval: {_named(reached)}." if reached else "None is at least 2 with its interval.",
        seeds_of(study, chosen),
    )


def _ratio(study: xr.Dataset, condition: str) -> tuple[float, float, float]:
    values = of_condition(study, condition)["ratio"].values
    return median_over_runs(values[np.isfinite(values)])


def _written(found: tuple[float, float, float]) -> str:
    median, low, high = found
    return f"{median:.2f} ({low:.2f} to {high:.2f})" if np.isfinite(low) else f"{median:.2f}"


def worst(study: xr.Dataset, condition: str, families: Sequence[str]) -> str:
    """Return the caption of `worst_case`."""
    run = of_condition(study, condition)
    beside = "; ".join(f"{c}: {_written(_ratio(study, c))}" for c in families)
    return join(
        f"Left: the spectrum found (ink) and those beside it, over their largest value. Right: the ratio of each of"
        f" {run.sizes['candidate']} spectra tried and the largest so far; lines: medians of the others.",
        f"Found: {run['search_ratio'].values.max():.2f}; over its own seeds: {_written(_ratio(study, condition))}.",
        f"Beside it: {beside}." if beside else "",
        seeds_of(study, [condition, *families]),
    )

"""The figures of a theory bench's report with their captions, in reading order, made one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import xarray as xr
from matplotlib.axes import Axes

from rfmodel.errors import InputError
from rfmodel.figures import theory_captions as captions
from rfmodel.figures.learning import learning_height
from rfmodel.figures.linear_dynamics import overlap_by_mode, overlap_by_rank, recovery_time
from rfmodel.figures.matrix_factorisation import (
    angle_panels,
    angle_panels_height,
    error_by_width,
    families_beside,
    separation,
    worst_case,
)
from rfmodel.figures.overlaps_over_time import overlap_panels, overlap_panels_height
from rfmodel.figures.plate import OVERLAID, ROWS, Plate, pages
from rfmodel.figures.published_dynamics import NARROW, learning_dynamics, learning_dynamics_height, published_panels
from rfmodel.figures.rows import row_height
from rfmodel.figures.selection import conditions
from rfmodel.figures.theme import new_axes, new_figure
from rfmodel.figures.theory_agreement import difference_by_step, simulation_agreement
from rfmodel.figures.theory_lines import duration, matrices, rule_name, theory_lines
from rfmodel.figures.theory_over_time import alignment_over_time, capture_over_time, error_over_time, residual_over_time
from rfmodel.figures.theory_selection import measured, of_condition, seed_numbers, size, tidied_theory

BESIDE = 5  # conditions whose overlaps stand mode by mode beside each other
CLEAR = 0.45  # inches that labels which gather at one end take off the height of the axes
MODELS = {"linear_dynamics": "overlap", "matrix_factorisation": "optimum"}


def theory_model(study: xr.Dataset) -> str:
    """Return which model a study holds, by its variables.

    Raises
    ------
    InputError
        If it is neither.
    """
    found = [model for model, variable in MODELS.items() if variable in study]
    if len(found) != 1:
        what = " and ".join(found) or "no variable of either"
        raise InputError(f"a theory report is of {' or of '.join(MODELS)}: found {what}; a study of one would do")
    return found[0]


def theory_plates(study: xr.Dataset) -> Iterator[Plate]:
    """Yield every figure of a theory bench's report, in reading order.

    Parameters
    ----------
    study : Dataset
        As `rfmodel.theory_study.open_theory` returns it: a run a condition, of one model.

    Yields
    ------
    Plate
        Drawn, with its caption.

    Raises
    ------
    InputError
        If the study has no run or is of neither model.
    """
    study = tidied_theory(study)
    if theory_model(study) == "linear_dynamics":
        yield from _dynamics(study)
        yield from _recovered(study)
        yield from _stationarity(study)
    else:
        yield from _errors(study)
        yield from _separation(study)
        yield from _representation(study)
    yield from _agreement(study)


def _dynamics(study: xr.Dataset) -> Iterator[Plate]:
    if panels := published_panels(study):
        seed = seed_numbers(of_condition(study, panels[0].condition))[0]
        figure = new_figure(learning_dynamics_height(panels))
        learning_dynamics(study, figure, panels, seed)
        caption = captions.published(study, panels, seed)
        yield Plate("dynamics", "Dynamics", "Learning dynamics under each rule", caption, figure)
    for suffix, chosen in pages(measured(study, "overlap"), ROWS):
        figure = new_figure(overlap_panels_height(chosen))
        overlap_panels(study, figure, chosen)
        caption = captions.overlaps(study, chosen, None)
        yield Plate(f"overlaps{suffix}", "Dynamics", "Mode overlaps of every condition", caption, figure)


def _recovered(study: xr.Dataset) -> Iterator[Plate]:
    chosen = beside(study)
    figure, axes = new_axes(learning_height(chosen) + 0.9)
    overlap_by_mode(study, axes, chosen, learning_height(chosen))
    title = "Which modes a narrow feedback recovers"
    yield Plate("by-mode", "What is recovered", title, captions.by_mode(study, chosen), figure)
    ranked = theory_lines(study, least=2)
    for suffix, labels in pages([line.label for line in ranked], OVERLAID):
        some = [line for line in ranked if line.label in labels]
        tall = max(2.2, learning_height([*labels, "gd"]))
        figure = new_figure(tall + 0.7)
        overlap_by_rank(study, figure, some, tall)
        caption = captions.by_rank(study, [c for line in some for c in line.conditions])
        yield Plate(f"by-rank{suffix}", "What is recovered", "Overlap and modes against the rank", caption, figure)
    yield from _lines(study, measured(study, "recovery_time"), "recovery", "What is recovered",
                      "Time to recovery, mode by mode", recovery_time, captions.times)  # fmt: skip


def beside(study: xr.Dataset) -> list[str]:
    """Return the conditions of the low rank that most rules share, at most five; the first conditions without one."""
    low = [c for c in measured(study, "overlap") if size(study, c) < of_condition(study, c).sizes["mode"]]
    ranks = {size(study, c) for c in low}
    of = {rank: {rule_name(study, c): c for c in reversed(low) if size(study, c) == rank} for rank in ranks}
    best = max(sorted(of), key=lambda rank: (len(of[rank]), -abs(rank - NARROW)), default=None)
    chosen = [c for c in low if c in of[best].values()] if best is not None else measured(study, "overlap")
    return chosen[:BESIDE]


def _stationarity(study: xr.Dataset) -> Iterator[Plate]:
    for suffix, chosen in _equally_long(study, measured(study, "residual_inside", "residual_outside")):
        tall = learning_height(chosen)
        figure = new_figure(tall + 0.7)
        residual_over_time(study, figure, chosen, tall - CLEAR)
        title = "What stationarity leaves: the residual inside and outside the feedback's row space"
        yield Plate(f"residual{suffix}", "Stationarity", title, captions.residual(study, chosen), figure)
    yield from _lines(study, measured(study, "capture"), "capture", "Stationarity",
                      "Leading directions of the task within P", capture_over_time, captions.capture)  # fmt: skip
    yield from _lines(study, conditions(study), "error", "Stationarity", "Error over time", error_over_time,
                      captions.errors)  # fmt: skip


def _errors(study: xr.Dataset) -> Iterator[Plate]:
    swept = {label: theory_lines(study, "width", members) for label, members in matrices(study).items()}
    swept = {label: lines for label, lines in swept.items() if any(len(line.places) > 1 for line in lines)}
    for number, (label, lines) in enumerate(swept.items()):
        tall = max(2.2, learning_height([line.label for line in lines]))
        figure, axes = new_axes(tall + 0.7)
        error_by_width(study, axes, lines[:OVERLAID], tall)
        caption = captions.by_width(study, [c for line in lines[:OVERLAID] for c in line.conditions])
        yield Plate(f"by-width-{number + 1}", "Error", f"Error against the width: {label}", caption, figure)
    yield from _lines(study, conditions(study), "error", "Error", "Error over time", error_over_time, captions.errors)


def _separation(study: xr.Dataset) -> Iterator[Plate]:
    for suffix, chosen in pages(measured(study, "ratio"), ROWS):
        figure, axes = new_axes(len(chosen) * row_height(chosen) + 0.8)
        separation(study, axes, chosen)
        title = "Separation: error over the best that is possible"
        yield Plate(f"separation{suffix}", "Separation", title, captions.separation(study, chosen), figure)
    for number, condition in enumerate(measured(study, "search_ratio")):
        families = families_beside(study, condition)
        tall = max(2.2, learning_height([condition, *families]))
        figure = new_figure(tall + 0.6)
        worst_case(study, figure, condition, tall)
        caption = captions.worst(study, condition, families)
        yield Plate(f"worst-{number + 1}", "Separation", f"Worst case: {condition}", caption, figure)


def _representation(study: xr.Dataset) -> Iterator[Plate]:
    yield from _lines(study, measured(study, "alignment"), "alignment", "Representation",
                      "Alignment of the random feedback", alignment_over_time, captions.alignment)  # fmt: skip
    for suffix, chosen in pages(measured(study, "principal_angle"), ROWS):
        figure = new_figure(angle_panels_height(chosen))
        angle_panels(study, figure, chosen)
        title = "Representations at equal error: principal angles"
        yield Plate(f"angles{suffix}", "Representation", title, captions.angles(study, chosen), figure)


def _equally_long(study: xr.Dataset, known: list[str]) -> list[tuple[str, list[str]]]:
    """Return file-name suffixes and the conditions of each page."""
    held: dict[float, list[str]] = {}
    for condition in known:
        held.setdefault(duration(study, condition), []).append(condition)
    found = [chosen for same in held.values() for _, chosen in pages(same, OVERLAID)]
    return [("" if len(found) == 1 else f"-{i + 1}", chosen) for i, chosen in enumerate(found)]


def _agreement(study: xr.Dataset) -> Iterator[Plate]:
    simulated = [c for c in conditions(study) if of_condition(study, c).sizes["manner"] > 1]
    for suffix, chosen in pages(simulated, ROWS):
        figure, axes = new_axes(len(chosen) * row_height(chosen) + 0.8)
        simulation_agreement(study, axes, chosen)
        title = "Simulation against equations"
        yield Plate(f"agreement{suffix}", "Agreement", title, captions.agreement(study, chosen), figure)
    stepped = theory_lines(study, "integration.step", simulated, least=2)
    for suffix, labels in pages([line.label for line in stepped], OVERLAID):
        some, tall = [line for line in stepped if line.label in labels], max(2.0, learning_height(labels))
        figure, axes = new_axes(tall + 0.6)
        difference_by_step(study, axes, some, tall)
        caption = captions.by_step(study, [c for line in some for c in line.conditions])
        yield Plate(f"by-step{suffix}", "Agreement", "Simulation against equations, by step", caption, figure)


Draw = Callable[[xr.Dataset, Axes, Sequence[str], float], object]
Say = Callable[[xr.Dataset, Sequence[str]], str]


def _lines(
    study: xr.Dataset, known: list[str], name: str, section: str, title: str, draw: Draw, say: Say
) -> Iterator[Plate]:
    """Yield a figure of lines, labelled beside, for as many conditions at a time as colours tell apart.

    Over time, conditions stand together that are followed equally long.
    """
    for suffix, chosen in pages(known, OVERLAID) if name == "recovery" else _equally_long(study, known):
        tall = learning_height(chosen)
        figure, axes = new_axes(tall + 0.6)
        draw(study, axes, chosen, tall - CLEAR)
        yield Plate(f"{name}{suffix}", section, title, say(study, chosen), figure)

"""The figures of a report with their captions, made one at a time so that few are held in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import xarray as xr

from rfmodel.figures import captions
from rfmodel.figures.accuracy import accuracy_and_dead, test_accuracy
from rfmodel.figures.against import accuracy_by_rank, flops_to_fraction
from rfmodel.figures.classes import classes
from rfmodel.figures.comparison import Comparison
from rfmodel.figures.costs import cost_by_part, costed, flops_to
from rfmodel.figures.distributions import p0_and_shares
from rfmodel.figures.feedback import FEEDBACK_ANGLES, FEEDBACK_ERRORS, diagnosed, feedback_by_step
from rfmodel.figures.galleries import gallery_figure
from rfmodel.figures.groups import Line, level_conditions, lines, narrow_controls
from rfmodel.figures.learning import drawn_edges, feedback_alignment, learning_curves, learning_height
from rfmodel.figures.plate import OVERLAID, ROWS, Plate, pages
from rfmodel.figures.rows import row_height
from rfmodel.figures.rule_plates import rules_beside
from rfmodel.figures.science_plates import emergence, of_layer, representation
from rfmodel.figures.selection import conditions, fielded, layers, readout, seeds
from rfmodel.figures.theme import line_count, new_axes, new_figure
from rfmodel.figures.tuning import orientation_tuning, tuning_height

EDGES = 4


def plates(study: xr.Dataset, galleries: int = 3, compared: Sequence[Comparison] = ()) -> Iterator[Plate]:
    """Yield every figure of a report, in reading order.

    Parameters
    ----------
    study : Dataset
        A study with at least one finished run; with or without receptive fields.
    galleries : int
        Seeds drawn in full for the retina's output; the other layers show the first.
    compared : sequence of Comparison, optional
        Published values, marked where accuracies are.

    Yields
    ------
    Plate
        Drawn, with its caption.
    """
    lead = readout(study) if layers(study) else None
    yield from _accuracies(study, lead, compared)
    yield from _by_rank(study, compared)
    for layer in sorted(layers(study), key=lambda layer: layer != lead):
        yield from _layer(study, layer, galleries if layer == lead else 1)
        yield from of_layer(study, layer, leads=layer == lead)
        yield from emergence(study, layer, leads=layer == lead)
    yield from representation(study)
    yield from _learning(study)
    yield from rules_beside(study)
    yield from _feedback_by_step(study)
    yield from _costs(study)


def _accuracies(study: xr.Dataset, layer: str | None, compared: Sequence[Comparison]) -> Iterator[Plate]:
    fields = fielded(study)
    for kind, known in (("-fields", fields), ("", [c for c in conditions(study) if c not in fields])):
        for suffix, chosen in pages(known, ROWS):
            tall = len(chosen) * row_height(chosen) + 0.95
            shown = [row for row in compared if row.condition in chosen]
            if kind:
                figure = new_figure(tall)
                accuracy_and_dead(study, figure, layer, chosen, shown)
            else:
                figure, axes = new_axes(tall)
                test_accuracy(study, axes, chosen, shown)
            caption = captions.accuracy(study, chosen, layer if kind else None, shown)
            title = "Test accuracy and dead units" if kind else "Test accuracy"
            mixed = kind if len(known) < len(conditions(study)) else ""
            yield Plate(f"accuracy{mixed}{suffix}", "Accuracy", title, caption, figure)


def _by_rank(study: xr.Dataset, compared: Sequence[Comparison]) -> Iterator[Plate]:
    """Yield accuracy, and operations to 90 % of it, along each size of which a line has two values or more."""
    for along in ("rank", "width"):
        swept = [line for line in lines(study, along) if len(set(line.places)) > 1 and not _told(study, line, along)]
        kinds = {kind: [line for line in swept if line.fraction == kind] for kind in (False, True)}
        for kind, of_kind in kinds.items():
            for page, start in enumerate(range(0, len(of_kind), OVERLAID)):
                chosen = of_kind[start : start + OVERLAID]
                name = f"{along}{'-fraction' if kind else ''}" + (f"-{page + 1}" if len(of_kind) > OVERLAID else "")
                yield from _against(study, chosen, along, name, compared)


def _told(study: xr.Dataset, line: Line, along: str) -> bool:
    """Whether accuracy against rank shows a line already: backpropagation and its narrow control."""
    ranked = [condition for other in lines(study) for condition in other.conditions]
    return along != "rank" and set(line.conditions) <= {
        *level_conditions(study, ranked),
        *narrow_controls(study, ranked),
    }


def _against(
    study: xr.Dataset, chosen: list[Line], along: str, name: str, compared: Sequence[Comparison]
) -> Iterator[Plate]:
    members = [condition for line in chosen for condition in line.conditions]
    names = [line.label for line in chosen] + level_conditions(study, members)
    tall = max(2.6, 0.16 * len(names) * line_count(names))
    figure, axes = new_axes(tall + 0.7)
    accuracy_by_rank(study, axes, chosen, compared, along, tall)
    caption = captions.by_rank(study, chosen, along, compared)
    yield Plate(f"accuracy-by-{name}", "Accuracy", f"Test accuracy against {along}", caption, figure)
    if any(flops_to(study, condition).size for condition in members):
        figure, axes = new_axes(tall + 0.7)
        flops_to_fraction(study, axes, chosen, along, tall)
        title = f"Operations to 90 % of the final accuracy, against {along}"
        yield Plate(f"flops-by-{name}", "Costs", title, captions.to_fraction(study, chosen), figure)


def _costs(study: xr.Dataset) -> Iterator[Plate]:
    for suffix, chosen in pages(costed(study), ROWS):
        figure, axes = new_axes(len(chosen) * row_height(chosen) + 0.95)
        cost_by_part(study, axes, chosen)
        yield Plate(f"costs{suffix}", "Costs", "Operations of a step, by part", captions.costs(chosen), figure)


def _layer(study: xr.Dataset, layer: str, galleries: int) -> Iterator[Plate]:
    section = f"Layer {layer}"
    for seed in seeds(study)[:galleries]:
        for suffix, chosen in pages(fielded(study), ROWS):
            figure = gallery_figure(study, chosen, layer, seed)
            caption = captions.gallery(study, layer, seed)
            name = f"fields-{layer}-seed{seed}{suffix}"
            yield Plate(name, section, f"Receptive fields, seed {seed}", caption, figure)
    for suffix, chosen in pages(fielded(study), ROWS):
        tall, row = len(chosen) * row_height(chosen), row_height(chosen)
        figure = new_figure(tall + 1.05)
        classes(study, figure, layer, chosen)
        caption = captions.classes(study, chosen, layer)
        yield Plate(f"classes-{layer}{suffix}", section, "Classes of receptive fields", caption, figure)
        figure = new_figure(tall + 1.1)
        p0_and_shares(study, figure, layer, chosen)
        caption = captions.p0(study, chosen, layer)
        yield Plate(f"p0-{layer}{suffix}", section, "Isotropy, and what the rest of the power is", caption, figure)
        heights = tuning_height(chosen, row)
        figure = new_figure(sum(heights))
        orientation_tuning(study, figure, layer, chosen, heights)
        caption = captions.tuning(study, chosen, layer)
        yield Plate(f"tuning-{layer}{suffix}", section, "Orientation tuning", caption, figure)


def _learning(study: xr.Dataset) -> Iterator[Plate]:
    for suffix, chosen in pages(conditions(study), OVERLAID):
        figure = new_figure(2 * learning_height(chosen) + 0.35)
        learning_curves(study, figure, chosen)
        caption = captions.learning(study, chosen)
        yield Plate(f"learning{suffix}", "Learning", "Learning curves", caption, figure)
    for suffix, chosen in pages(_fed(study, drawn_edges(study)), OVERLAID):
        held = drawn_edges(_of(study, chosen))
        edges = _spread(held)
        for part, start in enumerate(range(0, len(edges), EDGES)):
            some = edges[start : start + EDGES]
            figure = new_figure(len(some) * learning_height(chosen) + 0.2)
            feedback_alignment(study, figure, some, chosen)
            name = f"feedback{suffix}" + (f"-{chr(97 + part)}" if len(edges) > EDGES else "")
            yield Plate(
                name,
                "Learning",
                "Alignment and norm of the feedback",
                captions.feedback(study, chosen) + captions.edges(edges, held),
                figure,
            )


def _feedback_by_step(study: xr.Dataset) -> Iterator[Plate]:
    fed, _ = diagnosed(study)
    kinds = {
        "angles": (FEEDBACK_ANGLES, "Alignment of the feedback, by step", captions.feedback_angles),
        "error": (FEEDBACK_ERRORS, "What the feedback passes of the error, by step", captions.feedback_error),
    }
    for suffix, chosen in pages(fed, OVERLAID):
        held = diagnosed(_of(study, chosen))[1]
        edges = _spread(held)
        for part, some in pages(edges, EDGES):
            for kind, (quantities, title, caption) in kinds.items():
                figure = new_figure(len(some) * learning_height(chosen) + 0.3)
                feedback_by_step(study, figure, quantities, some, chosen)
                said = caption(study, chosen) + captions.edges(edges, held)
                yield Plate(f"feedback-{kind}{suffix}{part}", "Learning", title, said, figure)


def _spread(edges: list[str]) -> list[str]:
    """Return as many edges as two figures hold, evenly from the first to the last."""
    if len(edges) <= 2 * EDGES:
        return edges
    return [edges[at] for at in np.linspace(0, len(edges) - 1, 2 * EDGES).round().astype(int)]


def _of(study: xr.Dataset, chosen: list[str]) -> xr.Dataset:
    """Return the runs of some conditions: conditions that feed back elsewhere have edges of their own."""
    return study.isel(run=np.isin(study["condition"].values.astype(str), chosen))


def _fed(study: xr.Dataset, edges: list[str]) -> list[str]:
    """Return the conditions with a value on any edge."""
    if not edges:
        return []
    held = np.isfinite(study["angle"].transpose("run", "epoch", "edge").values).any(axis=(1, 2))
    if "feedback_norm" in study:
        held |= np.isfinite(study["feedback_norm"].transpose("run", "epoch", "edge").values).any(axis=(1, 2))
    having = set(study["condition"].values.astype(str)[held].tolist())
    return [condition for condition in conditions(study) if condition in having]

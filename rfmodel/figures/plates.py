"""The figures of a report with their captions, made one at a time so that few are held in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from rfmodel.figures import captions
from rfmodel.figures.accuracy import accuracy_and_dead
from rfmodel.figures.classes import classes
from rfmodel.figures.distributions import p0_and_shares
from rfmodel.figures.feedback import FEEDBACK_ANGLES, FEEDBACK_ERRORS, diagnosed, feedback_by_step
from rfmodel.figures.galleries import gallery_figure
from rfmodel.figures.learning import drawn_edges, feedback_alignment, learning_curves, learning_height
from rfmodel.figures.rows import row_height
from rfmodel.figures.selection import conditions, layers, readout, seeds
from rfmodel.figures.theme import CONDITION_PALETTE, new_figure
from rfmodel.figures.tuning import orientation_tuning, tuning_height

ROWS = 12  # conditions in a figure with one row a condition
EDGES = 4
OVERLAID = len(CONDITION_PALETTE)


@dataclass(frozen=True)
class Plate:
    """One figure of a report: its file name without suffix, section, title and caption."""

    name: str
    section: str
    title: str
    caption: str
    figure: Figure


def plates(study: xr.Dataset, galleries: int = 3) -> Iterator[Plate]:
    """Yield every figure of a report, in reading order.

    Parameters
    ----------
    study : Dataset
        A study with at least one finished run.
    galleries : int
        Seeds drawn in full for the retina's output; the other layers show the first.

    Yields
    ------
    Plate
        Drawn, with its caption.
    """
    lead = readout(study)
    yield from _accuracies(study, lead)
    yield from _layer(study, lead, galleries)
    for layer in layers(study):
        if layer != lead:
            yield from _layer(study, layer, 1)
    yield from _learning(study)
    yield from _feedback_by_step(study)


def _pages(labels: list[str], most: int) -> list[tuple[str, list[str]]]:
    """Return file-name suffixes and the conditions of each page."""
    chunks = [labels[i : i + most] for i in range(0, len(labels), most)]
    return [("" if len(chunks) == 1 else f"-{i + 1}", chunk) for i, chunk in enumerate(chunks)]


def _accuracies(study: xr.Dataset, layer: str) -> Iterator[Plate]:
    for suffix, chosen in _pages(conditions(study), ROWS):
        figure = new_figure(len(chosen) * row_height(chosen) + 0.95)
        accuracy_and_dead(study, figure, layer, chosen)
        caption = captions.accuracy(study, chosen, layer)
        yield Plate(f"accuracy{suffix}", "Accuracy", "Test accuracy and dead units", caption, figure)


def _layer(study: xr.Dataset, layer: str, galleries: int) -> Iterator[Plate]:
    section = f"Layer {layer}"
    for seed in seeds(study)[:galleries]:
        for suffix, chosen in _pages(conditions(study), ROWS):
            figure = gallery_figure(study, chosen, layer, seed)
            caption = captions.gallery(study, layer, seed)
            name = f"fields-{layer}-seed{seed}{suffix}"
            yield Plate(name, section, f"Receptive fields, seed {seed}", caption, figure)
    for suffix, chosen in _pages(conditions(study), ROWS):
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
    for suffix, chosen in _pages(conditions(study), OVERLAID):
        figure = new_figure(2 * learning_height(chosen) + 0.35)
        learning_curves(study, figure, chosen)
        caption = captions.learning(study, chosen)
        yield Plate(f"learning{suffix}", "Learning", "Learning curves", caption, figure)
    for suffix, chosen in _pages(_fed(study, drawn_edges(study)), OVERLAID):
        edges = drawn_edges(_of(study, chosen))
        for part, start in enumerate(range(0, len(edges), EDGES)):
            some = edges[start : start + EDGES]
            figure = new_figure(len(some) * learning_height(chosen) + 0.2)
            feedback_alignment(study, figure, some, chosen)
            name = f"feedback{suffix}" + (f"-{chr(97 + part)}" if len(edges) > EDGES else "")
            yield Plate(
                name,
                "Learning",
                "Alignment and norm of the feedback",
                captions.feedback(study, chosen),
                figure,
            )


def _feedback_by_step(study: xr.Dataset) -> Iterator[Plate]:
    fed, _ = diagnosed(study)
    kinds = {
        "angles": (FEEDBACK_ANGLES, "Alignment of the feedback, by step", captions.feedback_angles),
        "error": (FEEDBACK_ERRORS, "What the feedback passes of the error, by step", captions.feedback_error),
    }
    for suffix, chosen in _pages(fed, OVERLAID):
        for part, some in _pages(diagnosed(_of(study, chosen))[1], EDGES):
            for kind, (quantities, title, caption) in kinds.items():
                figure = new_figure(len(some) * learning_height(chosen) + 0.3)
                feedback_by_step(study, figure, quantities, some, chosen)
                yield Plate(f"feedback-{kind}{suffix}{part}", "Learning", title, caption(study, chosen), figure)


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

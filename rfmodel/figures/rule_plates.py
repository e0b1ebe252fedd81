"""Plates that set rules beside each other where a study holds what they need: many rules, factored layers, angles."""

from __future__ import annotations

from collections.abc import Iterator

import xarray as xr

from rfmodel.figures import rule_captions as captions
from rfmodel.figures.alignment import aligned, alignment_by_epoch, alignment_heights, by_network
from rfmodel.figures.errors_by_epoch import TOGETHER, error_curves, errors_height
from rfmodel.figures.factors_by_epoch import ACROSS, FACTORS, factored, factors_by_epoch, factors_height
from rfmodel.figures.plate import OVERLAID, Plate, pages
from rfmodel.figures.selection import conditions
from rfmodel.figures.theme import new_axes, new_figure

SECTION = "Learning"


def rules_beside(study: xr.Dataset) -> Iterator[Plate]:
    """Yield error by epoch where one learning figure cannot hold all conditions; of factored layers, angles and ranks.

    Parameters
    ----------
    study : Dataset
        With at least one finished run.
    """
    if len(conditions(study)) > OVERLAID:
        yield from error_plates(study)
    yield from alignment_plates(study)
    yield from factor_plates(study)


def error_plates(study: xr.Dataset) -> Iterator[Plate]:
    """Yield the test error by epoch, as many conditions on one axis as can be told apart."""
    for suffix, chosen in pages(conditions(study), TOGETHER):
        figure, axes = new_axes(errors_height(chosen) + 0.7)
        error_curves(study, axes, chosen)
        yield Plate(f"error{suffix}", SECTION, "Test error by epoch", captions.errors(study, chosen), figure)


def alignment_plates(study: xr.Dataset) -> Iterator[Plate]:
    """Yield the angles of every rule that delivers an error, on the networks that have a factored rule with one."""
    fed, (factoring, _) = aligned(study), factored(study)
    networks = by_network(study, [condition for condition in fed if condition in factoring])
    known = [c for network, own in by_network(study, fed).items() if network in networks for c in own]
    for suffix, chosen in pages(known, TOGETHER):
        figure = new_figure(sum(alignment_heights(study, chosen)) + 0.4)
        alignment_by_epoch(study, figure, chosen)
        title = "Alignment with backpropagation, over the layers"
        yield Plate(f"alignment{suffix}", SECTION, title, captions.alignment(study, chosen), figure)


def factor_plates(study: xr.Dataset) -> Iterator[Plate]:
    """Yield rank, drift and sparsity of the factored layers by epoch, a few conditions of one network at a time."""
    quantities = sum(name in study for name in FACTORS)
    groups = by_network(study, factored(study)[0])
    for network, own in groups.items():
        several = f"-{network}" if len(groups) > 1 else ""
        for suffix, chosen in pages(own, ACROSS):
            _, sites = factored(study.isel(run=study["condition"].isin(chosen).values))
            figure = new_figure(factors_height(quantities, sites))
            factors_by_epoch(study, figure, chosen, sites)
            title = "Rank, drift and sparsity of the factored layers"
            yield Plate(f"factors{several}{suffix}", SECTION, title, captions.factors(study, chosen), figure)

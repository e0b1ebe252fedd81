"""Symmetry of receptive fields: metrics with closed forms, nulls, kinds and intervals. Arrays in, one dataset out."""

from rfmodel.symmetry import nulls, shapes, statistics
from rfmodel.symmetry.classification import KINDS, classify
from rfmodel.symmetry.measurement import METRICS, measure
from rfmodel.symmetry.statistics import bootstrap_mean

__all__ = ["KINDS", "METRICS", "bootstrap_mean", "classify", "measure", "nulls", "shapes", "statistics"]

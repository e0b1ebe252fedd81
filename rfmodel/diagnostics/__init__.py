"""Diagnostics: what the feedback does, measured beside training and without touching it.

`measures` are functions of tensors; `diagnose` takes all of them on one batch, by one pass under the rule and one by
backpropagation; a `Watch` takes such samples every so many steps of training.
"""

from rfmodel.diagnostics.measures import (
    angle,
    angle_together,
    effective_rank,
    energy_passed,
    norm,
    norm_ratio,
    orthonormality_drift,
    participation_ratio,
    spectrum,
)
from rfmodel.diagnostics.sampling import EDGES, WHOLE, Sample, Watch, diagnose, taught

__all__ = [
    "EDGES",
    "WHOLE",
    "Sample",
    "Watch",
    "angle",
    "angle_together",
    "diagnose",
    "effective_rank",
    "energy_passed",
    "norm",
    "norm_ratio",
    "orthonormality_drift",
    "participation_ratio",
    "spectrum",
    "taught",
]

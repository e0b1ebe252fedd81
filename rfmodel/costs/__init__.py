"""Costs: what a training step costs by layer and by part, counted from shapes, and what a training takes in all."""

from rfmodel.costs.accounting import PARTS, Account, account, check, counted
from rfmodel.costs.decomposition import exact_svd, randomised_svd
from rfmodel.costs.peak import Peak, peak_memory
from rfmodel.costs.reading import per_epoch, relative_to_bp, rows
from rfmodel.costs.updates import operations

__all__ = [
    "PARTS",
    "Account",
    "Peak",
    "account",
    "check",
    "counted",
    "exact_svd",
    "operations",
    "peak_memory",
    "per_epoch",
    "randomised_svd",
    "relative_to_bp",
    "rows",
]

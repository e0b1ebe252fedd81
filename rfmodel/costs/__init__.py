"""Costs: the arithmetic and the memory of a training step by layer, from shapes, and of a training in all."""

from rfmodel.costs.accounting import PARTS, Account, account, check, counted
from rfmodel.costs.against import against_plain
from rfmodel.costs.decomposition import exact_svd, randomised_svd
from rfmodel.costs.memory import KINDS, MemoryAccount, memory
from rfmodel.costs.peak import Peak, peak_memory
from rfmodel.costs.reading import memory_rows, per_epoch, relative_to_bp, rows
from rfmodel.costs.updates import operations, states

__all__ = [
    "KINDS",
    "PARTS",
    "Account",
    "MemoryAccount",
    "Peak",
    "account",
    "against_plain",
    "check",
    "counted",
    "exact_svd",
    "memory",
    "memory_rows",
    "operations",
    "peak_memory",
    "per_epoch",
    "randomised_svd",
    "relative_to_bp",
    "rows",
    "states",
]

"""Factors: layers kept as U S V^T, their ranks, and what holds them in the space of singular values."""

from rfmodel.factors import penalties, stiefel
from rfmodel.factors.cutting import cut, spectrum
from rfmodel.factors.factorise import factored, factorise, merge
from rfmodel.factors.layers import Factored, FactoredConv2d, FactoredLinear
from rfmodel.factors.loading import take_ranks
from rfmodel.factors.schedule import RankSchedule

__all__ = [
    "Factored",
    "FactoredConv2d",
    "FactoredLinear",
    "RankSchedule",
    "cut",
    "factored",
    "factorise",
    "merge",
    "penalties",
    "spectrum",
    "stiefel",
    "take_ranks",
]

"""Factored layers as training leaves them: bases that drifted, singular values unsorted and of either sign."""

from __future__ import annotations

import torch
from torch import nn

from rfmodel.factors import FactoredConv2d, FactoredLinear


def layer_of(rank=6, seed=0):
    torch.manual_seed(seed)
    return FactoredLinear.of(nn.Linear(9, 8).double(), rank)


def conv_of(rank=6, seed=0):
    torch.manual_seed(seed)
    return FactoredConv2d.of(nn.Conv2d(3, 4, (3, 2)).double(), rank)


def shuffled(layer, seed=1):
    """Give the columns another order, and every second singular value the other sign."""
    order = torch.randperm(layer.rank, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for p in (layer.U, layer.S, layer.V):
            p.copy_(p[..., order].clone())
        layer.S[::2] *= -1
    return layer


def drifted(layer, by=0.1, seed=2):
    """Move all factors off, by a share of their size."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in (layer.U, layer.S, layer.V):
            p.add_(by * p.abs().mean() * torch.randn(p.shape, generator=generator).to(p))
    return layer

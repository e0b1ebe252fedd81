"""Exact means and deviations of grey levels, from their counts."""

from __future__ import annotations

import torch
from jaxtyping import Float64, UInt8
from torch import Tensor


def level_counts(images: UInt8[Tensor, "n c h w"]) -> Float64[Tensor, "c 256"]:
    """Return how often each channel has each grey level, on the processor."""
    return torch.stack([torch.bincount(plane.flatten(), minlength=256).cpu().double() for plane in images.unbind(1)])


def moments(counts: Float64[Tensor, "c 256"]) -> tuple[Float64[Tensor, " c"], Float64[Tensor, " c"]]:
    """Return the mean and the standard deviation of grey levels divided by 255, by channel.

    Parameters
    ----------
    counts : (c, 256), of each level.
    """
    level = torch.arange(256, dtype=torch.float64) / 255
    weights = counts / counts.sum(1, keepdim=True)
    mean = weights @ level
    return mean, (weights * (level - mean[:, None]) ** 2).sum(1).sqrt()

"""Convolutions of every form, and small networks around them."""

from __future__ import annotations

import torch
from torch import nn

# name -> options of nn.Conv2d on 4 channels and 7 x 6 pixels; six channels leave it.
CONVOLUTIONS = {
    "no padding": {"kernel_size": 3},
    "zeros": {"kernel_size": 3, "padding": 1},
    "zeros, another number on each axis": {"kernel_size": (5, 3), "padding": (2, 0)},
    "padding valid": {"kernel_size": 3, "padding": "valid"},
    "padding same, odd kernel": {"kernel_size": (3, 5), "padding": "same"},
    "padding same, even kernel": {"kernel_size": 2, "padding": "same"},
    "padding same, even kernel on one axis": {"kernel_size": (4, 3), "padding": "same"},
    "padding same, even kernel, dilation 3": {"kernel_size": 2, "padding": "same", "dilation": 3},
    "reflect": {"kernel_size": 3, "padding": (1, 2), "padding_mode": "reflect"},
    "replicate": {"kernel_size": 3, "padding": (2, 1), "padding_mode": "replicate"},
    "circular": {"kernel_size": 3, "padding": (1, 2), "padding_mode": "circular"},
    "circular, even kernel same": {"kernel_size": 4, "padding": "same", "padding_mode": "circular"},
    "reflect, even kernel same": {"kernel_size": 4, "padding": "same", "padding_mode": "reflect"},
    "stride": {"kernel_size": 3, "stride": 2, "padding": 1},
    "stride that leaves pixels over": {"kernel_size": 2, "stride": (3, 2)},
    "stride over the whole kernel": {"kernel_size": 2, "stride": 3, "padding": 1},
    "dilation": {"kernel_size": 3, "dilation": 2, "padding": 2},
    "groups": {"kernel_size": 3, "groups": 2, "padding": 1},
    "groups, stride, dilation, circular": {
        "kernel_size": 2, "groups": 2, "stride": 2, "dilation": 2, "padding": 1, "padding_mode": "circular",
    },
    "one pixel": {"kernel_size": 1},
    "no bias": {"kernel_size": 3, "bias": False},
}  # fmt: skip


def convolution(name: str) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(4, 6, **CONVOLUTIONS[name]).double()


def around(layer: nn.Conv2d) -> nn.Sequential:
    """Return conv - tanh - `layer` - tanh - dense, for images of 1 x 7 x 6."""
    torch.manual_seed(1)
    before = nn.Sequential(nn.Conv2d(1, layer.in_channels, 3, padding=1), nn.Tanh()).double()
    after = layer(before(torch.zeros(1, 1, 7, 6).double())).numel()
    return nn.Sequential(*before, layer, nn.Tanh(), nn.Flatten(), nn.Linear(after, 3)).double()


def by_channels() -> nn.Conv2d:
    """Return a depthwise convolution: one channel a group."""
    torch.manual_seed(0)
    return nn.Conv2d(4, 4, 3, groups=4, padding=1).double()

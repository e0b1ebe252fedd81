"""Small networks with named children, on which the fields' known answers are worked out."""

from collections import OrderedDict

import torch
from torch import nn


def stack(*, linear=False, channels=1, width=6, kernel=5, bottleneck=4, head=True, dtype=torch.float64, seed=0):
    """Return image -> retina: conv relu conv relu -> head: flatten dense, for 16 x 16 images; no relu if `linear`."""
    torch.manual_seed(seed)
    rectify = nn.Identity if linear else nn.ReLU
    retina = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, width, kernel, padding=kernel // 2),
            relu1=rectify(),
            conv2=nn.Conv2d(width, bottleneck, kernel, padding=kernel // 2),
            relu2=rectify(),
        )
    )
    parts = OrderedDict(retina=retina)
    if head:
        parts["head"] = nn.Sequential(
            OrderedDict(flatten=nn.Flatten(), dropout=nn.Dropout(0.5), dense=nn.Linear(bottleneck * 256, 10))
        )
    return nn.Sequential(parts).to(dtype)


class Residual(nn.Module):
    """A network that is no chain: a sum, a pool, a norm, and a relu called as a function."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.inward = nn.Conv2d(1, 6, 3, padding=1, stride=2)
        self.norm = nn.BatchNorm2d(6)
        self.norm.running_mean.normal_()
        self.branch = nn.Conv2d(6, 6, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.double()

    def forward(self, x):
        h = torch.relu(self.norm(self.inward(x)))
        return self.pool(h + self.branch(h))


class Tokens(nn.Module):
    """Patches as tokens, attention, a dense layer for each token."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(4)
        self.patch = nn.Conv2d(1, 8, 4, stride=4)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.dense = nn.Linear(8, 5)
        self.double()

    def forward(self, x):
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        mixed, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        return self.dense(tokens + mixed)

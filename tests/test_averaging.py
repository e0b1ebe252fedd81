"""A moving average of weights is the recursion it says, and trades places with them without loss."""

from __future__ import annotations

import torch
from torch import nn

from rfmodel.averaging import Average


def test_average_is_its_recursion_in_double_precision():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).double()
    average, steps, decay = Average(network, 0.9), 40, 0.9
    expected = [p.detach().clone() for p in network.parameters()]
    for t in range(1, steps + 1):
        with torch.no_grad():
            for p in network.parameters():
                p.add_(torch.randn_like(p))
        beta = min(decay, (1 + t) / (10 + t))
        expected = [beta * e + (1 - beta) * p.detach() for e, p in zip(expected, network.parameters(), strict=True)]
        average.update()
    with average.in_place():
        for p, e in zip(network.parameters(), expected, strict=True):
            torch.testing.assert_close(p.detach(), e, rtol=1e-12, atol=1e-12)


def test_weights_come_back_bit_for_bit_also_after_an_error():
    network = nn.Linear(4, 4)
    before = network.weight.detach().clone()
    average = Average(network, 0.5)
    average.values[0].zero_()
    try:
        with average.in_place():
            assert not network.weight.any()
            raise RuntimeError("on purpose")
    except RuntimeError:
        pass
    assert torch.equal(network.weight, before)
    assert not average.values[0].any()


def test_running_statistics_are_averaged_and_counts_are_not():
    network = nn.BatchNorm1d(2)
    average = Average(network, 0.5)
    network(torch.randn(8, 2) + 3)
    average.update()
    with average.in_place():
        assert int(network.num_batches_tracked) == 1
        assert 0 < float(network.running_mean.mean()) < 0.3  # the layer's own mean is .1 x 3, of which a part is in

"""Optimisers give torch's numbers; schedules follow their formulas."""

from __future__ import annotations

import math

import pytest
import torch

from rfmodel import optimisers
from rfmodel.optimisers import BlockedRMSprop, make_optimiser, schedule_factor


@pytest.mark.parametrize("shape", [(7,), (300, 1000), (8, 4, 3, 3)])
@pytest.mark.parametrize("weight_decay", [0.0, 1e-2])
def test_blocked_rmsprop_is_torchs_rmsprop_bit_for_bit(shape, weight_decay, monkeypatch):
    monkeypatch.setattr(optimisers, "BLOCK", 1000)  # 300 000 weights are then 300 blocks
    torch.manual_seed(0)
    start = torch.randn(shape)
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    options = {"lr": 1e-2, "alpha": 0.9, "eps": 1e-7, "weight_decay": weight_decay}
    a, b = BlockedRMSprop([ours], **options), torch.optim.RMSprop([theirs], **options)
    for _ in range(5):
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.clone()
        a.step()
        b.step()
    assert torch.equal(ours, theirs)


def test_blocked_rmsprop_takes_weights_of_any_layout():
    weight = torch.nn.Parameter(torch.randn(64, 64, 9, 9).to(memory_format=torch.channels_last))
    twin = torch.nn.Parameter(weight.detach().contiguous())
    weight.grad = torch.randn(64, 64, 9, 9)
    twin.grad = weight.grad.clone()
    BlockedRMSprop([weight]).step()
    torch.optim.RMSprop([twin]).step()
    assert torch.equal(weight, twin)


def test_a_parameter_without_a_gradient_stays():
    weight = torch.nn.Parameter(torch.ones(3))
    BlockedRMSprop([weight]).step()
    assert torch.equal(weight, torch.ones(3))


def test_closure_is_called_with_gradients_on():
    weight = torch.nn.Parameter(torch.ones(3))

    def closure():
        loss = weight.square().sum()
        loss.backward()
        return loss

    assert float(BlockedRMSprop([weight]).step(closure).detach()) == 3


@pytest.mark.parametrize(
    ("name", "kind"),
    [("rmsprop", BlockedRMSprop), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)],
)
def test_names_make_their_optimisers_with_a_fused_or_blocked_step(name, kind):
    made = make_optimiser(name, [torch.nn.Parameter(torch.ones(3))], 0.5, 0.1, {})
    assert isinstance(made, kind)
    assert made.param_groups[0]["lr"] == 0.5
    assert made.param_groups[0]["weight_decay"] == 0.1
    assert name == "rmsprop" or made.param_groups[0]["fused"]


def test_rmsprop_with_momentum_is_torchs():
    assert isinstance(
        make_optimiser("rmsprop", [torch.nn.Parameter(torch.ones(3))], 0.5, 0.0, {"momentum": 0.9}), torch.optim.RMSprop
    )


def test_schedules_follow_their_formulas():
    assert schedule_factor("constant", 0.0, 1000, 10, 5) == 1
    assert schedule_factor("exponential", 0.9, 25, 10, 5) == 0.9**2  # third epoch
    assert schedule_factor("inverse_time", 1e-2, 100, 10, 5) == 1 / (1 + 1e-2 * 100)
    assert schedule_factor("cosine", 0.0, 0, 10, 5) == 1
    assert schedule_factor("cosine", 0.0, 25, 10, 5) == pytest.approx(0.5)
    assert math.isclose(schedule_factor("cosine", 0.0, 50, 10, 5), 0, abs_tol=1e-12)

"""Optimisers give torch's numbers; schedules follow their formulas."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from rfmodel import optimisers
from rfmodel.optimisers import BlockedRMSprop, learning_rate, make_optimiser
from rfmodel.settings import OptimiserSettings


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


def rate(step, *, steps=10, epochs=5, **choice):
    return learning_rate(OptimiserSettings(learning_rate=2.0, **choice), step, steps, epochs) / 2


def test_schedules_follow_their_formulas():
    assert rate(1000) == 1
    assert rate(25, schedule="exponential", gamma=0.9) == 0.9**2  # third epoch
    assert rate(100, schedule="inverse_time", gamma=1e-2) == 1 / (1 + 1e-2 * 100)
    assert [rate(s, schedule="step", gamma=0.1, milestones=(2, 4)) for s in (19, 20, 39, 40)] == pytest.approx(
        [1, 0.1, 0.1, 0.01]
    )
    assert [rate(s, schedule="cosine") for s in (0, 25, 50)] == pytest.approx([1, 0.5, 0], abs=1e-12)
    assert [rate(s, schedule="linear") for s in (0, 20, 50)] == pytest.approx([1, 0.6, 0])


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_a_warm_up_rises_linearly_and_what_is_left_runs_the_schedule_down_to_its_floor(schedule):
    warmed = {"schedule": schedule, "warmup": 1.0, "warmup_from": 0.1, "floor": 0.02}
    assert [rate(s, **warmed) for s in (0, 5, 10)] == pytest.approx([0.1, 0.55, 1])
    assert rate(30, **warmed) == pytest.approx((1 + 0.01) / 2)  # half of the 40 steps after the warm-up
    assert rate(50, **warmed) == pytest.approx(0.01)


def test_a_warm_up_multiplies_the_schedule_that_runs_beneath_it():
    assert rate(10, schedule="exponential", gamma=0.5, warmup=2.0, warmup_from=0.0) == pytest.approx(0.5 * 0.5)


def test_a_warm_up_longer_than_the_training_never_divides_by_nought():
    assert 0 < rate(49, schedule="cosine", warmup=100.0) < 1


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"schedule": "step", "gamma": 0.1}, "need each other"),
        ({"milestones": (3,)}, "need each other"),
        ({"schedule": "step", "gamma": 0.1, "milestones": (3, 2)}, r"milestones \[3, 2\] must be rising"),
        ({"schedule": "step", "milestones": (3,)}, "the factor of a milestone"),
        ({"floor": 1e-3}, "a constant schedule has no floor"),
        ({"schedule": "cosine", "floor": 3.0}, "floor 3.0 is above learning_rate 2.0"),
        ({"schedule": "linear", "gamma": 0.5}, "a linear schedule has no gamma"),
    ],
)
def test_schedules_that_cannot_be_are_refused(choice, message):
    with pytest.raises(ValidationError, match=message):
        OptimiserSettings(learning_rate=2.0, **choice)

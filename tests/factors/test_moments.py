"""Optimisers across a cut: their moments follow the columns, and training goes on."""

from __future__ import annotations

import copy

import pytest
import torch
from drifting import conv_of, drifted, layer_of, shuffled
from torch import nn

from rfmodel.errors import InputError
from rfmodel.factors import FactoredConv2d, FactoredLinear, cut
from rfmodel.optimisers import BlockedRMSprop

OPTIMISERS = {
    "adam": lambda p: torch.optim.Adam(p, 1e-3),
    "fused adam": lambda p: torch.optim.Adam(p, 1e-3, fused=True),
    "amsgrad": lambda p: torch.optim.Adam(p, 1e-3, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, 1e-3),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 1e-3),
    "rmsprop, centred, momentum": lambda p: torch.optim.RMSprop(p, 1e-3, momentum=0.9, centered=True),
    "blocked rmsprop": lambda p: BlockedRMSprop(p, 1e-3),
    "sgd": lambda p: torch.optim.SGD(p, 1e-3),
    "sgd, momentum": lambda p: torch.optim.SGD(p, 1e-3, momentum=0.9),
}
SQUARES = ("exp_avg_sq", "max_exp_avg_sq", "square_avg")


def stepped(layer, make, steps=3):
    """Return an optimiser of the layer after some steps."""
    optimiser = make(layer.parameters())
    torch.manual_seed(3)
    for _ in range(steps):
        optimiser.zero_grad()
        (layer.matrix() * torch.randn_like(layer.matrix())).sum().backward()
        optimiser.step()
    return optimiser


def frozen(layer, make):
    """Return an optimiser whose moments are of some steps that left the layer as it was."""
    before = copy.deepcopy(layer.state_dict())
    optimiser = stepped(layer, make)
    layer.load_state_dict(before)
    return optimiser, {name: copy.deepcopy(optimiser.state[getattr(layer, name)]) for name in "USV"}


def moments(optimiser, p):
    return {key: x for key, x in optimiser.state[p].items() if isinstance(x, torch.Tensor) and x.dim()}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_with_orthonormal_bases_moments_are_exact_slices(name):
    layer = layer_of()
    optimiser, old = frozen(layer, OPTIMISERS[name])
    kept = cut(layer, 4, [optimiser])
    for factor in "USV":
        p = getattr(layer, factor)
        for key, moment in moments(optimiser, p).items():
            assert moment.shape == p.shape and moment.is_contiguous()
            assert torch.equal(moment, old[factor][key][..., kept]), (factor, key)
        if "step" in old[factor]:
            assert optimiser.state[p]["step"] == old[factor]["step"] == 3


def test_a_column_that_turns_takes_its_moments_with_it():
    layer = shuffled(layer_of())
    sign = layer.S.detach().sign()
    optimiser, old = frozen(layer, OPTIMISERS["adam"])
    kept = cut(layer, 4, [optimiser])
    for factor, turned in (("U", torch.ones(4)), ("S", sign[kept]), ("V", sign[kept])):
        state = optimiser.state[getattr(layer, factor)]
        assert torch.equal(state["exp_avg"], old[factor]["exp_avg"][..., kept] * turned)
        assert torch.equal(state["exp_avg_sq"], old[factor]["exp_avg_sq"][..., kept])


@pytest.mark.parametrize("rank", [4, 6])
def test_drifted_bases_carry_first_moments_by_the_map_from_old_columns_to_new(rank):
    layer = drifted(shuffled(layer_of()))
    before = {name: getattr(layer, name).detach().clone() for name in "USV"}
    optimiser, old = frozen(layer, OPTIMISERS["adam"])
    cut(layer, rank, [optimiser])
    for name in "UV":
        T = torch.linalg.lstsq(before[name], getattr(layer, name).detach()).solution
        torch.testing.assert_close(before[name] @ T, getattr(layer, name).detach())  # within the old columns' span
        state = optimiser.state[getattr(layer, name)]
        torch.testing.assert_close(state["exp_avg"], old[name]["exp_avg"] @ T)
        torch.testing.assert_close(state["exp_avg_sq"], old[name]["exp_avg_sq"] @ T.square())


def test_drifted_singular_values_move_as_first_order_perturbation_says():
    layer = drifted(layer_of(), by=0.3)
    optimiser, old = frozen(layer, OPTIMISERS["sgd, momentum"])
    moment, small = old["S"]["momentum_buffer"], 1e-6
    ahead = copy.deepcopy(layer)
    with torch.no_grad():
        ahead.S.add_(small * moment)
    cut(layer, 4, [optimiser])
    cut(ahead, 4)
    # central differences are not needed: the second order is 1e-6 of the first
    torch.testing.assert_close(
        optimiser.state[layer.S]["momentum_buffer"], (ahead.S - layer.S) / small, rtol=0, atol=1e-4
    )


def test_columns_that_have_all_but_merged_blow_up_no_moments():
    layer = layer_of()
    with torch.no_grad():
        layer.U[:, 1] = layer.U[:, 0] + 1e-12 * layer.U[:, 1]
    optimiser, old = frozen(layer, OPTIMISERS["sgd, momentum"])
    cut(layer, 6, [optimiser])
    # of the two columns' span one direction is left, sqrt(2) long
    assert optimiser.state[layer.U]["momentum_buffer"].norm() <= old["U"]["momentum_buffer"].norm() * (1 + 1e-9)


@pytest.mark.parametrize("make", [layer_of, conv_of])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_second_moments_are_never_negative_and_all_have_the_new_shapes(name, make):
    layer = drifted(shuffled(make()), by=1.0)
    optimiser = stepped(layer, OPTIMISERS[name])
    cut(layer, 3, [optimiser])
    for p in (layer.U, layer.S, layer.V):
        for key, moment in moments(optimiser, p).items():
            assert moment.shape == p.shape
            assert key not in SQUARES or (moment >= 0).all()
            assert moment.untyped_storage().nbytes() == moment.numel() * moment.element_size()


@pytest.mark.parametrize("name", OPTIMISERS)
def test_training_goes_on_after_a_cut(name):
    torch.manual_seed(0)
    net = nn.Sequential(
        FactoredConv2d.of(nn.Conv2d(2, 4, 3)), nn.Tanh(), nn.Flatten(), FactoredLinear.of(nn.Linear(36, 3))
    )
    h, target = torch.randn(16, 2, 5, 5), torch.randn(16, 3)
    optimiser = OPTIMISERS[name](net.parameters())

    def loss():
        return (net(h) - target).square().mean()

    def steps(count):
        for _ in range(count):
            optimiser.zero_grad()
            loss().backward()
            optimiser.step()

    steps(5)
    for layer, rank in ((net[0], 4), (net[3], 2)):
        cut(layer, rank, [optimiser])
    after = float(loss().detach())
    steps(20)
    assert (net[0].rank, net[3].rank) == (4, 2)
    assert float(loss().detach()) < after


def test_a_cut_trained_on_is_the_smaller_layer_trained_on_with_its_moments():
    # with orthonormal bases nothing of the columns that go is left in those that stay
    layer = layer_of()
    optimiser, old = frozen(layer, OPTIMISERS["adam"])
    kept = cut(layer, 4, [optimiser])
    small = FactoredLinear(layer, layer.U.detach().clone(), layer.S.detach().clone(), layer.V.detach().clone())
    other = OPTIMISERS["adam"](small.parameters())
    for name in "USV":
        state = {key: x[..., kept].clone() if x.dim() else x.clone() for key, x in old[name].items()}
        other.state[getattr(small, name)] = state
    G = torch.randn(8, 9).double()
    for each, its in ((layer, optimiser), (small, other)):
        (each.matrix() * G).sum().backward()
        its.step()
    assert all(torch.equal(getattr(layer, name), getattr(small, name)) for name in "USV")


def test_several_optimisers_and_those_without_a_state_are_carried():
    layer = layer_of()
    first, second = torch.optim.Adam([layer.U, layer.S]), torch.optim.SGD([layer.V], momentum=0.9)
    idle = torch.optim.Adam(layer.parameters())
    layer.matrix().sum().backward()
    first.step(), second.step()
    cut(layer, 2, (each for each in (first, second, idle)))
    assert first.state[layer.U]["exp_avg"].shape == (8, 2) and second.state[layer.V]["momentum_buffer"].shape == (9, 2)
    assert not idle.state


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda p: torch.optim.Adagrad(p), r"Adagrad keeps 'sum' of shape \(8, 6\) for U of shape \(8, 6\)"),
        (lambda p: torch.optim.Adafactor(p), r"Adafactor keeps 'row_var' of shape \(8, 1\) for U of shape \(8, 6\)"),
    ],
)
def test_an_optimiser_whose_state_cannot_follow_is_refused_before_anything_is_cut(make, found):
    layer = layer_of()
    optimiser = stepped(layer, make, 1)
    with pytest.raises(InputError, match=f"optimiser {found}, which a cut of the rank cannot take along; use Adam"):
        cut(layer, 2, [optimiser])
    assert layer.rank == 6

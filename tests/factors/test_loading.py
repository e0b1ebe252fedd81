"""States of a lower rank: the network takes their ranks, then loads them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rfmodel.errors import InputError
from rfmodel.factors import cut, factored, factorise, take_ranks


def network(ranks=None):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(16, 5), nn.Linear(5, 3))
    factorise(net, ["0", "2"])
    for name, rank in (ranks or {}).items():
        cut(net.get_submodule(name), rank)
    return net


@pytest.mark.parametrize("prefix", ["", "network."])
def test_a_state_of_lower_rank_is_loaded_and_computes_the_same(prefix):
    trained, fresh, h = network({"0": 2, "2": 3}), network(), torch.randn(4, 2, 4, 4)
    state = {prefix + key: value for key, value in trained.state_dict().items()}
    parameters = list(fresh.parameters())
    fresh(h).sum().backward()
    take_ranks(fresh, state, prefix)
    assert {name: layer.rank for name, layer in factored(fresh).items()} == {"0": 2, "2": 3}
    assert all(p is old for p, old in zip(fresh.parameters(), parameters, strict=True))
    assert fresh[0].U.grad is None and fresh[0].U.untyped_storage().nbytes() == fresh[0].U.numel() * 4
    fresh.load_state_dict({key.removeprefix(prefix): value for key, value in state.items()})
    assert torch.equal(fresh(h), trained(h))


def test_a_single_layer_takes_the_rank_of_its_state():
    layer = network()[2]
    take_ranks(layer, network({"2": 2})[2].state_dict())
    assert layer.rank == 2


def test_a_state_of_the_present_rank_and_one_without_the_layer_change_nothing():
    net = network({"0": 3})
    before = [p.data_ptr() for p in net.parameters()]
    take_ranks(net, net.state_dict())
    take_ranks(net, {"3.weight": net[3].weight})
    assert [p.data_ptr() for p in net.parameters()] == before


def test_a_network_without_values_takes_ranks():
    with torch.device("meta"):
        net = nn.Sequential(nn.Linear(6, 5))
    factorise(net, ["0"])
    take_ranks(net, {"0.U": torch.empty(5, 2), "0.S": torch.empty(2), "0.V": torch.empty(6, 2)})
    assert net[0].rank == 2 and net[0].U.is_meta


def changed(**shapes):
    state = network({"0": 2, "2": 3}).state_dict()
    for key, shape in shapes.items():
        name = f"2.{key}"
        state.pop(name) if shape is None else state.__setitem__(name, torch.zeros(shape))
    return state


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (changed(U=(5, 0), S=(0,), V=(16, 0)), "layer '2' has rank 0 in the saved state and 4 here; factorise"),
        (changed(U=(5, 5), S=(5,), V=(16, 5)), "layer '2' has rank 5 in the saved state and 4 here; factorise"),
        (
            changed(U=(5, 2)),
            r"layer '2' has U \(5, 2\), S \(3,\), V \(16, 3\) in the saved state, and its matrix is 5 x 16",
        ),
        (changed(V=(9, 3)), r"layer '2' has U \(5, 3\), S \(3,\), V \(9, 3\) in the saved state"),
        (changed(S=(3, 1)), r"layer '2' has U \(5, 3\), S \(3, 1\), V \(16, 3\) in the saved state"),
        (changed(U=None), "layer '2' has no U in the saved state; load a whole state dict"),
        (changed(U=None, V=None), "layer '2' has no U and no V in the saved state"),
    ],
)
def test_states_that_do_not_fit_are_refused_before_anything_is_cut(state, message):
    net = network({"2": 4})
    with pytest.raises(InputError, match=message) as caught:
        take_ranks(net, state)
    assert "\n" not in str(caught.value)
    assert [layer.rank for layer in factored(net).values()] == [net[0].full_rank, 4]

"""Networks whose layers are factored in place, and merged again."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from rfmodel.errors import InputError
from rfmodel.factors import Factored, FactoredConv2d, FactoredLinear, factored, factorise, merge


def network():
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=2))
    return nn.ModuleDict({"body": body, "head": nn.Linear(6, 5)}).double()


def refused(message, network, names, rank=1.0):
    before = copy.deepcopy(network)
    with pytest.raises(InputError, match=message) as caught:
        factorise(network, names, rank)
    assert "\n" not in str(caught.value)
    assert repr(network) == repr(before)  # nothing is replaced


def test_named_layers_are_replaced_and_merging_puts_them_back():
    net = network()
    before = copy.deepcopy(net.state_dict())
    assert factorise(net, ["head", "body.0"]) == ["head", "body.0"]
    assert isinstance(net["head"], FactoredLinear) and isinstance(net["body"][0], FactoredConv2d)
    assert list(factored(net)) == ["body.0", "head"] and type(net["body"][2]) is nn.Conv2d
    assert merge(net) is net and not factored(net)
    assert net.state_dict().keys() == before.keys()
    for key, value in net.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=1e-13)


def test_merging_a_network_that_is_one_layer_returns_the_plain_layer():
    assert type(merge(FactoredLinear.of(nn.Linear(3, 2)))) is nn.Linear


@pytest.mark.parametrize(
    ("rank", "ranks"), [(1.0, (8, 5)), (0.5, (4, 3)), (0.1, (1, 1)), (1, (1, 1)), (6, (6, 5)), (99, (8, 5))]
)
def test_rank_is_a_fraction_rounded_up_or_a_number_capped(rank, ranks):
    net = nn.Sequential(nn.Linear(8, 9), nn.Linear(9, 5))
    factorise(net, ["0", "1"], rank)
    assert (net[0].rank, net[1].rank) == ranks


def test_a_fraction_that_is_whole_on_paper_is_not_rounded_up():
    net = nn.Sequential(nn.Linear(30, 30))
    factorise(net, ["0"], 0.1)  # 0.1 * 30 > 3 in floating point
    assert net[0].rank == 3


def test_a_layer_at_two_places_stays_one_layer():
    shared = nn.Linear(4, 4)
    net = nn.Sequential(shared, nn.ReLU(), shared)
    factorise(net, ["2"])
    assert isinstance(net[0], Factored) and net[0] is net[2]
    merge(net)
    assert type(net[0]) is nn.Linear and net[0] is net[2]


def test_a_network_without_values_is_factored_and_merged():
    with torch.device("meta"):
        net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(16, 3))
    factorise(net, ["0", "2"], 0.5)
    assert net(torch.empty(5, 2, 4, 4, device="meta")).shape == (5, 3)
    assert all(p.is_meta for p in merge(net).parameters())


def test_unknown_names_are_refused():
    refused("layer 'haed' is not in the network; did you mean 'head'?", network(), ["body.0", "haed"])
    refused("the network itself, a Linear, cannot be replaced in place; use FactoredLinear.of", nn.Linear(2, 2), [""])


@pytest.mark.parametrize("rank", [0, -1, 0.0, 1.5, True, "half", float("nan")])
def test_ranks_that_are_none_are_refused(rank):
    net = network()
    refused(f"rank {rank!r} is impossible for a factored layer; use a whole number from 1, or a", net, ["head"], rank)


def test_a_layer_is_factored_once():
    net = network()
    factorise(net, ["head"], 3)
    refused("layer 'head' is factored already, at rank 3; cut changes its rank", net, ["body.0", "head"])


class Doubled(nn.Linear):
    def forward(self, h):
        return 2 * super().forward(h)


class Turned(nn.Conv2d):
    def _conv_forward(self, h, weight, bias):
        return super()._conv_forward(h, weight.flip(-1), bias)


class Named(nn.Linear):
    """A subclass that computes what a linear layer does."""


def test_a_subclass_with_the_plain_forward_is_split():
    net, h = nn.Sequential(Named(4, 3).double()), torch.randn(2, 4).double()
    before = net(h)
    factorise(net, ["0"])
    torch.testing.assert_close(net(h), before, rtol=0, atol=1e-13)


def hooked():
    layer = nn.Linear(3, 2)
    layer.register_forward_hook(lambda *_: None)
    return layer


def broken(value):
    layer = nn.Linear(3, 2)
    with torch.no_grad():
        layer.weight[0, 1] = value
    return layer


def emptied():
    layer = nn.Linear(3, 2)
    layer.weight = nn.Parameter(torch.empty(2, 0))
    return layer


def flattened():
    layer = nn.Linear(3, 2)
    weight = layer.weight.detach().clone()
    del layer.weight
    layer.weight = weight
    return layer


UNFIT = {
    "groups": (lambda: nn.Conv2d(4, 4, 3, groups=2), "it has 2 groups, whose kernels share no factors; leave it whole"),
    "depthwise": (lambda: nn.Conv2d(4, 8, 3, groups=4), "it has 4 groups"),
    "one dimension": (lambda: nn.Conv1d(4, 4, 3), "it is a Conv1d; name Linear or Conv2d layers"),
    "transposed": (lambda: nn.ConvTranspose2d(4, 4, 3), "it is a ConvTranspose2d; name Linear or Conv2d layers"),
    "norm": (lambda: nn.BatchNorm2d(4), "it is a BatchNorm2d; name Linear or Conv2d layers"),
    "container": (lambda: nn.Sequential(nn.Linear(2, 2)), "it is a Sequential; name Linear or Conv2d layers"),
    "parametrised": (lambda: parametrizations.weight_norm(nn.Linear(3, 2)), "remove the parametrisation first"),
    "not a parameter": (flattened, "its weight is not a parameter but made of others"),
    "lazy": (lambda: nn.LazyLinear(3), "it has no shape yet; run the network once on an example first"),
    "lazy conv": (lambda: nn.LazyConv2d(3, 2), "it has no shape yet; run the network once on an example first"),
    "own forward": (lambda: Doubled(3, 2), "a Doubled has a forward pass of its own; use a plain Linear"),
    "own convolution": (lambda: Turned(3, 2, 3), "a Turned has a forward pass of its own; use a plain Conv2d"),
    "nan": (lambda: broken(float("nan")), "1 entries of its weight are not finite; start from finite weights"),
    "infinite": (lambda: broken(float("inf")), "1 entries of its weight are not finite"),
    "complex": (lambda: nn.Linear(3, 2, dtype=torch.complex64), "its weight is complex64; use a real floating-point"),
    "empty": (emptied, r"its weight is empty, \(2, 0\); leave it whole"),
    "hooks": (hooked, "it has hooks, which its factors would lose; register them afterwards"),
}


@pytest.mark.parametrize("unfit", UNFIT)
def test_a_layer_that_cannot_be_split_is_refused_by_name(unfit):
    make, why = UNFIT[unfit]
    net = nn.Sequential(nn.Linear(2, 2), make())
    with pytest.raises(InputError, match=f"layer '1' cannot be split into U S V\\^T: .*{why}") as caught:
        factorise(net, ["0", "1"])
    assert "\n" not in str(caught.value) and type(net[0]) is nn.Linear


def test_attention_that_reads_its_weight_is_refused():
    net = nn.ModuleDict({"attention": nn.MultiheadAttention(4, 2)})
    refused(
        "layer 'attention.out_proj' cannot be split .* reads the weight and never calls it", net, ["attention.out_proj"]
    )


def test_tied_weights_are_refused():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    net[1].weight = net[0].weight
    refused("layer '0' shares its weight with '1.weight', and factors would part them", net, ["0"])


def test_a_layer_of_another_kind_is_refused():
    with pytest.raises(InputError, match="FactoredLinear is no form of a Conv2d; factorise"):
        FactoredLinear.of(nn.Conv2d(2, 2, 3))
    with pytest.raises(InputError, match="layer 'ReLU' cannot be split into U S V\\^T: it is a ReLU"):
        FactoredLinear.of(nn.ReLU())

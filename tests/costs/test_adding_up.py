"""The parts of the account add up, to the unit, to what a counter sees of one whole step."""

from __future__ import annotations

import pytest
import torch
from networks import mlp, residual, retina, transformer, vgg
from properties import TABLE, rule
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rfmodel.costs import account, check, counted
from rfmodel.errors import InputError
from rfmodel.routing import RULES, Edge, Feedback, Plan, Port, Routed, Rule, layerwise, make_rule

# Every rule by its name, and the learning of P and Q that differs in what it multiplies.
KINDS = (
    "bp", "fa", "usf", "brsf", "frsf", "kolen_pollack", "weight_mirror", "dfa", "sparse_dfa", "drtp", "ldfa",
    "ldfa, Hebbian Q", "ldfa, factorised Kolen-Pollack", "ldfa_normative", "dldfa", "skip by low rank", "partition",
)  # fmt: skip


# In test_factored.py and test_local_steps.py.
ELSEWHERE = {"ssa", "ssa2024", "ssa2025", "svd", "svd_bp", "predsim", "auglocal", "pepita"}
ALL = tuple(case for case, (name, _) in TABLE.items() if name not in ELSEWHERE)


def short_resnet():
    """ResNet-20 with one block a stage."""
    network = residual()
    for stage in ("layer1", "layer2", "layer3"):
        setattr(network, stage, getattr(network, stage)[:1])
    return network


NETWORKS = {
    "mlp": (mlp, 8, ALL),
    "retina": (retina, 6, ALL),
    "vgg": (vgg, 8, KINDS),
    "resnet": (short_resnet, 8, KINDS),
    "resnet 20": (residual, 8, ("dfa", "ldfa_normative")),
    "resnet 20 with projections": (lambda: residual("B"), 8, ("fa", "dfa")),
    "vit, fused": (lambda: transformer(depth=1), 8, KINDS),
    "vit, separate": (lambda: transformer(fused=False, depth=1), 8, ("dfa", "kolen_pollack", "ldfa, Hebbian Q")),
}
BATCH = 5


def laid(make, size, rules, channels=1):
    with torch.device("meta"):
        return Routed(make().to("meta"), rules, torch.empty(2, channels, size, size, dtype=torch.double))


def stock(routed, batch, shape):
    """PyTorch's own counter around a step as anybody would write it."""
    images = torch.empty(batch, *shape, dtype=torch.double, device="meta")
    labels = torch.empty(batch, dtype=torch.long, device="meta")
    with FlopCounterMode(display=False) as count:
        nn.functional.cross_entropy(routed(images, labels), labels).backward()
    return count.get_total_flops()


def test_every_registered_rule_is_among_the_kinds():
    assert {TABLE[case][0] for case in KINDS} | ELSEWHERE == set(RULES)


@pytest.mark.parametrize(
    ("network", "case"), [(network, case) for network, (_, _, cases) in NETWORKS.items() for case in cases]
)
def test_the_account_is_what_a_counter_sees_of_one_step(network, case):
    make, size, _ = NETWORKS[network]
    routed = laid(make, size, {"*": rule(case)})
    assert sum(account(routed, BATCH, (1, size, size)).step.values()) == stock(routed, BATCH, (1, size, size))


@pytest.mark.parametrize("case", ["ldfa", "ldfa, factorised Kolen-Pollack", "ldfa_normative", "kolen_pollack"])
def test_maps_that_are_held_still_learn_at_no_cost(case):
    routed = laid(mlp, 8, {"*": rule(case)})
    routed.feedback.requires_grad_(False)
    assert check(routed, BATCH, (1, 8, 8)) == stock(routed, BATCH, (1, 8, 8))


def test_the_check_returns_the_sum_on_which_both_agree():
    routed = laid(mlp, 8, {"*": rule("ldfa")})
    assert check(routed, BATCH, (1, 8, 8)) == stock(routed, BATCH, (1, 8, 8))


class Dearer(Feedback):
    """A map that costs more each time it is asked."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan.geometry)
        self.B = nn.Parameter(torch.ones(plan.geometry.own_shape))
        self.asked = 0

    def carry(self, delta, like, B):
        self.asked += 1
        return sum((delta @ B for _ in range(self.asked)), torch.zeros_like(like))


def test_a_sum_that_differs_from_the_counter_is_refused_with_both_numbers():
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    routed = Routed(network, {"1": Rule("own", layerwise, Dearer)}, torch.zeros(2, 3))
    passes = 2 * 5 * (3 * 4 + 4 * 2) * 2  # forward and weights
    carried = 2 * 5 * 4 * 2
    asked = routed.maps[routed.edges[0]].asked  # once already, when it was laid
    # The account runs the map in its pass and then alone; the counter's is a pass of a fresh copy.
    ours, theirs = passes + (asked + 2) * carried, passes + (asked + 1) * carried
    with pytest.raises(InputError, match=f"adds up to {ours} FLOPs a step and FlopCounterMode counts {theirs}"):
        check(routed, 5, (3,))


@pytest.mark.parametrize("network", ["mlp", "vgg", "resnet", "retina"])
def test_nothing_is_left_for_the_rest_where_only_weighted_layers_multiply(network):
    make, size, _ = NETWORKS[network]
    table = account(laid(make, size, {"*": rule("ldfa_normative")}), BATCH, (1, size, size)).table
    assert not table.sel(layer="rest", part=["forward", "error"]).any()


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(
    "shape", [{}, {"stride": 2}, {"dilation": 2}, {"padding": 3}, {"padding": "same"}, {"padding_mode": "circular"}]
)
def test_convolutions_of_every_form_cost_their_products(groups, shape):
    padding = {"padding": 1} | shape
    network = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 8, (3, 5), groups=groups, **padding)).double()
    pooled = nn.Sequential(*network, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    places = network(torch.zeros(1, 1, 9, 9).double()).shape[2:].numel()
    products = 2 * BATCH * places * 8 * (4 // groups) * 3 * 5
    routed = Routed(pooled, {"1": rule("fa")}, torch.zeros(2, 1, 9, 9).double())
    table = account(routed, BATCH, (1, 9, 9)).table.sel(layer="1")
    assert table.sel(part=["forward", "weights", "feedback"]).values.tolist() == [products] * 3
    assert table.sel(part="error") == 0
    # PyTorch's counter takes the weight gradient of groups for that of one group.
    assert stock(routed.to("meta"), BATCH, (1, 9, 9)) == check(routed, BATCH, (1, 9, 9)) + (groups - 1) * products


def test_maps_of_grouped_convolutions_add_up_too():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, groups=2), nn.Flatten(), nn.Linear(4 * 16, 3))
    for case in ("kolen_pollack", "ldfa", "ldfa_normative"):
        routed = Routed(network, {"1": rule(case)}, torch.zeros(2, 1, 8, 8))
        assert check(routed, BATCH, (1, 8, 8)) == counted(routed, BATCH, (1, 8, 8))


class Strange(nn.Module):
    """Weights of its own, a functional product, a parametrized layer, a layer used twice, a frozen one, a dead end."""

    def __init__(self):
        super().__init__()
        self.first, self.twice, self.frozen, self.dead, self.last = (nn.Linear(6, 6) for _ in range(5))
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.frozen.requires_grad_(False)
        nn.utils.parametrizations.orthogonal(self.last, orthogonal_map="cayley")

    def forward(self, x):
        h = self.twice(self.twice(self.first(input=x)))
        self.dead(h)
        h = self.frozen(h)
        h = h + self.attention(h, h, h)[0]
        return self.last(torch.einsum("btc,bsc->bts", h, h) @ h)[:, 0]


def test_odd_networks_add_up_too():
    routed = Routed(Strange(), {"frozen": rule("fa")}, torch.zeros(2, 3, 6))
    found = account(routed, BATCH, (3, 6))
    assert sum(found.step.values()) == counted(routed, BATCH, (3, 6))
    one = 2 * BATCH * 3 * 6 * 6
    table = found.table.to_series()
    assert table["twice", "forward"] == table["twice", "error"] == table["twice", "weights"] == 2 * one
    assert table["dead", "forward"] == one and table["dead", "error"] == table["dead", "weights"] == 0
    assert table["frozen", "weights"] == table["frozen", "error"] == 0 and table["frozen", "feedback"] == one
    assert table["last", "forward"] == one


class Auxiliary(nn.Module):
    """A second head that speaks in training alone."""

    def __init__(self):
        super().__init__()
        self.first, self.head, self.aside = nn.Linear(6, 7), nn.Linear(7, 3), nn.Linear(7, 3)

    def forward(self, x):
        h = self.first(x)
        return self.head(h) + self.aside(h) if self.training else self.head(h)


def test_the_step_is_one_of_training():
    found = account(Routed(Auxiliary(), {}, torch.zeros(2, 6)).eval(), BATCH, (6,))
    assert found.layers == ("first", "head", "aside", "rest")
    assert found.total(("forward",)) == 2 * BATCH * (6 * 7 + 2 * 7 * 3)


@pytest.mark.parametrize("case", ["fa", "ldfa, Hebbian Q", "kolen_pollack", "dfa"])
def test_memory_layout_does_not_matter(case):
    routed = laid(vgg, 8, {"*": rule(case)})
    plain = account(routed, BATCH, (1, 8, 8))
    last = routed.to(memory_format=torch.channels_last)
    assert account(last, BATCH, (1, 8, 8)).table.identical(plain.table)
    images = torch.empty(BATCH, 1, 8, 8, dtype=torch.double, device="meta").contiguous(
        memory_format=torch.channels_last
    )
    labels = torch.empty(BATCH, dtype=torch.long, device="meta")
    with FlopCounterMode(display=False) as count:
        nn.functional.cross_entropy(last(images, labels), labels).backward()
    assert count.get_total_flops() == sum(plain.step.values())


class Loose(nn.Module):
    """Weights that are no parameters: a tensor that learns by itself, and one made in passing."""

    def __init__(self):
        super().__init__()
        self.first, self.W = nn.Linear(6, 6), torch.randn(6, 6, requires_grad=True)

    def forward(self, x):
        return (self.first(x) @ self.W) @ torch.ones(6, 6, dtype=x.dtype)


def test_weights_that_no_module_registers_are_found():
    rest = account(Routed(Loose(), {}, torch.zeros(2, 6)), BATCH, (6,)).table.sel(layer="rest")
    product = 2 * BATCH * 6 * 6
    assert rest.sel(part="forward") == 2 * product
    assert rest.sel(part="error") == 3 * product  # both factors of the first, the error through the second


def test_a_layer_that_is_cut_at_its_output_learns_from_what_is_delivered_there():
    edge = Edge(Port("", "output"), Port("0", "output"))
    aimed = Rule("own", lambda record, sites: [edge], make_rule("dfa").feedback)
    routed = Routed(nn.Sequential(nn.Linear(6, 7), nn.Linear(7, 3)), {"1": aimed}, torch.zeros(2, 6))
    table = account(routed, BATCH, (6,)).table
    assert table.sel(layer="0", part="weights") == 2 * BATCH * 6 * 7
    assert table.sel(layer="0", part="feedback") == 2 * BATCH * 3 * 7
    assert not table.sel(part="error").any()
    assert check(routed, BATCH, (6,)) == table.sum() - table.sel(part="optimiser").sum()

"""Factored layers in the account: both factors' products, their local losses, and their twin under backpropagation."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from networks import mlp, residual, retina, transformer, vgg
from torch import nn

from rfmodel.costs import account, against_plain, check, counted, relative_to_bp
from rfmodel.costs.decomposition import thin_qr
from rfmodel.errors import InputError
from rfmodel.factors import FactoredLinear, factored, factorise
from rfmodel.models import MobileNet
from rfmodel.routing import Routed, make_rule
from rfmodel.settings import TrainSettings
from rfmodel.spending import Spending

SIZES = [(12, 20), (20, 16), (16, 5)]  # (n, m) of each layer
BATCH = 7


def mobile():
    return MobileNet(width=1 / 8, size=16, classes=3, channels=1).double()


def blocks(shortcut="A"):
    """ResNet-20 of two blocks, the second of which changes the shape."""
    network = residual(shortcut)
    network.layer1, network.layer2, network.layer3 = network.layer1[:1], network.layer2[:1], nn.Sequential()
    network.fc = nn.Linear(32, 3).double()
    return network


NETWORKS = {
    "mlp": (mlp, 8), "retina": (retina, 6), "vit": (lambda: transformer(depth=1), 8), "blocks": (blocks, 8),
    "blocks with projections": (lambda: blocks("B"), 8), "vgg": (vgg, 8), "mobilenet": (mobile, 16),
}  # fmt: skip
CASES = {
    "ssa2024": ("ssa2024", {}),
    "ssa2025": ("ssa2025", {}),
    "all of it": ("ssa", {"project": "stiefel", "retract_every": 3, "aligns": "both", "feedback": "dense"}),
    "svd_bp": ("svd_bp", {}),
    "svd over fa": ("svd", {"rule": "fa"}),
    "svd over dfa, half the rank": ("svd", {"rule": "dfa", "rank": 0.5}),
    "svd over ldfa, rank 1": ("svd", {"rule": {"name": "ldfa", "rank": 2}, "rank": 1}),
}
LARGE = {"blocks with projections", "vgg"}


def laid(make, rules, shape, epochs=20):
    with torch.device("meta"):
        return Routed(make().to("meta"), rules, torch.empty(2, *shape, dtype=torch.double), epochs=epochs)


def dense():
    layers = [part for n, m in SIZES for part in (nn.Linear(n, m), nn.Tanh())]
    return nn.Sequential(*layers[:-1]).double()


def parts(found, part):
    return found.table.sel(part=part).values.tolist()


@pytest.mark.parametrize(
    ("network", "case"),
    [
        (network, case)
        for network in NETWORKS
        for case in CASES
        if not (network == "vit" and case.startswith("ssa"))  # no layer makes its tokens; feedback = "dense" does
        and not (network in LARGE and case != "ssa2024")
        and not (network == "mobilenet" and case != "svd over dfa, half the rank")
    ],
)
def test_the_account_is_what_a_counter_sees_of_a_step_on_factors(network, case):
    make, size = NETWORKS[network]
    name, options = CASES[case]
    routed = laid(make, {"*": make_rule(name, **options)}, (1, size, size))
    assert check(routed, 5, (1, size, size)) == counted(routed, 5, (1, size, size))


@pytest.mark.parametrize("rank", [1, 3, 1.0])
def test_factored_dense_layers_cost_r_products_a_side_three_times_over(rank):
    found = account(laid(dense, {"*": make_rule("svd_bp", rank=rank, ortho=0, hoyer=0)}, (12,)), BATCH, (12,))
    ranks = [min(rank if isinstance(rank, int) else n, n, m) for n, m in SIZES]
    both = [2 * BATCH * r * (n + m) for r, (n, m) in zip(ranks, SIZES, strict=True)]
    assert parts(found, "forward") == parts(found, "weights") == [*both, 0]
    # SSA, eqs. 12 and 14, exactly. No error goes to the image: of the first layer only through U, which V and S hear.
    assert parts(found, "error") == [2 * BATCH * ranks[0] * 20, *both[1:], 0]
    assert found.total(("feedback", "plasticity", "svd", "local")) == 0


@pytest.mark.parametrize(
    "form", [{}, {"stride": (2, 1)}, {"stride": 2}, {"dilation": (1, 2)}, {"padding": 3}, {"padding": "same"},
             {"padding_mode": "circular"}, {"kernel_size": (1, 4)}, {"bias": False}],
)  # fmt: skip
@pytest.mark.parametrize(("n", "m"), [(2, 6), (6, 2)])
def test_factored_convolutions_cost_their_two_kernels(form, n, m):
    first = nn.Conv2d(1, n, 1)
    layer = nn.Conv2d(n, m, **{"kernel_size": (3, 5), "padding": 1} | form)
    network = nn.Sequential(first, layer, nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
    routed = laid(lambda: network, {"1": make_rule("svd_bp", rank=2, ortho=0)}, (1, 9, 8))
    height, width = network[1](torch.empty(1, n, 9, 8, dtype=torch.double, device="meta")).shape[2:]
    (kh, kw), batch = layer.kernel_size, 5
    both = 2 * batch * 2 * (n * kh * height * 8 + m * kw * height * width)  # the columns are the second kernel's
    found = account(routed, batch, (1, 9, 8)).table.sel(layer="1")
    assert [int(found.sel(part=part)) for part in ("forward", "error", "weights")] == [both] * 3
    assert check(routed, batch, (1, 9, 8))


@pytest.mark.parametrize("frozen", ["U", "S", "V", "US", "SV", "UV", "USV"])
@pytest.mark.parametrize("convolutional", [False, True])
def test_what_of_the_factors_is_frozen_costs_no_gradient(frozen, convolutional):
    shape = (2, 5, 5) if convolutional else (4,)
    first = nn.Conv2d(2, 4, 3) if convolutional else nn.Linear(4, 6)
    rest = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)] if convolutional else [nn.Linear(6, 3)]
    network = nn.Sequential(first, *rest).double()
    factorise(network, ["0"], 2)
    for name in frozen:
        getattr(network[0], name).requires_grad_(False)
    routed = Routed(network, {}, torch.zeros(2, *shape).double())
    assert check(routed, 3, shape) == counted(routed, 3, shape)


def test_the_account_never_makes_the_weight(monkeypatch):
    routed = laid(dense, {"*": make_rule("ssa")}, (12,))
    monkeypatch.setattr(FactoredLinear, "weight", property(lambda layer: pytest.fail("the weight was made")))
    account(routed, BATCH, (12,))


def test_orthogonality_costs_two_products_a_factor_whatever_the_batch():
    for batch in (1, 7):
        found = account(laid(dense, {"*": make_rule("svd_bp", rank=3)}, (12,)), batch, (12,))
        gradient = [4 * 9 * (n + m) for n, m in SIZES]  # U^T U and U (U^T U - I): 2 r^2 m each
        assert parts(found, "local") == [*gradient, 0]


@pytest.mark.parametrize("project", ["grassmann", "stiefel"])
def test_projections_cost_two_products_a_factor(project):
    found = account(laid(dense, {"*": make_rule("svd_bp", rank=3, ortho=0, project=project)}, (12,)), BATCH, (12,))
    assert parts(found, "local") == [*(4 * 9 * (n + m) for n, m in SIZES), 0]  # U^T G, and U times it


def test_retractions_are_shared_out_over_their_interval():
    found = account(laid(dense, {"*": make_rule("svd_bp", rank=3, ortho=0, retract_every=10)}, (12,)), BATCH, (12,))
    assert found.total(("local",)) == sum(thin_qr(side, 3) for size in SIZES for side in size) / Fraction(10)


def test_feedback_factors_that_learn_are_updated_and_others_are_not():
    def updates(aligns):
        rule = make_rule("ssa", rank=3, aligns=aligns)
        return account(laid(dense, {"*": rule}, (12,)), BATCH, (12,), optimisers=(1, 100)).total(("optimiser",))

    factors = sum(3 * (n + m + 1) for n, m in SIZES)
    assert updates("weights") == factors + sum(m for _, m in SIZES)
    assert updates("both") == updates("weights") + 100 * factors


@pytest.mark.parametrize("make", [dense, mlp, blocks])
@pytest.mark.parametrize("rule", ["ssa", "svd_bp"])
def test_backpropagation_beside_factors_is_that_of_the_plain_network(make, rule):
    shape = (12,) if make is dense else (1, 8, 8)
    routed = laid(make, {"*": make_rule(rule)}, shape)
    plain = account(laid(make, {}, shape), 5, shape)
    bp = account(routed, 5, shape).backpropagation()
    assert bp.table.identical(plain.table)
    assert bp.at(3).table.identical(plain.at(3).table)
    assert relative_to_bp(account(routed, 5, shape)) == float(account(routed, 5, shape).total() / plain.total())


@pytest.mark.parametrize("rule", ["ssa", "svd_bp"])
@pytest.mark.parametrize("make", [dense, retina])
def test_an_account_at_other_ranks_is_that_of_a_network_which_starts_with_them(make, rule):
    shape = (12,) if make is dense else (1, 6, 6)
    full, half = (laid(make, {"*": make_rule(rule, rank=rank)}, shape) for rank in (1.0, 0.5))
    assert account(full, 5, shape, ranks=0.5).table.identical(account(half, 5, shape).table)
    layers = {name: loss.layer.rank for name, loss in half.losses.items()}
    assert account(full, 5, shape, ranks=layers).table.identical(account(half, 5, shape).table)
    assert account(half, 5, shape, ranks=1.0).table.identical(account(half, 5, shape).table)  # none rises
    assert {name: loss.layer.rank for name, loss in full.losses.items()} != layers  # and the network is as it was


def test_ranks_of_some_layers_leave_the_others():
    routed = laid(dense, {"*": make_rule("svd_bp", ortho=0)}, (12,))
    before, after = (account(routed, BATCH, (12,), ranks=ranks).table for ranks in (None, {"2": 4}))
    assert np.array_equal((before != after).any("part"), [False, True, False, False])
    assert after.sel(layer="2", part="forward") == 2 * BATCH * 4 * (20 + 16)


def test_a_rule_beside_the_plain_network_is_a_table_of_both():
    routed = laid(dense, {"*": make_rule("svd_bp")}, (12,))
    found = against_plain(routed, BATCH, (12,), "sgd", ranks=0.25)
    ours = account(routed, BATCH, (12,), "sgd", ranks=0.25)
    assert found.side.values.tolist() == ["rule", "bp"] and found.layer.values.tolist() == ["0", "2", "4", "rest"]
    assert found.training_flops_total.values.tolist() == [float(ours.total()), float(ours.backpropagation().total())]
    assert np.array_equal(found.training_flops.sel(side="rule"), ours.table.sum("part"))
    assert found.inference_flops_total.sel(side="bp") == 2 * BATCH * sum(n * m for n, m in SIZES)
    ranks = [3, 4, 2]  # a quarter of 12, 16 and 5, rounded up
    used = [2 * BATCH * r * (n + m) for r, (n, m) in zip(ranks, SIZES, strict=True)]
    assert found.inference_flops.sel(side="rule").values.tolist() == [*used, 0]


@pytest.mark.parametrize(
    ("ranks", "message"),
    [
        ({"1": 2}, "factored layer '1' is unknown: known are 0, 2, 4"),
        (0.0, "rank 0.0 is impossible for a factored layer"),
        ({"2": 0}, "rank 0 is impossible for a factored layer"),
        (1.5, "rank 1.5 is impossible for a factored layer"),
    ],
)
def test_impossible_ranks_are_refused(ranks, message):
    routed = laid(dense, {"*": make_rule("svd_bp")}, (12,))
    with pytest.raises(InputError, match=message):
        account(routed, BATCH, (12,), ranks=ranks)


def test_ranks_of_a_network_without_factors_are_refused():
    with pytest.raises(InputError, match="ranks 0.5 asked, and no layer of the network is factored; leave them out"):
        account(laid(dense, {}, (12,)), BATCH, (12,), ranks=0.5)


def test_an_epochs_cost_is_counted_anew_where_a_factored_layers_rank_falls():
    network = dense().float()
    rule = make_rule("svd_bp", schedule={"kind": "epochs", "every": 1, "floor": 0.5})
    routed = Routed(network, {"*": rule}, torch.zeros(2, 12), epochs=4)
    spending = Spending(routed, (12,), 14, TrainSettings(batch=7, epochs=4))
    spent, ranks = [], []
    for epoch in range(1, 4):
        routed.start_epoch(epoch)
        spent.append(spending.of_epoch())
        ranks.append(tuple(layer.rank for layer in factored(network).values()))
        assert spent[-1] == 2 * account(routed, 7, (12,), spending.operations).total()
    assert spent == sorted(spent, reverse=True) and len(set(spent)) == len(set(ranks)) > 1

"""Local heads and second passes in the account: what they cost, where they stand, and that nothing is left out."""

from __future__ import annotations

import pytest
import torch
from networks import mlp, retina, vgg
from torch import nn

from rfmodel.costs import account, check, counted, memory
from rfmodel.routing import Routed, make_rule

BATCH, SIZES = 7, [(12, 20), (20, 16), (16, 5)]  # (n, m) of each layer
PRODUCTS = [2 * BATCH * n * m for n, m in SIZES]


def dense():
    layers = [part for n, m in SIZES for part in (nn.Linear(n, m), nn.ReLU())]
    return nn.Sequential(*layers[:-1]).double()


def laid(make, rule, shape, **options):
    with torch.device("meta"):
        return Routed(make().to("meta"), {"*": make_rule(rule, **options)}, torch.empty(2, *shape).double())


def parts(found, part):
    return found.table.sel(part=part).to_series().to_dict()


@pytest.mark.parametrize(
    ("make", "shape", "rule"),
    [
        (dense, (12,), "predsim"), (dense, (12,), "auglocal"), (dense, (12,), "pepita"),
        (mlp, (1, 8, 8), "predsim"), (mlp, (1, 8, 8), "auglocal"),
        (retina, (1, 6, 6), "predsim"), (retina, (1, 6, 6), "auglocal"), (retina, (1, 6, 6), "pepita"),
        (vgg, (1, 8, 8), "predsim"), (vgg, (1, 8, 8), "auglocal"),
    ],
)  # fmt: skip
def test_the_account_is_what_a_counter_sees_of_a_local_step(make, shape, rule):
    routed = laid(make, rule, shape)
    assert check(routed, BATCH, shape) == counted(routed, BATCH, shape)


def test_a_head_that_predicts_costs_its_three_products_where_its_unit_ends():
    found = account(laid(dense, "predsim", (12,), loss="pred"), BATCH, (12,), optimisers=1)
    heads = {"1": 20, "3": 16}  # from so many units to 5 classes
    local = parts(found, "local")
    assert {row: local[row] for row in heads} == {row: 3 * 2 * BATCH * units * 5 for row, units in heads.items()}
    assert sum(local.values()) == sum(local[row] for row in heads)
    assert {row: parts(found, "optimiser")[row] for row in heads} == {row: 5 * n + 5 for row, n in heads.items()}
    # No error crosses from one unit to the next, nor to the image.
    assert list(parts(found, "forward").values()) == [PRODUCTS[0], 0, PRODUCTS[1], 0, PRODUCTS[2], 0]
    assert not any(parts(found, "error").values())


def test_a_head_that_matches_similarities_adds_its_layer_and_the_products_of_samples():
    found = account(laid(dense, "predsim", (12,), loss="sim"), BATCH, (12,))
    for row, n in {"1": 20, "3": 16}.items():
        layer = 3 * 2 * BATCH * n * n
        samples = 2 * BATCH * BATCH * n  # the cosines of all pairs, and twice as much for their two gradients
        labels = 2 * BATCH * BATCH * 5
        assert parts(found, "local")[row] == layer + 3 * samples + labels


def test_a_second_pass_costs_another_forward_and_no_error():
    found = account(laid(dense, "pepita", (12,)), BATCH, (12,))
    assert list(parts(found, "forward").values()) == [*(2 * products for products in PRODUCTS), 0]
    assert list(parts(found, "weights").values()) == [*PRODUCTS, 0]
    assert not any(parts(found, "error").values())
    assert parts(found, "feedback") == {"0": 0, "2": 0, "4": 0, "rest": 2 * BATCH * 5 * 12}  # F e
    bp = found.backpropagation()
    assert list(parts(bp, "forward").values()) == [*PRODUCTS, 0]


def test_heads_hold_parameters_with_gradients_and_states_where_their_unit_ends():
    table = memory(laid(dense, "predsim", (12,), loss="pred"), BATCH, (12,)).table
    for row, n in {"1": 20, "3": 16}.items():
        head = 8 * (5 * n + 5)
        kinds = ["parameters", "gradients", "optimiser", "feedback"]
        assert table.sel(layer=row, kind=kinds).values.tolist() == [head, head, 2 * head, 0]


def test_two_passes_keep_the_activities_of_both():
    images, hidden = 12, 20 + 16
    found = memory(laid(dense, "pepita", (12,)), BATCH, (12,))
    # Of the first the images, the activities and the logits, of the second what each layer takes in.
    rest = 8 * BATCH * 5 + 8 * BATCH + 8
    assert found.total(("activations",)) - rest == 8 * BATCH * (2 * images + 2 * hidden + 5)


def test_a_unit_with_a_head_keeps_no_other_units_activations():
    found = memory(laid(dense, "predsim", (12,), loss="pred"), BATCH, (12,))
    assert list(found.units) == ["0", "2", "4"]
    assert found.largest_unit < found.total(("activations",))

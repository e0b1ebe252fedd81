"""What the account says of networks whose costs can be written down by hand."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rfmodel.costs import account, exact_svd, operations, randomised_svd, relative_to_bp
from rfmodel.costs.decomposition import thin_qr
from rfmodel.models import MLP, VGG, ViT
from rfmodel.routing import Routed, make_rule

PASSES = ("forward", "error", "weights", "feedback", "plasticity")
SIZES = [(12, 20), (20, 16), (16, 16), (16, 5)]  # (n, m) of each layer


def on_meta(make, rules, shape):
    with torch.device("meta"):
        return Routed(make(), rules, torch.empty(2, *shape))


def dense(rules, norm=False):
    layers = [part for n, m in SIZES for part in (nn.Linear(n, m), nn.Tanh())]
    return Routed(nn.Sequential(*layers[:-1]), rules, torch.zeros(2, 12))


def parts(found, part):
    return found.table.sel(part=part).values.tolist()


def test_backpropagation_through_dense_layers_costs_three_products_a_weight_and_two_in_the_first():
    found = account(dense({}), 7, (12,))
    products = [2 * 7 * n * m for n, m in SIZES]
    assert parts(found, "forward") == parts(found, "weights") == [*products, 0]
    assert parts(found, "error") == [0, *products[1:], 0]
    assert found.total(("feedback", "plasticity", "svd")) == 0


def test_low_rank_feedback_turns_each_error_into_r_products_a_side():
    r, batch = 3, 7
    found = account(dense({"*": make_rule("ldfa", rank=r)}), batch, (12,))
    assert parts(found, "error") == [0] * 5
    assert parts(found, "feedback") == [0, *(2 * batch * r * (n + m) for n, m in SIZES[1:]), 0]
    # Oja: y delta^T, (P C) P^T and its product with P; P times the mean is a matrix times a vector, which none counts.
    oja = [2 * (batch * r * m + 2 * r * r * m) for _, m in SIZES[1:]]
    assert parts(found, "plasticity") == [0, *oja, 0]


def test_normative_plasticity_costs_its_four_products_whatever_the_batch():
    r = 3
    expected = [2 * (2 * r * m * n + 2 * r * r * (m + n)) for n, m in SIZES[1:]]  # P W, Q W^T, (P P^T) Q, (Q Q^T) P
    for batch in (1, 7):
        found = account(dense({"*": make_rule("ldfa_normative", rank=r)}), batch, (12,))
        assert parts(found, "plasticity") == [0, *expected, 0]


@pytest.mark.parametrize("name", ["dfa", "sparse_dfa", "drtp"])
def test_direct_feedback_costs_one_product_from_the_classes_to_each_site(name):
    found = account(dense({"*": make_rule(name)}), 7, (12,))
    assert parts(found, "error") == parts(found, "plasticity") == [0] * 5
    assert parts(found, "feedback") == [0, *(2 * 7 * 5 * n for n, _ in SIZES[1:]), 0]


@pytest.mark.parametrize("name", ["fa", "usf", "brsf", "frsf", "kolen_pollack"])
def test_full_rank_feedback_costs_what_the_error_cost(name):
    found = account(dense({"*": make_rule(name)}), 7, (12,))
    assert parts(found, "feedback") == parts(account(dense({}), 7, (12,)), "error")
    assert relative_to_bp(found, PASSES) == 1


def test_a_step_of_table_c1s_network_costs_what_its_shapes_say():
    convolutions = [(32, 3, 64), (32, 64, 64), (16, 64, 128), (16, 128, 128)]
    convolutions += [(8, 128, 256), (8, 256, 256), (4, 256, 512), (4, 512, 512)]
    forward = [2 * 128 * side**2 * 9 * n * m for side, n, m in convolutions] + [2 * 128 * 512 * 256, 2 * 128 * 256 * 10]
    found = account(on_meta(VGG, {}, (3, 32, 32)), 128, (3, 32, 32))
    assert parts(found, "forward") == [*forward, 0]
    assert found.total(PASSES) == 3 * sum(forward) - forward[0]


@pytest.mark.parametrize("fused", [True, False])
def test_attention_leaves_its_two_products_forward_and_four_back_to_the_rest(fused):
    tokens, dim, depth, batch = (8 // 4) ** 2 + 1, 8, 3, 7
    routed = on_meta(lambda: ViT(dim, depth, 2, patch=4, size=8, fused_qkv=fused), {"*": make_rule("fa")}, (3, 8, 8))
    rest = account(routed, batch, (3, 8, 8)).table.sel(layer="rest")
    products = 4 * batch * tokens**2 * dim * depth
    assert rest.sel(part="forward") == products
    assert rest.sel(part="error") == 2 * products


def test_what_is_frozen_costs_no_gradient_and_no_update():
    routed = dense({})
    routed.network[2].requires_grad_(False)
    found = account(routed, 7, (12,)).table.sel(layer="2")
    assert found.sel(part="weights") == found.sel(part="optimiser") == 0
    assert found.sel(part="error") == 2 * 7 * 20 * 16
    for layer in (0, 2):
        routed.network[layer].requires_grad_(False)
    assert not account(routed, 7, (12,)).table.sel(layer=["0", "2"], part=["error", "weights"]).any()


@pytest.mark.parametrize("layer", [nn.Linear(6, 8), nn.Conv2d(3, 8, 3, stride=2, padding=2), nn.Conv2d(2, 8, 3)])
def test_a_mirrors_noise_is_what_a_counter_sees_of_it_over_its_interval(layer):
    convolutional = isinstance(layer, nn.Conv2d)
    shape = (1, 9, 7) if convolutional else (6,)
    first = nn.Conv2d(1, layer.in_channels, 1) if convolutional else nn.Linear(6, 6)
    last = [nn.AdaptiveAvgPool2d(1), nn.Flatten()] if convolutional else []
    rule = make_rule("weight_mirror", every=3, samples=11)
    routed = Routed(nn.Sequential(first, layer, *last), {"1": rule}, torch.zeros(2, *shape))
    plain = account(routed, 7, shape)
    with FlopCounterMode(display=False) as count:
        for _ in range(3):
            routed.advance()
    assert plain.total(("plasticity",)) == Fraction(count.get_total_flops(), 3) > 0


@pytest.mark.parametrize(("m", "n"), [(30, 50), (50, 30), (40, 40)])
@pytest.mark.parametrize("iterations", [1, 2])
def test_the_products_of_the_randomised_decomposition_are_what_a_counter_sees(m, n, iterations):
    r = 4
    with FlopCounterMode(display=False) as count:
        torch.svd_lowrank(torch.empty(m, n, device="meta"), q=r, niter=iterations)
    a, b = max(m, n), min(m, n)
    unseen = (1 + iterations) * thin_qr(a, r) + iterations * thin_qr(b, r) + exact_svd(r, b)
    assert randomised_svd(m, n, r, iterations) == count.get_total_flops() + unseen


def test_decompositions_cost_their_known_limits():
    assert exact_svd(9, 9) == 22 * 9**3  # Golub and Reinsch, square
    assert exact_svd(9000, 9) == exact_svd(9, 9000) == 6 * 9000 * 9**2 + 20 * 9**3  # tall: Chan
    assert thin_qr(6, 6) == Fraction(8, 3) * 6**3  # 4/3 n^3 for R and as much for Q
    assert thin_qr(10**6, 1) == pytest.approx(4 * 10**6, rel=1e-6)


@pytest.mark.parametrize("iterations", [0, 2])
def test_decompositions_are_shared_out_over_their_interval(iterations):
    def svd(
        every, qkv="fused", make=lambda: nn.Sequential(nn.Linear(12, 20), nn.Linear(20, 16)), site="1", shape=(12,)
    ):
        options = dict(rank=2, refactor_every=every, svd_iterations=iterations)
        return account(on_meta(make, {site: make_rule("ldfa_normative", **options)}, shape), 7, shape).total(("svd",))

    whole = randomised_svd(16, 20, 2, 2) if iterations else exact_svd(16, 20)
    assert svd(0) == 0
    assert svd(1) == whole
    assert svd(391) == Fraction(whole, 391)


def test_each_part_of_a_fused_layer_is_decomposed_by_itself():
    rule = make_rule("ldfa_normative", rank=2, refactor_every=5)
    routed = on_meta(lambda: ViT(8, 1, 2, patch=4, size=8), {"blocks.0.attn.qkv": rule}, (3, 8, 8))
    assert account(routed, 7, (3, 8, 8)).total(("svd",)) == Fraction(3 * exact_svd(8, 8), 5)


def test_every_parameter_that_gets_a_gradient_is_updated_by_its_own_optimiser():
    routed = dense({"*": make_rule("ldfa", rank=3)})
    found = account(routed, 7, (12,), optimisers=("sgd", 100))
    weights = [operations("sgd") * (n + 1) * m for n, m in SIZES]
    maps = [0] + [100 * 3 * m for _, m in SIZES[1:]]  # P alone learns
    assert parts(found, "optimiser") == [*(w + p for w, p in zip(weights, maps, strict=True)), 0]
    follows = account(dense({"*": make_rule("kolen_pollack")}), 7, (12,), optimisers=(1, 100))
    biases = sum(m for _, m in SIZES)
    assert follows.total(("optimiser",)) == sum(n * m for n, m in SIZES) + biases + sum(n * m for n, m in SIZES[1:])
    fixed = account(dense({"*": make_rule("fa")}), 7, (12,), optimisers=(1, 100))
    assert fixed.total(("optimiser",)) == sum(n * m for n, m in SIZES) + biases


def test_norms_are_updated_with_the_rest():
    routed = on_meta(lambda: MLP((6,), batch_norm=True, channels=1, size=4, classes=3), {}, (1, 4, 4))
    found = account(routed, 7, (1, 4, 4), optimisers=1)
    assert parts(found, "optimiser") == [6 * 17, 3 * 7, 2 * 6]

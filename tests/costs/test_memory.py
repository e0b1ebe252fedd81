"""The memory account: what autograd keeps, what optimisers remember, what lives at once, each by its formula."""

from __future__ import annotations

import pytest
import torch
from networks import mlp, residual, retina, vgg
from torch import nn

from rfmodel.costs import KINDS, against_plain, memory, memory_rows, states
from rfmodel.errors import InputError
from rfmodel.routing import Routed, make_rule

BATCH, DOUBLE, SINGLE, LONG = 6, 8, 4, 8  # feedback maps are drawn in single precision
N, M, C = 12, 20, 5


def dense():
    return nn.Sequential(nn.Linear(N, M), nn.Tanh(), nn.Linear(M, C)).double()


def convolutional():
    parts = [nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*parts, nn.Conv2d(4, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 4, C)).double()


def laid(make, rules, shape, epochs=20):
    torch.manual_seed(0)
    return Routed(make(), rules, torch.zeros(2, *shape).double(), epochs=epochs)


def held(routed, shape, kind, **options):
    return memory(routed, BATCH, shape, **options).table.sel(kind=kind).values.tolist()


LOSS = DOUBLE * BATCH * C + LONG * BATCH + DOUBLE  # its logarithms, the labels, and the sum of their weights


def test_a_dense_network_keeps_its_images_and_what_each_nonlinearity_gives():
    kept = held(laid(dense, {}, (N,)), (N,), "activations")
    assert kept == [DOUBLE * BATCH * (N + M), 0, LOSS]


def test_a_convolutional_network_keeps_what_norms_take_in_and_pools_choose():
    kept = held(laid(convolutional, {}, (2, 8, 8)), (2, 8, 8), "activations")
    maps, pooled = 4 * 8 * 8, 4 * 4 * 4
    norm = DOUBLE * (BATCH * maps + 2 * 4)  # its input, and the batch's mean and spread of each channel
    first = DOUBLE * BATCH * 2 * 8 * 8 + norm + DOUBLE * BATCH * (maps + pooled) + LONG * BATCH * pooled
    assert kept == [first, DOUBLE * BATCH * 3 * 4, 0, LOSS]


def test_a_factored_dense_layer_keeps_its_r_numbers_before_and_after_s():
    r = 3
    plain, factored = (
        held(laid(dense, rules, (N,)), (N,), "activations") for rules in ({}, {"*": make_rule("svd_bp", rank=r)})
    )
    more = DOUBLE * BATCH * 2 * r
    assert factored == [plain[0] + more, more, LOSS]


def test_a_factored_convolution_keeps_its_r_maps_and_its_two_kernels_as_they_are_used():
    def make():
        return nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 4 * 4, C)).double()

    r = 3
    plain, factored = (
        held(laid(make, rules, (2, 6, 6)), (2, 6, 6), "activations")
        for rules in ({}, {"0": make_rule("svd_bp", rank=r)})
    )
    kernels = r * (2 * 3 + 4 * 3)  # V times S, and U laid out anew
    assert factored[0] - plain[0] == DOUBLE * (BATCH * r * 4 * 6 + kernels)


@pytest.mark.parametrize(
    ("make", "size"), [(mlp, 8), (retina, 6), (vgg, 8), (lambda: residual("B"), 8)], ids=["mlp", "retina", "vgg", "res"]
)
@pytest.mark.parametrize("rule", ["bp", "dfa", "ssa", "predsim"])
def test_activations_are_what_autograd_keeps_on_the_processor(make, size, rule):
    routed = laid(make, {} if rule == "bp" else {"*": make_rule(rule)}, (1, size, size)).train()
    own = {t.untyped_storage().data_ptr() for t in (*routed.parameters(), *routed.buffers())}
    kept = []
    images, labels = torch.randn(BATCH, 1, size, size).double(), torch.zeros(BATCH, dtype=torch.long)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t), t)[1], lambda t: t):
        loss = nn.functional.cross_entropy(routed(images, labels), labels)
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept}
    loss.backward()
    expected = sum(size for place, size in storages.items() if place not in own)
    assert memory(routed, BATCH, (1, size, size)).total(("activations",)) == expected


def test_parameters_buffers_gradients_and_states_are_counted_by_layer():
    routed = laid(convolutional, {}, (2, 8, 8))
    network = routed.network
    weights = [sum(p.nbytes for i in places for p in network[i].parameters()) for places in ((0, 1), (4,), (7,))]
    buffers = 2 * 4 * DOUBLE + LONG  # running mean and spread, and how many batches there were
    assert held(routed, (2, 8, 8), "parameters") == [weights[0] + buffers, *weights[1:], 0]
    assert held(routed, (2, 8, 8), "gradients") == [*weights, 0]
    for name, count in (("sgd", 0), ("rmsprop", 1), ("adam", 2), ("amsgrad", 3)):
        assert held(routed, (2, 8, 8), "optimiser", optimisers=name) == [*(count * w for w in weights), 0]
    assert held(routed, (2, 8, 8), "feedback") == [0] * 4


def test_what_is_frozen_has_neither_gradient_nor_state():
    routed = laid(dense, {}, (N,))
    routed.network[0].requires_grad_(False)
    last = DOUBLE * (M * C + C)
    assert held(routed, (N,), "gradients") == [0, last, 0]
    assert held(routed, (N,), "optimiser") == [0, 2 * last, 0]
    assert held(routed, (N,), "activations") == [DOUBLE * BATCH * M, 0, LOSS]  # the images are of no use then


def test_feedback_is_held_learnt_or_not_and_only_learnt_maps_have_gradients():
    fixed, learnt = (laid(dense, {"*": make_rule(name, **o)}, (N,)) for name, o in (("dfa", {}), ("ldfa", {"rank": 2})))
    for routed in (fixed, learnt):
        maps = sum(t.nbytes for f in routed.maps.values() for t in (*f.parameters(), *f.buffers()))
        assert memory(routed, BATCH, (N,)).total(("feedback",)) == maps > SINGLE * 2 * C
    weights = DOUBLE * (N * M + M + M * C + C)
    assert memory(fixed, BATCH, (N,)).total(("gradients",)) == weights
    found = memory(learnt, BATCH, (N,), optimisers=("sgd", "adam"))
    assert found.total(("gradients",)) == weights + SINGLE * 2 * C  # P alone learns
    assert found.total(("optimiser",)) == 2 * SINGLE * 2 * C


def test_factors_and_their_feedback_factors_are_counted_with_their_layer():
    r = 3
    found = memory(laid(dense, {"*": make_rule("ssa", rank=r)}, (N,)), BATCH, (N,)).table
    sizes = [(N, M), (M, C)]
    factors = [DOUBLE * r * (n + m + 1) for n, m in sizes]  # SSA, eqs. 13 and 15, S being diagonal
    parameters = [own + DOUBLE * m for own, (_, m) in zip(factors, sizes, strict=True)]
    assert found.sel(kind="parameters", layer=["0", "2"]).values.tolist() == parameters
    assert all(found.sel(kind="feedback", layer=["0", "2"]).values >= factors)  # B_U, B_S, B_V, and what delivers


def test_units_part_where_the_graph_is_cut():
    bp, dfa = (memory(laid(dense, rules, (N,)), BATCH, (N,)) for rules in ({}, {"*": make_rule("dfa")}))
    first, second = DOUBLE * BATCH * (N + M), DOUBLE * BATCH * M
    assert bp.units == {"0": first} and bp.largest_unit == bp.total(("activations",)) - LOSS
    # The second unit keeps what it takes in, which is the first one's output: each would hold it by itself.
    assert dfa.units == {"0": first, "2": second} and dfa.largest_unit == first
    drtp = memory(laid(dense, {"*": make_rule("drtp")}, (N,)), BATCH, (N,))
    assert drtp.units == dfa.units  # the labels that it delivers are no unit's


def test_inference_holds_all_parameters_and_the_most_that_lives_at_once():
    found = memory(laid(dense, {}, (N,)), BATCH, (N,))
    parameters = DOUBLE * (N * M + M + M * C + C)
    # The images stay; beside them a product and what the nonlinearity makes of it, then that and the logits.
    lives = [DOUBLE * BATCH * (N + 2 * M), DOUBLE * BATCH * (N + M + C)]
    assert found.inference_table.sel(kind="activations").values.tolist() == [*lives, 0]
    assert found.total_inference() == parameters + lives[0]


def test_a_skip_lives_beside_what_it_goes_round():
    class Around(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(N, N)

        def forward(self, x):
            return x + self.layer(x)

    routed = laid(lambda: nn.Sequential(Around(), Around()).double(), {}, (N,))
    # In the second block: images, its input, its product and its sum.
    assert memory(routed, BATCH, (N,)).inference["1.layer", "activations"] == DOUBLE * BATCH * 4 * N


@pytest.mark.parametrize("rule", ["ssa", "svd_bp", "dfa"])
def test_backpropagation_beside_a_rule_is_that_of_the_plain_network(rule):
    plain = memory(laid(mlp, {}, (1, 8, 8)), BATCH, (1, 8, 8))
    bp = memory(laid(mlp, {"*": make_rule(rule)}, (1, 8, 8)), BATCH, (1, 8, 8)).backpropagation()
    assert bp.table.identical(plain.table) and bp.inference_table.identical(plain.inference_table)


def test_memory_at_other_ranks_is_that_of_a_network_which_starts_with_them():
    full, half = (laid(mlp, {"*": make_rule("ssa", rank=rank)}, (1, 8, 8)) for rank in (1.0, 0.5))
    found, expected = memory(full, BATCH, (1, 8, 8), ranks=0.5), memory(half, BATCH, (1, 8, 8))
    assert found.table.identical(expected.table) and found.inference_table.identical(expected.inference_table)


def test_a_table_beside_the_plain_network_has_the_totals_of_both():
    routed = laid(mlp, {"*": make_rule("svd_bp")}, (1, 8, 8))
    found = against_plain(routed, BATCH, (1, 8, 8), "amsgrad", ranks=0.3)
    own = memory(routed, BATCH, (1, 8, 8), "amsgrad", ranks=0.3)
    both = (own, own.backpropagation())
    assert found.training_bytes_total.values.tolist() == [side.total() for side in both]
    assert found.training_bytes.sum("layer").values.tolist() == [side.total() for side in both]
    assert found.inference_bytes_total.values.tolist() == [side.total_inference() for side in both]


def test_an_account_leaves_the_network_and_its_gradients_as_they_were():
    routed = laid(mlp, {"*": make_rule("ssa")}, (1, 8, 8)).eval()
    state = {name: tensor.clone() for name, tensor in routed.state_dict().items()}
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in routed.modules()]
    memory(routed, BATCH, (1, 8, 8))
    torch.testing.assert_close(dict(routed.state_dict()), state, rtol=0, atol=0, equal_nan=True)
    assert not any(module.training for module in routed.modules())
    assert all(p.grad is None for p in routed.parameters())
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in routed.modules()] == hooks


def test_rows_are_in_mb_with_their_ratio_to_the_plain_network():
    account = memory(laid(dense, {}, (N,)), BATCH, (N,))
    *layers, total = memory_rows(account)
    assert [row["layer"] for row in layers] == ["0", "2", "rest"]
    assert sum(total[kind] for kind in KINDS) == pytest.approx(account.total() / 1e6) == total["total"]
    assert total["of BP"] == total["of BP's"] == layers[0]["of BP"] == 1
    assert total["inference"] == account.total_inference() / 1e6


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("sgd", torch.optim.SGD, {}),
        ("sgd", torch.optim.SGD, {"momentum": 0.9}),
        ("rmsprop", torch.optim.RMSprop, {}),
        ("rmsprop", torch.optim.RMSprop, {"momentum": 0.5, "centered": True}),
        ("adam", torch.optim.Adam, {}),
        ("adam", torch.optim.Adam, {"amsgrad": True}),
        ("adamw", torch.optim.AdamW, {}),
        ("adamw", torch.optim.AdamW, {"amsgrad": True}),
    ],
)
def test_states_are_what_the_optimiser_remembers(name, kind, options):
    parameter = nn.Parameter(torch.ones(11))
    parameter.grad = torch.ones(11)
    optimiser = kind([parameter], lr=0.1, **options)
    optimiser.step()
    remembered = [t for t in optimiser.state[parameter].values() if isinstance(t, torch.Tensor) and t.numel() == 11]
    assert states(name, options) == len(remembered)


def test_impossible_requests_are_refused():
    routed = laid(dense, {}, (N,))
    with pytest.raises(InputError, match="batch 0 is impossible; use a whole number from 1"):
        memory(routed, 0, (N,))
    with pytest.raises(InputError, match="batch 2.5 is impossible"):
        against_plain(routed, 2.5, (N,))
    with pytest.raises(InputError, match="optimiser 'lion' is unknown"):
        memory(routed, 2, (N,), "lion")
    with pytest.raises(InputError, match="optimiser -1 is no count of states"):
        memory(routed, 2, (N,), -1)
    with pytest.raises(InputError, match=r"shapes of 2 images of \(13,\) fails"):
        memory(routed, 2, (13,))
    with pytest.raises(InputError, match="kind 'activation' is unknown: .* did you mean 'activations'"):
        memory(routed, 2, (N,)).total(("activation",))
    with pytest.raises(InputError, match="ranks 0.5 asked, and no layer of the network is factored"):
        memory(routed, 2, (N,), ranks=0.5)

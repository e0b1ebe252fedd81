"""Rank: a number, a fraction of the width, a list by layer, or a schedule over epochs; and the scale at every rank."""

from __future__ import annotations

import math

import pytest
import torch
from networks import (
    CROSS_ENTROPY,
    batch,
    everywhere,
    images_of_eight,
    into,
    perceptron,
    retina,
    routed,
    transformer,
)
from torch import nn

from rfmodel.errors import InputError
from rfmodel.routing import Linear, LowRank, Routed, make_rule


@pytest.mark.parametrize("rank", [1, 4, 32])
def test_low_rank_feedback_starts_with_the_spread_of_the_weights_at_every_rank(rank):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 300), nn.ReLU(), nn.Linear(300, 200))
    model = routed(network, into("2", "ldfa", rank=rank), torch.zeros(2, 3))
    (feedback,) = model.feedback.values()
    ratio = feedback.effective().std() / network[2].weight.detach().std()
    assert abs(float(ratio) - 1) < 4 / math.sqrt(200 * rank)  # four standard errors of P's norm, the coarser factor


@pytest.mark.parametrize("rule", ["ldfa", "ldfa_normative", "dldfa"])
@pytest.mark.parametrize("rank", [1, 4, 0.1, 0.5])
def test_low_rank_feedback_along_a_convolution_starts_with_the_spread_of_its_plan(rank, rule):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 40, 3), nn.ReLU(), nn.Conv2d(40, 80, 3, padding=1), nn.ReLU(), nn.Flatten())
    options = {"source": "3"} if rule == "dldfa" else {}
    model = routed(network, into("2", rule, rank=rank, **options), torch.zeros(2, 1, 8, 8))
    (feedback,) = model.maps.values()
    assert feedback.rank == (rank if rank >= 1 else rank * 80)
    # away from a layer's own weight: torch's default law, for the 80 x 9 terms that the adjoint adds up
    std = network[2].weight.detach().std() if rule != "dldfa" else 1 / math.sqrt(3 * 80 * 9)
    ratio = float(feedback.effective().std() / std)
    assert abs(ratio - 1) < 4 / math.sqrt(80 * feedback.rank)


def test_rows_of_p_and_q_are_bounded_as_at_initialisation():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 300), nn.ReLU(), nn.Linear(300, 200))
    model = routed(network, into("2", "ldfa", rank=16), torch.zeros(2, 3))
    (feedback,) = model.maps.values()
    std = float(network[2].weight.detach().std())
    assert 0.24 < float(feedback.P.detach().abs().max()) <= 1 / math.sqrt(16)
    assert 0.99 * 3 * std < float(feedback.Q.detach().abs().max()) <= 3 * std * (1 + 1e-6)


def test_an_orthonormal_projection_has_the_gain_of_its_rank():
    # once Oja has made P orthonormal, std(QP) / std(W) = sqrt(3 r / m)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 300), nn.ReLU(), nn.Linear(300, 200))
    model = routed(network, into("2", "ldfa", rank=20), torch.zeros(2, 3))
    (feedback,) = model.maps.values()
    feedback.P.data.copy_(torch.linalg.qr(feedback.P.data.T).Q.T)
    ratio = float(feedback.effective().std() / network[2].weight.detach().std())
    assert ratio == pytest.approx(math.sqrt(3 * 20 / 200), rel=4 / math.sqrt(300 * 20))


def test_a_fraction_is_one_of_the_errors_channels():
    images, _ = batch((1, 6, 6), 5)
    model = routed(retina(), everywhere("ldfa", rank=0.5), images)
    assert [f.rank for f in model.maps.values()] == [max(1, round(f.geometry.m / 2)) for f in model.maps.values()]
    small = routed(retina(), everywhere("ldfa", rank=0.01), images)
    assert {f.rank for f in small.maps.values()} == {1}


def test_a_list_gives_each_edge_its_rank_in_the_order_in_which_sites_fire():
    images, _ = batch((7,), 3)
    model = routed(perceptron(), everywhere("ldfa", rank=[4, 0.5, 1]), images)
    assert {edge.target.module: f.rank for edge, f in model.maps.items()} == {"two": 4, "three": 2, "out": 1}


@pytest.mark.parametrize("ranks", [[2, 2], [1, 1, 1, 1]])
def test_a_list_of_another_length_is_refused(ranks):
    with pytest.raises(
        InputError, match=rf"is a list of {len(ranks)}, and the rule has 3 edges; give one rank an edge"
    ):
        routed(perceptron(), everywhere("ldfa", rank=ranks), batch((7,), 3)[0])


def test_a_list_over_a_partition_is_each_parts_own():
    images, _ = batch((7,), 3)
    model = routed(perceptron(), into("two", "ldfa", rank=[3]) | into("t*", "ldfa", rank=[2]), images)
    assert {edge.target.module: f.rank for edge, f in model.maps.items()} == {"two": 3, "three": 2}


@pytest.mark.parametrize(
    ("qkv", "rank", "expected"), [("each", 2, 6), ("fused", 2, 6), ("shared", 2, 2), ("each", 0.25, 6)]
)
def test_queries_keys_and_values_made_in_one_have_the_rank_of_three(qkv, rank, expected):
    images, _ = images_of_eight()
    model = routed(transformer(), {"*.qkv": make_rule("ldfa", rank=rank, qkv=qkv)}, images)
    assert [feedback.rank for feedback in model.maps.values()] == [expected] * 2
    for feedback in model.maps.values():
        B = feedback.effective()
        assert torch.linalg.matrix_rank(B) == expected
        if qkv == "each":  # three maps of the rank, as three layers have
            assert [int(torch.linalg.matrix_rank(part)) for part in B.chunk(3)] == [expected // 3] * 3


def test_each_of_three_parts_learns_as_a_layer_of_its_own():
    images, labels = images_of_eight()
    fused, separate = transformer(depth=1), transformer(fused=False, depth=1)
    state = fused.state_dict()
    own = {}
    for name, value in state.items():
        if ".qkv." in name:
            own |= {name.replace("qkv", part): v for part, v in zip("qkv", value.chunk(3), strict=True)}
        else:
            own[name] = value
    separate.load_state_dict(own)
    options = {"rank": 2, "q": "hebbian", "decay": 0.1}
    one = routed(fused, {"blocks.0.attn.qkv": make_rule("ldfa", **options)}, images)
    three = routed(separate, {f"blocks.0.attn.{part}": make_rule("ldfa", **options) for part in "qkv"}, images)
    (feedback,) = one.maps.values()
    for part, other in zip(feedback.parts, three.maps.values(), strict=True):
        other.load_state_dict(part.state_dict())
    for model in (one, three):
        CROSS_ENTROPY(model(images, labels), labels).backward()
    for part, other in zip(feedback.parts, three.maps.values(), strict=True):
        torch.testing.assert_close(part.Q.grad, other.Q.grad, rtol=1e-9, atol=1e-14)
        torch.testing.assert_close(part.P.grad, other.P.grad, rtol=1e-9, atol=1e-12)
    a, b = one.network, three.network
    torch.testing.assert_close(a.patch_embed.proj.weight.grad, b.patch_embed.proj.weight.grad, rtol=1e-9, atol=1e-14)


def scheduled(rule="ldfa", rank=4, **options):
    images, labels = batch((7,), 3)
    model = routed(perceptron(), into("three", rule, rank=rank, schedule=[[3, 2], [5, 3]], **options), images)
    (feedback,) = model.maps.values()
    return model, feedback, images, labels


def test_the_schedules_rank_is_in_force_from_its_epoch():
    model, feedback, *_ = scheduled()
    found = []
    for epoch in range(1, 8):
        model.start_epoch(epoch)
        found.append((feedback.rank, int(torch.linalg.matrix_rank(feedback.effective()))))
    assert found == [(4, 4)] * 2 + [(2, 2)] * 2 + [(3, 3)] * 3


def test_a_lower_rank_keeps_the_best_approximation_of_the_map():
    model, feedback, *_ = scheduled()
    U, S, Vh = torch.linalg.svd(feedback.effective())
    model.start_epoch(3)
    torch.testing.assert_close(feedback.effective(), (U[:, :2] * S[:2]) @ Vh[:2], rtol=1e-9, atol=1e-12)


def test_a_higher_rank_keeps_the_map_and_adds_rows_of_its_spread():
    model, feedback, *_ = scheduled()
    model.start_epoch(3)
    Q, P = feedback.Q.data[:2].clone(), feedback.P.data[:2].clone()
    model.start_epoch(5)
    assert torch.equal(feedback.Q.data[:2], Q)
    assert torch.equal(feedback.P.data[:2], P)
    assert 0 < float(feedback.P.data[2].abs().max()) <= 1 / math.sqrt(3)
    assert 0 < float(feedback.Q.data[2].abs().max()) <= 3 * feedback.std


def test_teaching_signals_and_updates_stay_within_the_rank_in_force():
    model, feedback, images, labels = scheduled(q="hebbian", decay=0.1)
    optimiser = torch.optim.Adam(model.feedback_parameters(), lr=0.01)
    for epoch, rank in ((1, 4), (3, 2), (5, 3)):
        model.start_epoch(epoch, [optimiser])
        for _ in range(3):
            optimiser.zero_grad()
            CROSS_ENTROPY(model(images, labels), labels).backward()
            assert not feedback.P.grad[rank:].any()
            assert not feedback.Q.grad[rank:].any()
            assert feedback.P.grad[:rank].any(dim=1).all()
            optimiser.step()
        for delta in model.teaching_signals(images, labels).values():
            assert torch.linalg.matrix_rank(delta) <= rank


def test_a_change_of_rank_clears_the_moments_and_only_those():
    model, feedback, images, labels = scheduled(q="hebbian")
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    CROSS_ENTROPY(model(images, labels), labels).backward()
    optimiser.step()
    model.start_epoch(2, [optimiser])
    assert optimiser.state[feedback.P]["exp_avg"].any()
    model.start_epoch(3, [optimiser])
    for factor in (feedback.P, feedback.Q):
        assert not optimiser.state[factor]["exp_avg"].any()
        assert not optimiser.state[factor]["exp_avg_sq"].any()
    assert optimiser.state[model.network.one.weight]["exp_avg"].any()


def test_a_normative_map_reaches_the_best_approximation_of_the_rank_in_force():
    model, feedback, *_ = scheduled("ldfa_normative", refactor_every=1)
    W = model.network.three.weight.data
    for epoch, rank in ((1, 4), (3, 2), (5, 3)):
        model.start_epoch(epoch)
        model.advance()
        best = torch.linalg.svdvals(W)[rank:].square().sum()
        torch.testing.assert_close((W - feedback.effective()).square().sum(), best, rtol=1e-9, atol=1e-20)


def test_a_file_restores_the_rank_in_force():
    model, feedback, images, labels = scheduled()
    model.start_epoch(4)
    restored, other, *_ = scheduled()
    restored.load_state_dict(model.state_dict())
    assert other.rank == 2
    assert torch.equal(other.effective(), feedback.effective())
    for one in (model, restored):
        one.start_epoch(5)
    assert torch.equal(other.effective(), feedback.effective())


def test_a_schedule_holds_for_all_three_parts_of_a_fused_layer_and_their_new_rows_differ():
    images, _ = images_of_eight()
    options = {"rank": 1, "schedule": [[2, 2]]}
    model = routed(transformer(depth=1), {"*.qkv": make_rule("ldfa", **options)}, images)
    (feedback,) = model.maps.values()
    assert feedback.rank == 3
    model.start_epoch(2)
    assert feedback.rank == 6
    rows = [part.P.data[1] for part in feedback.parts]
    assert not any(torch.equal(a, b) for i, a in enumerate(rows) for b in rows[:i])


def test_a_fraction_in_a_schedule_is_one_of_the_width():
    images, _ = batch((7,), 3)
    model = routed(perceptron(), everywhere("ldfa", rank=3, schedule=[[2, 0.5]]), images)
    model.start_epoch(2)
    assert [f.rank for f in model.maps.values()] == [round(0.5 * m) for m in (5, 4, 3)]


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (5, "schedule 5 of rule 'ldfa' cannot be read; give pairs of epoch and rank"),
        ([5], r"schedule \[5\] of rule 'ldfa' cannot be read"),
        ([[0, 2]], r"schedule \[\[0, 2\]\] of rule 'ldfa' cannot be read"),
        ([[2, 0]], "rank 0 of rule 'ldfa' is impossible"),
        ([[1.5, 2]], r"schedule \[\[1.5, 2\]\] of rule 'ldfa' cannot be read"),
    ],
)
def test_a_schedule_that_is_none(schedule, message):
    with pytest.raises(InputError, match=message):
        make_rule("ldfa", rank=2, schedule=schedule)


def test_a_schedule_whose_rank_is_impossible_on_an_edge_is_refused_before_training():
    with pytest.raises(
        InputError, match="rank 5 is impossible on 'out.output->out.input': the error there has 3 channels"
    ):
        Routed(perceptron().float(), into("out", "ldfa", rank=2, schedule=[[4, 5]]), torch.zeros(2, 7))


def test_a_low_rank_map_made_by_hand_checks_its_rank():
    with pytest.raises(InputError, match="rank 5 is impossible: the map is 4 x 6; use 1 to 4"):
        LowRank(Linear(4, 6), 0.1, torch.Generator(), rank=5)

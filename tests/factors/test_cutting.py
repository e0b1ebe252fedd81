"""Cuts of a rank: the best approximation, whatever state the factors are in."""

from __future__ import annotations

import pytest
import torch
from drifting import conv_of, drifted, layer_of, shuffled
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rfmodel.errors import InputError
from rfmodel.factors import FactoredLinear, cut, spectrum
from rfmodel.factors.cutting import nearest_columns
from rfmodel.factors.stiefel import drift

ROUNDING = {"rtol": 0, "atol": 1e-12}  # float64, entries of order one
STATES = {
    "as decomposed": lambda layer: layer,
    "unsorted and of either sign": shuffled,
    "drifted": drifted,
    "drifted, unsorted and of either sign": lambda layer: drifted(shuffled(layer)),
    "far from orthonormal": lambda layer: drifted(layer, by=2.0),
}


def best(matrix, rank):
    U, S, Vh = torch.linalg.svd(matrix, full_matrices=False)
    return U[:, :rank] * S[:rank] @ Vh[:rank]


@pytest.mark.parametrize("rank", [1, 3, 6])
@pytest.mark.parametrize("make", [layer_of, conv_of])
@pytest.mark.parametrize("state", STATES)
def test_a_cut_is_the_best_approximation_with_orthonormal_bases(state, make, rank):
    layer = STATES[state](make())
    before, sigma = layer.matrix().detach(), torch.linalg.svdvals(layer.matrix().detach())
    kept = cut(layer, rank)
    assert layer.rank == rank and kept.shape == (rank,) and (kept.diff() > 0).all()
    torch.testing.assert_close(layer.matrix(), best(before, rank), **ROUNDING)
    error = (layer.matrix() - before).square().sum()
    torch.testing.assert_close(error, sigma[rank:].square().sum(), **ROUNDING)  # Eckart & Young
    assert drift(layer.U) < 1e-12 and drift(layer.V) < 1e-12 and (layer.S >= 0).all()
    torch.testing.assert_close(layer.S.sort(descending=True).values, sigma[:rank], **ROUNDING)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.integers(1, 6), st.integers(1, 6), st.floats(0, 1), st.integers(0, 9), st.data())
def test_a_cut_of_any_layer_is_the_best_approximation(m, n, by, seed, data):
    torch.manual_seed(seed)
    layer = FactoredLinear.of(nn.Linear(n, m).double())
    with torch.no_grad():
        layer.S[data.draw(st.integers(0, layer.rank - 1))] = data.draw(st.sampled_from([0.0, 1.0, -1.0]))
    drifted(shuffled(layer, seed), by, seed)
    rank = data.draw(st.integers(1, layer.rank))
    before, old_U = layer.matrix().detach(), layer.U.detach().clone()
    sigma = torch.linalg.svdvals(before)
    torch.testing.assert_close(spectrum(layer), sigma[: layer.rank], **ROUNDING)
    kept = cut(layer, rank)
    error = (layer.matrix() - before).square().sum()
    torch.testing.assert_close(error, sigma[rank:].square().sum(), rtol=0, atol=1e-11)
    assert drift(layer.U) < 1e-12 and drift(layer.V) < 1e-12 and (layer.S >= 0).all()
    assert (kept.diff() > 0).all() and ((layer.U * old_U[:, kept]).sum(0) > -1e-12).all()


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("make", [layer_of, conv_of])
def test_the_spectrum_is_the_matrix_singular_values(state, make):
    layer = STATES[state](make())
    torch.testing.assert_close(spectrum(layer), torch.linalg.svdvals(layer.matrix())[: layer.rank], **ROUNDING)


def test_with_orthonormal_bases_a_cut_keeps_columns_bit_for_bit_in_their_order():
    layer = shuffled(layer_of())
    U, S, V = (p.detach().clone() for p in (layer.U, layer.S, layer.V))
    kept = cut(layer, 4)
    assert kept.tolist() == sorted(S.abs().argsort(descending=True)[:4].tolist())
    assert torch.equal(layer.U, U[:, kept]) and torch.equal(layer.S, S[kept].abs())
    assert torch.equal(layer.V, V[:, kept] * S[kept].sign())


def test_drifted_directions_keep_their_place_and_sign():
    layer, exact = drifted(shuffled(layer_of()), by=1e-4), shuffled(layer_of())
    columns = layer.U.detach().clone()
    kept = cut(layer, 4)
    assert kept.tolist() == cut(exact, 4).tolist()
    # singular values 0.1 apart turn by a drift of 1e-4 through less than a hundredth
    torch.testing.assert_close((layer.U * columns[:, kept]).sum(0), torch.ones(4).double(), rtol=0, atol=1e-2)


def test_of_equal_singular_values_the_first_stay():
    layer = layer_of()
    with torch.no_grad():
        layer.S.fill_(2.0)
    assert cut(layer, 4).tolist() == [0, 1, 2, 3]


def test_a_cut_to_the_present_rank_makes_the_bases_orthonormal_and_leaves_the_matrix():
    layer = drifted(shuffled(layer_of()))
    before = layer.matrix().detach()
    assert cut(layer, 6).tolist() == list(range(6))
    torch.testing.assert_close(layer.matrix(), before, **ROUNDING)
    assert drift(layer.U) < 1e-12 and drift(layer.V) < 1e-12


@pytest.mark.parametrize("empty", ["U", "S", "V"])
def test_directions_that_are_nothing_are_the_first_to_go(empty):
    layer = layer_of()
    with torch.no_grad():
        getattr(layer, empty)[..., 1:3] = 0.0
    before = layer.matrix().detach()
    assert cut(layer, 4).tolist() == [0, 3, 4, 5]
    torch.testing.assert_close(layer.matrix(), before, **ROUNDING)


def test_a_zero_matrix_can_be_cut():
    layer = layer_of()
    with torch.no_grad():
        layer.U.zero_()
    cut(layer, 2)
    assert not layer.matrix().any() and drift(layer.U) < 1e-12


@pytest.mark.parametrize("make", [layer_of, conv_of])
def test_memory_falls_and_the_parameters_stay_the_same_objects(make):
    layer = make()
    parameters = {name: getattr(layer, name) for name in "USV"}
    layer.matrix().sum().backward()
    cut(layer, 2)
    for name, p in parameters.items():
        assert getattr(layer, name) is p and p.grad is None and p.is_contiguous() and p.requires_grad
        assert p.untyped_storage().nbytes() == p.numel() * p.element_size()
    assert parameters["U"].shape == (8, 2)


def test_half_precision_is_cut_by_the_decomposition_and_keeps_its_type():
    layer = layer_of().to(torch.bfloat16)
    before = layer.matrix().detach().double()
    cut(layer, 3)
    assert layer.U.dtype == layer.S.dtype == torch.bfloat16
    # bfloat16 rounds by 2^-9 at most; three factors of entries below one
    assert (layer.matrix().double() - best(before, 3)).norm() < 6 * 2**-8 * before.norm()


def test_half_precision_that_drifted_is_made_orthonormal_too():
    layer = drifted(layer_of(), by=0.3).to(torch.bfloat16)
    cut(layer, 4)
    assert drift(layer.U.double()) < 4 * 2**-8  # what rounding leaves of four columns of length one


def test_single_precision_as_it_is_decomposed_counts_as_orthonormal():
    torch.manual_seed(0)
    layer = FactoredLinear.of(nn.Linear(200, 150))
    columns = layer.U.detach().clone()
    kept = cut(layer, 90)
    assert torch.equal(layer.U, columns[:, :90]) and kept.tolist() == list(range(90))


@pytest.mark.parametrize("rank", [0, 7, -1, 2.0, True, None])
def test_ranks_outside_one_to_the_present_are_refused(rank):
    layer = layer_of()
    with pytest.raises(InputError, match=f"rank {rank!r} is no cut of a layer of rank 6; use 1 to 6"):
        cut(layer, rank)
    assert layer.rank == 6


@pytest.mark.parametrize("ask", [spectrum, lambda layer: cut(layer, 2)], ids=["spectrum", "cut"])
@pytest.mark.parametrize("name", ["U", "S", "V"])
def test_factors_that_are_not_finite_are_refused(name, ask):
    layer = layer_of()
    with torch.no_grad():
        getattr(layer, name)[..., 0] = float("nan")
    with pytest.raises(InputError, match=f"{name} of a layer of rank 6 has entries that are not finite"):
        ask(layer)


def test_a_layer_without_values_has_no_spectrum():
    layer = FactoredLinear.of(nn.Linear(4, 3, device="meta"))
    with pytest.raises(InputError, match="U of a layer of rank 3 has no values, on the meta device"):
        cut(layer, 2)


def test_rows_get_columns_of_their_own_the_greatest_overlaps_first():
    overlap = torch.tensor([[0.9, 0.8, 0.0], [0.95, 0.1, 0.0]])
    assert nearest_columns(overlap).tolist() == [1, 0]
    assert nearest_columns(torch.zeros(3, 5)).unique().numel() == 3  # no overlap at all
    torch.manual_seed(0)
    order = torch.randperm(7)
    assert torch.equal(nearest_columns(torch.eye(7)[order] + 0.1 * torch.rand(7, 7)), order)


def test_a_graph_of_an_earlier_step_does_not_keep_the_old_shapes_alive():
    torch.manual_seed(0)
    layer = FactoredLinear.of(nn.Linear(5, 4))
    images = torch.randn(3, 5)
    loss = layer(images).square().sum()  # held, and with it what adds up the factors' gradients
    loss.backward()
    cut(layer, 2)
    again = layer(images).square().sum()
    again.backward()
    assert layer.U.grad.shape == layer.U.shape == (4, 2)
    del loss

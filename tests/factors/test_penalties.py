"""Local losses: their values where mathematics knows them, and their closed gradients against autograd."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rfmodel.errors import InputError
from rfmodel.factors import FactoredConv2d, FactoredLinear
from rfmodel.factors.penalties import (
    alignment,
    cosine,
    cosine_gradient,
    hoyer,
    hoyer_gradient,
    orthogonality,
    orthogonality_gradient,
)

ROUNDING = {"rtol": 0, "atol": 1e-12}  # float64, entries of order one
EPSILONS = [0.0, 1e-3, 0.5]


def draw(*shape, seed=0):
    torch.manual_seed(seed)
    return torch.randn(*shape).double()


def by_autograd(loss, *at):
    inputs = [x.clone().requires_grad_() for x in at]
    loss(*inputs).backward()
    return [x.grad for x in inputs]


@pytest.mark.parametrize("rank", [1, 3, None])
@pytest.mark.parametrize("plain", [nn.Linear(9, 7), nn.Conv2d(3, 4, (3, 2))], ids=["linear", "conv"])
def test_at_initialisation_bases_are_orthonormal_and_hoyer_between_one_and_the_root_of_the_rank(plain, rank):
    layer = (FactoredLinear if isinstance(plain, nn.Linear) else FactoredConv2d).of(plain.double(), rank)
    assert orthogonality(layer.U, layer.V) < 1e-26  # squares of rounding
    assert 1 - 1e-12 <= hoyer(layer.S) <= math.sqrt(layer.rank) + 1e-12


def test_orthogonality_is_equation_10():
    U, V = draw(7, 3), draw(5, 3, seed=1)
    literal = sum((float(M[:, i] @ M[:, j]) - (i == j)) ** 2 for M in (U, V) for i in range(3) for j in range(3))
    assert float(orthogonality(U, V)) == pytest.approx(literal, rel=1e-12)


def test_orthogonality_gradients_are_autograds():
    U, V = draw(7, 3), draw(5, 3, seed=1)
    grad_U, grad_V = by_autograd(orthogonality, U, V)
    torch.testing.assert_close(orthogonality_gradient(U), grad_U)
    torch.testing.assert_close(orthogonality_gradient(V), grad_V)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.lists(st.floats(-100, 100).filter(lambda x: x == 0 or abs(x) > 1e-6), min_size=1, max_size=9))
def test_hoyer_has_bounds_whatever_its_values(values):
    # the papers call it unbounded; Cauchy and Schwarz bound it
    S = torch.tensor(values).double()
    ratio = float(hoyer(S))
    assert ratio == 0 if not S.any() else 1 - 1e-12 <= ratio <= math.sqrt(len(values)) + 1e-12


def test_hoyer_is_one_for_a_single_value_and_the_root_of_the_rank_for_equal_ones():
    assert float(hoyer(torch.tensor([0.0, -3.0, 0.0]).double())) == 1
    assert float(hoyer(torch.full((9,), 0.3).double())) == pytest.approx(3, rel=1e-14)


def test_smoothed_hoyer_is_equation_71_and_has_its_own_bound():
    S, epsilon = draw(5), 0.5
    literal = sum(math.sqrt(s * s + 0.25) for s in S.tolist()) / math.sqrt(sum(s * s for s in S.tolist()))
    assert float(hoyer(S, epsilon)) == pytest.approx(literal, rel=1e-14)
    assert hoyer(S) < hoyer(S, epsilon) <= (5 * (1 + 5 * epsilon**2 / S.square().sum())).sqrt()
    assert float(hoyer(S, 1e-9)) == pytest.approx(float(hoyer(S)), rel=1e-8)


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("zeros", [0, 2])
def test_the_hoyer_gradient_is_autograds(epsilon, zeros):
    S = draw(6)
    S[:zeros] = 0
    torch.testing.assert_close(hoyer_gradient(S, epsilon), by_autograd(lambda S: hoyer(S, epsilon), S)[0])


def test_the_hoyer_gradient_turns_and_never_stretches():
    S = draw(6)
    assert abs(float(S @ hoyer_gradient(S))) < 1e-14  # the ratio does not depend on scale


def test_hoyers_own_descent_makes_the_values_fewer():
    S = draw(6).abs() + 0.1
    assert hoyer(S - 1e-3 * hoyer_gradient(S)) < hoyer(S)


@pytest.mark.parametrize("epsilon", EPSILONS)
def test_hoyer_of_nothing_is_nothing_and_has_no_gradient(epsilon):
    S = torch.zeros(4).double()
    assert hoyer(S, epsilon) == 0
    assert not hoyer_gradient(S, epsilon).any() and not by_autograd(lambda S: hoyer(S, epsilon), S)[0].any()


def test_alignment_is_equation_9():
    U, S, V = draw(7, 3), draw(3), draw(5, 3)
    B_U, B_S, B_V = draw(7, 3, seed=1), draw(3, seed=2), draw(5, 3, seed=3)
    distance = ((U - B_U) ** 2).sum() + ((S - B_S) ** 2).sum() + ((V - B_V) ** 2).sum()
    torch.testing.assert_close(alignment(U, S, V, B_U, B_S, B_V), distance)
    assert alignment(U, S, V, U, S, V) == 0
    grads = by_autograd(alignment, U, S, V, B_U, B_S, B_V)
    torch.testing.assert_close(grads[0], 2 * (U - B_U))
    torch.testing.assert_close(grads[4], -2 * (S - B_S))


def test_cosine_is_equation_8_by_sample():
    h, s = draw(4, 6), draw(4, 6, seed=1)
    literal = sum(1 - float(x @ y) / math.sqrt(float(x @ x) * float(y @ y)) for x, y in zip(h, s, strict=True)) / 4
    assert float(cosine(h, s)) == pytest.approx(literal, rel=1e-14)
    maps = h.reshape(4, 2, 3, 1), s.reshape(4, 2, 3, 1)
    assert float(cosine(*maps)) == pytest.approx(literal, rel=1e-14)
    assert float(cosine(h, 3 * h)) == pytest.approx(0, abs=1e-14)
    assert float(cosine(h, -0.1 * h)) == pytest.approx(2, rel=1e-14)


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("shape", [(4, 6), (3, 2, 3, 2)])
def test_the_cosine_gradient_is_autograds_times_the_batch(shape, epsilon):
    h, s = draw(*shape), draw(*shape, seed=1)
    h[0], s[1] = 0, 0
    expected = len(h) * by_autograd(lambda h: cosine(h, s, epsilon), h)[0]
    torch.testing.assert_close(cosine_gradient(h, s, epsilon), expected)


@pytest.mark.parametrize("epsilon", EPSILONS)
def test_a_silent_sample_or_signal_has_cosine_nought_and_no_gradient(epsilon):
    h, s = draw(2, 5), draw(2, 5, seed=1)
    h[0], s[1] = 0, 0
    assert cosine(h, s, epsilon) == 1
    assert not cosine_gradient(h, s, epsilon).any()
    assert not by_autograd(lambda h: cosine(h, s, epsilon), h)[0].any()


def test_without_epsilon_the_cosine_gradient_is_equation_41_of_either_sign():
    h, s = draw(1, 5), draw(1, 5, seed=1)
    x, y = h[0], s[0]
    printed = y / (x.norm() * y.norm()) - (x @ y) / (x.norm() ** 3 * y.norm()) * x
    torch.testing.assert_close(cosine_gradient(h, s)[0], -printed)
    assert abs(float((h * cosine_gradient(h, s)).sum())) < 1e-14  # along h nothing changes


def test_epsilon_bounds_the_gradient_that_eq_8_lets_grow_without_bound():
    s, epsilon = draw(1, 5, seed=1), 0.1
    lengths = torch.logspace(-6, 1, 200).double()
    h = lengths[:, None] * draw(1, 5) / draw(1, 5).norm()
    signals = s.expand(200, 5)
    assert cosine_gradient(h, signals).norm(dim=1).max() > 1e5
    # |q(x)| and its slope times |x| are at most 1 / (2 epsilon) and 1 / epsilon, and |s| q(s) below 1
    assert cosine_gradient(h, signals, epsilon).norm(dim=1).max() < 1.5 / epsilon


def test_epsilon_leaves_long_vectors_alone():
    h, s = draw(4, 6), draw(4, 6, seed=1)
    torch.testing.assert_close(cosine_gradient(h, s, 1e-6), cosine_gradient(h, s), rtol=1e-10, atol=1e-10)


def test_shapes_that_differ_are_refused():
    U, S, V = draw(7, 3), draw(3), draw(5, 3)
    with pytest.raises(InputError, match=r"S is \(3,\) and B_S \(1,\); give them one shape"):
        alignment(U, S, V, U, S[:1], V)
    for ask in (cosine, cosine_gradient):
        with pytest.raises(InputError, match=r"h is \(4, 6\) and the signal \(4, 1\); give them one shape"):
            ask(draw(4, 6), draw(4, 1))

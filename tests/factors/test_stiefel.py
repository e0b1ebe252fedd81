"""The Stiefel manifold: projections on its tangents, and ways back to it."""

from __future__ import annotations

import pytest
import torch

from rfmodel.factors.stiefel import drift, horizontal, retract, tangent, to_sphere

ROUNDING = {"rtol": 0, "atol": 1e-12}  # float64, entries of order one
SIZES = [(7, 3), (5, 5), (4, 1)]


def point(m, r, seed=0):
    torch.manual_seed(seed)
    signs = torch.tensor([1.0, -1.0] * r)[:r].double()  # a basis that a decomposition made has signs of its own
    return torch.linalg.qr(torch.randn(m, r).double()).Q * signs


def gradient(m, r):
    torch.manual_seed(1)
    return torch.randn(m, r).double()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("project", [tangent, horizontal])
def test_projections_are_idempotent_and_symmetric(project, size):
    U, G, other = point(*size), gradient(*size), point(*size, seed=2)
    once = project(U, G)
    torch.testing.assert_close(project(U, once), once, **ROUNDING)
    torch.testing.assert_close((once * other).sum(), (G * project(U, other)).sum(), **ROUNDING)


@pytest.mark.parametrize("size", SIZES)
def test_the_tangent_part_is_orthogonal_to_the_normal_space(size):
    U, G = point(*size), gradient(*size)
    xi, r = tangent(U, G), size[1]
    for i in range(r):
        for j in range(i, r):
            A = torch.zeros(r, r).double()
            A[i, j] = A[j, i] = 1
            assert abs(float((xi * (U @ A)).sum())) < 1e-12
    skew = U.T @ xi  # what a tangent is: U^T xi + xi^T U = 0
    torch.testing.assert_close(skew, -skew.T, **ROUNDING)
    S = U.T @ (G - xi)  # what is taken away is normal: U times a symmetric matrix
    torch.testing.assert_close(G - xi, U @ S, **ROUNDING)
    torch.testing.assert_close(S, S.T, **ROUNDING)


@pytest.mark.parametrize("size", SIZES)
def test_the_horizontal_part_is_orthogonal_to_the_span_and_tangent(size):
    U, G = point(*size), gradient(*size)
    part = horizontal(U, G)
    torch.testing.assert_close(U.T @ part, torch.zeros(size[1], size[1]).double(), **ROUNDING)
    torch.testing.assert_close(tangent(U, part), part, **ROUNDING)


def test_the_printed_projection_holds_a_square_basis_fast_and_the_tangent_one_does_not():
    U, G = point(5, 5), gradient(5, 5)
    torch.testing.assert_close(horizontal(U, G), torch.zeros(5, 5).double(), **ROUNDING)
    assert tangent(U, G).norm() > 1


@pytest.mark.parametrize("size", SIZES)
def test_a_retraction_is_orthonormal_and_of_first_order(size):
    U = point(*size)
    xi = tangent(U, gradient(*size))
    assert drift(retract(U + 0.3 * xi)) < 1e-13
    torch.testing.assert_close(retract(U), U, **ROUNDING)
    errors = [(retract(U + t * xi) - U - t * xi).norm() for t in (1e-3, 1e-4)]
    assert errors[1] < errors[0] / 50 or errors[0] < 1e-12  # quadratic: a hundredth


def test_a_retraction_keeps_the_span_and_the_triangle_positive():
    U = 3 * point(7, 3) + 0.2 * gradient(7, 3)
    R = retract(U).T @ U
    torch.testing.assert_close(retract(U) @ R, U, **ROUNDING)
    torch.testing.assert_close(R, R.triu(), **ROUNDING)
    assert (R.diagonal() > 0).all()


def test_a_retraction_keeps_half_precision():
    assert retract(point(6, 2).to(torch.bfloat16)).dtype == torch.bfloat16


def test_drift_is_nought_on_the_manifold_and_that_of_a_scale_off_it():
    U = point(7, 3)
    assert drift(U) < 1e-14
    torch.testing.assert_close(drift(2 * U), 3 * torch.tensor(3.0).double().sqrt(), **ROUNDING)  # (4 - 1) |I|


def test_the_sphere_has_columns_of_length_one_and_leaves_their_directions():
    U = torch.randn(5, 3).double() * torch.tensor([0.1, 1.0, 30.0]).double()
    on = to_sphere(U)
    torch.testing.assert_close(on.norm(dim=0), torch.ones(3).double(), **ROUNDING)
    torch.testing.assert_close(on * U.norm(dim=0), U, **ROUNDING)
    U[:, 1] = 0
    assert not to_sphere(U)[:, 1].any()

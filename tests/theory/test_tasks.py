"""Tasks have the second moments that their samples would have, exactly in law."""

from __future__ import annotations

import numpy as np
import pytest
from linear_cases import literal_samples
from scipy import stats

from rfmodel.errors import InputError
from rfmodel.theory.settings import LinearTaskSettings
from rfmodel.theory.tasks import LinearTask, draw_task, transposed, wishart


def settings(**changes):
    return LinearTaskSettings(**({"inputs": 5, "outputs": 3, "hidden": 4, "spectrum": {"modes": 2}} | changes))


def test_population_moments_are_those_of_the_model():
    task = draw_task(settings(noise=0.3, spectrum={"law": "given", "values": (3, 1)}), 4)
    np.testing.assert_array_equal(task.sigma_io, task.A)
    np.testing.assert_allclose(task.sigma_oo, task.A @ transposed(task.A) + 0.09 * np.eye(3), atol=1e-14)
    np.testing.assert_allclose(np.linalg.svd(task.A, compute_uv=False), np.tile([3.0, 1, 0], (4, 1)), atol=1e-14)
    np.testing.assert_allclose(task.unexplained, np.tile(0.09 * np.eye(3), (4, 1, 1)), atol=1e-14)


@pytest.mark.parametrize("samples", [0, 5, 9])
def test_the_basis_is_that_of_the_cross_covariance(samples):
    task = draw_task(settings(noise=0.3, samples=samples), 3)
    np.testing.assert_allclose(task.U @ task.S @ transposed(task.V), task.sigma_io, atol=1e-13)
    for basis in (task.U, task.V):
        np.testing.assert_allclose(transposed(basis) @ basis, np.tile(np.eye(basis.shape[1]), (3, 1, 1)), atol=1e-13)
    np.testing.assert_allclose(task.U @ task.rotated_oo @ transposed(task.U), task.sigma_oo, atol=1e-13)
    assert task.singular_values.shape == (3, 2)
    assert (np.diff(task.values) <= 0).all()


@pytest.mark.parametrize("samples", [5, 7, 20])  # a singular Wishart matrix of freedom 0 and 2, and a full one
def test_moments_of_samples_have_the_law_of_literal_samples(samples):
    seeds, noise = 600, 0.7
    task = draw_task(settings(noise=noise, samples=samples), seeds)
    A = draw_task(settings(), seeds).A  # noise comes last in a seed's stream, so that the maps are the same
    np.testing.assert_array_equal(A, task.A)
    rng = np.random.default_rng(1)
    literal = [literal_samples(rng, one, noise, samples) for one in A]
    io = np.stack([Y @ X.T / samples for X, Y in literal])
    oo = np.stack([Y @ Y.T / samples for X, Y in literal])
    other = LinearTask.of_moments(A, io, oo, 2, noise, samples)
    # No more than one in a thousand such tests would fail of equal laws; the seeds are fixed.
    for measure in (
        lambda t: t.values[:, 0],
        lambda t: t.values[:, 2],
        lambda t: np.einsum("sij,sij->s", t.sigma_io - A, A),
        lambda t: np.einsum("sii->s", t.sigma_oo),
        lambda t: np.linalg.eigvalsh(t.sigma_oo)[:, 0],
        lambda t: np.linalg.eigvalsh(t.unexplained)[:, -1],
    ):
        if np.ptp(measure(task)) > 1e-9:
            assert stats.ks_2samp(measure(task), measure(other)).pvalue > 1e-3
    assert (np.linalg.eigvalsh(task.unexplained) > -1e-13).all()
    expected = min(samples - 5, 3)
    assert (np.linalg.matrix_rank(task.unexplained, tol=1e-9) == expected).all()
    assert (np.linalg.matrix_rank(other.unexplained, tol=1e-9) == expected).all()


def test_many_samples_are_the_population():
    few = draw_task(settings(noise=0.5, samples=10**8), 3)
    population = draw_task(settings(noise=0.5), 3)
    # Entries deviate by noise / sqrt(p) = 5e-5, and by twice that times the largest singular value of 2.
    np.testing.assert_allclose(few.sigma_io, population.sigma_io, atol=5e-4)
    np.testing.assert_allclose(few.sigma_oo, population.sigma_oo, atol=2e-3)


def test_a_wishart_matrix_is_the_sum_of_so_many_squares():
    rng = np.random.default_rng(0)
    for freedom in (0, 1, 4, 40):
        drawn = np.stack([wishart(rng, 3, freedom) for _ in range(500)])
        # The diagonal is chi-squared: mean f, variance 2 f; five standard errors of the mean of 500.
        error = 5 * np.sqrt(2 * freedom / 500)
        np.testing.assert_allclose(drawn.mean(0), freedom * np.eye(3), atol=error)
    assert wishart(rng, 1, 4).shape == (1, 1)


def test_more_seeds_leave_the_first_as_they_were():
    few, many = (draw_task(settings(noise=0.5, samples=9), seeds) for seeds in (2, 5))
    for name in ("A", "sigma_io", "sigma_oo", "U", "V"):
        np.testing.assert_array_equal(getattr(few, name), getattr(many, name)[:2])
    assert np.abs(many.A[0] - many.A[1]).max() > 0.1


def test_another_spectrum_leaves_the_modes_as_they_were():
    one, other = (draw_task(settings(spectrum={"law": law, "modes": 2}), 2) for law in ("linear", "gaussian"))
    np.testing.assert_array_equal(one.U, other.U)
    np.testing.assert_array_equal(one.V, other.V)


def test_some_of_the_seeds_are_a_task():
    task = draw_task(settings(noise=0.5, samples=9), 4)
    part = task.of_seeds(slice(1, 3))
    np.testing.assert_array_equal(part.sigma_oo, task.sigma_oo[1:3])
    assert (part.modes, part.noise, part.samples) == (2, 0.5, 9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spectrum": {"modes": 4}}, "spectrum of 4 modes: a matrix of 3 x 5 has 3 singular values"),
        ({"samples": 4}, "task.samples = 4 cannot be whitened in 5 inputs; use 5 to 9007199254740992, or 0"),
        ({"spectrum": {"law": "given", "values": (1, 0)}}, "1 values of 0, by which no overlap can be divided"),
        ({"spectrum": {"law": "worst", "modes": 2}}, "spectrum 'worst' is no law of this model"),
    ],
)
def test_tasks_that_cannot_be_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        draw_task(settings(**changes), 2)

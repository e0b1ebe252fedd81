"""Singular values follow their laws, and random orthogonal matrices are uniform."""

from __future__ import annotations

import numpy as np
import pytest

from rfmodel.errors import InputError
from rfmodel.theory.settings import SpectrumSettings
from rfmodel.theory.spectra import of_law, orthogonal, singular_values


def draws(count):
    return [np.random.default_rng(seed) for seed in range(count)]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (SpectrumSettings(law="linear", modes=5, largest=2.0, smallest=1.0), [2, 1.75, 1.5, 1.25, 1]),
        (SpectrumSettings(law="power", modes=4, largest=2.0, exponent=1.0), [2, 1, 2 / 3, 0.5]),
        (SpectrumSettings(law="exponential", modes=3, largest=4.0, smallest=1.0), [4, 2, 1]),
        (SpectrumSettings(law="step", modes=4, largest=2.0, smallest=0.5, head=1), [2, 0.5, 0.5, 0.5]),
        (SpectrumSettings(law="flat", modes=2, largest=3.0), [3, 3]),
        (SpectrumSettings(law="given", values=(1.0, 3.0, 0.0)), [3, 1, 0]),
    ],
)
def test_each_law_is_what_it_says(settings, expected):
    np.testing.assert_allclose(of_law(settings), expected, rtol=1e-15)


def test_a_law_that_draws_nothing_is_the_same_for_every_seed():
    found = singular_values(SpectrumSettings(modes=3), 4, 5, draws(3))
    assert found.shape == (3, 3)
    assert (found == found[0]).all()


def test_the_gaussian_law_differs_by_seed_and_begins_with_the_largest():
    found = singular_values(SpectrumSettings(law="gaussian", modes=3, largest=5.0), 8, 9, draws(4))
    np.testing.assert_array_equal(found[:, 0], 5.0)
    assert (np.diff(found) < 0).all()
    assert len({row.tobytes() for row in found}) == 4


def test_random_columns_are_orthonormal_and_uniform():
    found = np.stack([orthogonal(rng, 3, 2) for rng in draws(4000)])
    np.testing.assert_allclose(found.mT @ found, np.broadcast_to(np.eye(2), (4000, 2, 2)), atol=1e-14)
    # Uniform: each entry has mean 0 and mean square 1/3, whose standard errors are .009 and .005; both at four of them.
    assert abs(found.mean(0)).max() < 4 * 0.0092
    assert abs((found**2).mean(0) - 1 / 3).max() < 4 * 0.0048


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (SpectrumSettings(modes=9), "9 modes: a matrix of 8 x 12 has 8 singular values; use modes = 8 or fewer"),
        (SpectrumSettings(modes=4, largest=1.0, smallest=2.0), "smallest = 2 is above spectrum.largest = 1"),
        (SpectrumSettings(law="step", modes=4), "head = None of 4 modes leaves no step; use 1 to 3"),
        (SpectrumSettings(law="step", modes=4, head=4), "head = 4 of 4 modes leaves no step"),
        (SpectrumSettings(law="given", values=(0.0,)), "values are all 0; one at least above 0"),
        (SpectrumSettings(law="worst", modes=4), "spectrum 'worst' is no law of this model; use exponential, flat"),
    ],
)
def test_a_spectrum_that_cannot_be_is_refused(settings, told):
    with pytest.raises(InputError, match=told):
        singular_values(settings, 8, 12, draws(1))


def test_values_without_their_law_are_refused():
    with pytest.raises(ValueError, match="the law 'given' and its values need each other"):
        SpectrumSettings(law="flat", values=(1.0,))

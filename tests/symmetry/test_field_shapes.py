"""Shapes: places, sizes and orientations as stated, and refusals."""

import numpy as np
import pytest

from rfmodel.errors import InputError
from rfmodel.symmetry import shapes


def test_positive_angles_turn_counter_clockwise_as_displayed():
    along, across = shapes.rotated_coordinates((5, 7), (2, 3), 90)
    # At 90 degrees X points up the screen, which is towards smaller y; Y then points left.
    assert along[0, 3] == pytest.approx(2) and along[4, 3] == pytest.approx(-2)
    assert across[2, 0] == pytest.approx(3) and across[2, 6] == pytest.approx(-3)
    along, _ = shapes.rotated_coordinates((5, 7), (2, 3), 45)
    assert along[0, 5] == along.max() - along[0, 6] + along[0, 5] and along[0, 6] == along.max()


def test_centre_is_the_peak_and_defaults_to_the_units_pixel():
    assert np.unravel_index(shapes.gaussian((9, 12)).argmax(), (9, 12)) == (4, 6)
    assert np.unravel_index(shapes.gabor((30, 20), (21, 8)).argmax(), (30, 20)) == (21, 8)


def test_balanced_difference_of_gaussians_sums_to_nothing():
    w = shapes.difference_of_gaussians((64, 64), sigma=2, aspect=1.5, orientation=20)
    assert w.sum() == pytest.approx(0, abs=1e-4 * np.abs(w).sum())
    half = shapes.difference_of_gaussians((64, 64), sigma=2, balance=0.5)
    assert half.sum() == pytest.approx(0.5 * 2 * np.pi * 4, rel=1e-3)


def test_aspect_keeps_the_area_and_lengthens_across_the_orientation():
    w = shapes.gaussian((64, 64), sigma=3, aspect=4, orientation=90)
    y, x = np.mgrid[:64, :64] - 32
    assert w.sum() == pytest.approx(2 * np.pi * 9, rel=1e-3)
    assert np.sqrt((w * x**2).sum() / w.sum()) == pytest.approx(6, rel=1e-2)
    assert np.sqrt((w * y**2).sum() / w.sum()) == pytest.approx(1.5, rel=1e-2)


def test_gabor_is_a_grating_under_a_gaussian():
    product = shapes.gaussian(sigma=3) * shapes.grating(frequency=0.1, phase=30, orientation=50)
    np.testing.assert_allclose(shapes.gabor(sigma=3, frequency=0.1, phase=30, orientation=50), product, atol=1e-12)


def test_bar_covers_its_width():
    assert shapes.bar((9, 9), width=3).sum() == 3 * 9
    np.testing.assert_array_equal(shapes.bar((9, 9), width=3, orientation=90), shapes.bar((9, 9), width=3).T)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: shapes.gaussian((0, 4)), r"shape \(0, 4\)"),
        (lambda: shapes.gaussian(sigma=0), "sigma = 0"),
        (lambda: shapes.difference_of_gaussians(ratio=-1), "ratio = -1"),
        (lambda: shapes.gabor(sigma=(2, 0)), "sigma = 0"),
        (lambda: shapes.bar(width=0), "width = 0"),
    ],
)
def test_shapes_that_cannot_be_drawn_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()

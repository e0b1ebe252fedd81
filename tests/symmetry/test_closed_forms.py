"""Metrics against the closed forms of the shapes: Gabors, stretched differences of Gaussians, plaids."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import iv

from rfmodel.symmetry import measure
from rfmodel.symmetry.shapes import difference_of_gaussians, gabor, gaussian, grating

# nx, p0 even, p2 even, p1 odd, A even, A odd, coherence even, coherence odd, gOSI even, gOSI odd, OSI even
GABORS = [
    (0.20, 0.875, 0.124, 0.975, 0.412, 0.626, 0.567, 0.665, 0.221, 0.398, 0.433),
    (0.25, 0.761, 0.231, 0.944, 0.580, 0.687, 0.695, 0.729, 0.383, 0.469, 0.712),
    (0.30, 0.645, 0.335, 0.897, 0.706, 0.748, 0.775, 0.785, 0.525, 0.556, 0.892),
    (0.40, 0.471, 0.452, 0.776, 0.840, 0.843, 0.863, 0.864, 0.710, 0.711, 0.993),
    (0.50, 0.370, 0.472, 0.659, 0.899, 0.899, 0.908, 0.908, 0.808, 0.808, 1.00),
    (0.80, 0.227, 0.385, 0.435, 0.960, 0.960, 0.962, 0.962, 0.922, 0.922, 1.00),
]
SIGMA = 3.0
# Half of the last printed digit, and as much again for the pixels.
DIGIT = 1e-3


def one(field, **options):
    return measure(np.asarray(field)[None], bars=False, **options).isel(unit=0)


@pytest.mark.parametrize("row", GABORS)
@pytest.mark.parametrize("orientation", [0, 37])
def test_circular_gabors_have_their_tabulated_metrics(row, orientation):
    nx, p0, p2, p1_odd, a_even, a_odd, c_even, c_odd, g_even, g_odd, osi = row
    f = nx / SIGMA
    even = one(gabor(sigma=SIGMA, frequency=f, orientation=orientation), frequency=f)
    odd = one(gabor(sigma=SIGMA, frequency=f, phase=90, orientation=orientation), frequency=f)
    found = [
        even.p0,
        even.p2,
        odd.p1,
        even.anisotropy,
        odd.anisotropy,
        even.coherence,
        odd.coherence,
        even.gosi,
        odd.gosi,
    ]
    np.testing.assert_allclose(found, [p0, p2, p1_odd, a_even, a_odd, c_even, c_odd, g_even, g_odd], atol=DIGIT)
    assert even.osi == pytest.approx(osi, abs=2 * DIGIT)
    assert odd.osi == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("nx", [0.2, 0.3, 0.5])
def test_circular_gabors_have_their_closed_forms(nx):
    f, k = nx / SIGMA, 4 * np.pi**2 * nx**2
    even = one(gabor(sigma=SIGMA, frequency=f, orientation=20), frequency=f)
    odd = one(gabor(sigma=SIGMA, frequency=f, orientation=20, phase=90), frequency=f)
    assert even.p0 == pytest.approx(iv(0, k / 2) / np.cosh(k / 2), abs=1e-4)
    assert even.p2 == pytest.approx(2 * iv(2, k / 2) / np.cosh(k / 2), abs=1e-4)
    assert odd.p1 == pytest.approx(2 * iv(1, k / 2) / np.sinh(k / 2), abs=1e-4)
    assert even.coherence == pytest.approx(k / (k + 1 + np.exp(-k)), abs=1e-4)
    assert odd.coherence == pytest.approx(k / (k + 1 - np.exp(-k)), abs=1e-4)
    assert even.gosi == pytest.approx(iv(2, k) / iv(0, k), abs=1e-4)
    assert even.osi == pytest.approx(np.tanh(k / 2) ** 2, abs=1e-3)


def test_elongated_gabor_has_its_closed_form_of_tuning():
    nx, ny = 0.3, 0.5
    f = nx / 3.0
    m = one(gabor((64, 64), sigma=(3.0, 5.0), frequency=f), frequency=f)
    ratio = np.exp(-2 * np.pi**2 * (ny**2 - nx**2)) / np.cosh(4 * np.pi**2 * nx**2)
    assert (1 - m.osi) / (1 + m.osi) == pytest.approx(ratio, rel=0.02)


@pytest.mark.parametrize(
    ("aspect", "p0", "p2", "a", "coherence"),
    [(1.25, 0.980, 0.020, 0.111, 0.220), (1.5, 0.937, 0.061, 0.200, 0.385), (2, 0.833, 0.149, 0.333, 0.600)],
)
def test_stretched_differences_of_gaussians_have_their_metrics(aspect, p0, p2, a, coherence):
    m = one(difference_of_gaussians(sigma=2, ratio=2, aspect=aspect, orientation=25))
    np.testing.assert_allclose([m.p0, m.p2, m.anisotropy, m.coherence], [p0, p2, a, coherence], atol=DIGIT)


@pytest.mark.parametrize("aspect", [1, 1.25, 1.5, 2, 3])
def test_anisotropy_and_coherence_of_a_stretched_isotropic_field(aspect):
    # A larger canvas than 32 x 32, which cuts off the surround at aspect 3.
    m = one(difference_of_gaussians((64, 64), sigma=2.5, ratio=2, aspect=aspect, orientation=70))
    assert m.anisotropy == pytest.approx((aspect - 1) / (aspect + 1), abs=1e-3)
    assert m.coherence == pytest.approx((aspect**2 - 1) / (aspect**2 + 1), abs=1e-3)


@pytest.mark.parametrize("aspect", [1.25, 1.5, 2])
def test_frequency_averaged_gosi_of_a_stretched_isotropic_field(aspect):
    # |F(f, t)| = G(f s(t)), so that its integral over f goes as 1 / s(t), s^2 = cos^2 / a + a sin^2.
    s = lambda t: np.sqrt(np.cos(t) ** 2 / aspect + np.sin(t) ** 2 * aspect)  # noqa: E731
    expected = quad(lambda t: np.cos(2 * t) / s(t), 0, np.pi)[0] / quad(lambda t: 1 / s(t), 0, np.pi)[0]
    m = one(difference_of_gaussians(sigma=2, aspect=aspect, orientation=110))
    assert m.gosi_mean == pytest.approx(expected, abs=2e-3)


def test_x_times_gaussian_is_a_pure_edge():
    x = np.arange(32) - 16.0
    m = one(gaussian(sigma=3) * x)
    np.testing.assert_allclose([m.p0, m.p1, m.coherence, m.osi], [0, 1, 0.5, 1], atol=1e-4)


def test_plaid_is_not_isotropic_although_it_has_no_orientation():
    plaid = gabor(sigma=4, frequency=0.125) + gabor(sigma=4, frequency=0.125, orientation=90)
    m = one(plaid)
    np.testing.assert_allclose([m.p0, m.p_rest], [0.73, 0.27], atol=5e-3)
    np.testing.assert_allclose([m.anisotropy, m.coherence, m.gosi], 0, atol=1e-3)


def test_grating_under_a_wide_envelope_is_nearly_coherent():
    assert one(gaussian((64, 64), sigma=9) * grating((64, 64), frequency=0.2)).coherence == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("sigma", [2.0, 3.0])
def test_sizes_of_a_gaussian(sigma):
    # The energy w^2 of a Gaussian has variance sigma^2 / 2 on each axis.
    m = one(gaussian(sigma=sigma))
    assert m.radius == pytest.approx(sigma, rel=1e-3)
    assert m.participation == pytest.approx(2 * np.pi * sigma**2, rel=1e-3)


def test_surround_index_of_shapes():
    shapes = [
        difference_of_gaussians(sigma=2),
        gaussian(sigma=3),
        gabor(sigma=3, frequency=0.125),
        gabor(sigma=3, frequency=0.125, phase=90),
    ]
    m = measure(np.stack(shapes), bars=False)
    np.testing.assert_allclose(m.surround, [1, 0, 0.82, 1], atol=0.01)


def test_surround_of_the_angular_mean_of_a_difference_of_gaussians_is_its_radial_closed_form():
    # w(r) = exp(-r^2 / 2) - k / 4 exp(-r^2 / 8) changes sign at r0^2 = 8/3 ln(4 / k); masses in closed form.
    k = 0.5
    r2 = 8 / 3 * np.log(4 / k)
    positive = (1 - np.exp(-r2 / 2)) - k * (1 - np.exp(-r2 / 8))
    negative = k * np.exp(-r2 / 8) - np.exp(-r2 / 2)
    m = one(difference_of_gaussians(sigma=2, balance=k))
    assert m.surround_of_mean == pytest.approx(negative / positive, abs=2e-3)
    assert one(gaussian(sigma=3)).surround_of_mean == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("orientation", [0, 20, 90, 133])
def test_preferred_orientation_is_the_carriers_as_displayed(orientation):
    m = one(gabor(sigma=4, frequency=0.15, orientation=orientation))
    assert (float(m.preferred_orientation) - orientation + 90) % 180 - 90 == pytest.approx(0, abs=0.1)
    assert m.preferred_frequency == pytest.approx(0.15, abs=1 / 96)
    assert m.tuning.max() == 1
    assert m.tuning.orientation[int(m.tuning.values.argmax())] == pytest.approx(orientation, abs=1.25)

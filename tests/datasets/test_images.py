"""Grey levels and area means are the rounded exact values."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from rfmodel.datasets.images import area_mean, grey
from rfmodel.errors import InputError


def test_grey_is_luma_rounded_to_the_nearest_level():
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 16, 16), dtype=np.uint8)
    exact = np.einsum("c,nchw->nhw", [0.299, 0.587, 0.114], images.astype(float))
    # 16-bit weights err by at most 3 * 255 * 2^-17 < .006 of a level
    assert np.abs(grey(images)[:, 0] - exact).max() <= 0.5 + 0.006


def test_grey_agrees_with_pillow_to_the_byte():
    images = np.random.default_rng(1).integers(0, 256, (3, 3, 64, 64), dtype=np.uint8)
    expected = [np.asarray(Image.fromarray(image.transpose(1, 2, 0)).convert("L")) for image in images]
    assert np.array_equal(grey(images)[:, 0], expected)


def test_grey_of_a_grey_image_is_itself_over_more_images_than_one_pass_takes():
    levels = np.arange(5000 * 4, dtype=np.int64).reshape(5000, 1, 2, 2) % 256
    images = levels.astype(np.uint8).repeat(3, axis=1)
    assert np.array_equal(grey(images), images[:, :1])


@pytest.mark.parametrize("factor", [1, 2, 4, 8])
def test_area_mean_is_the_rounded_mean_of_each_block(factor):
    images = np.random.default_rng(2).integers(0, 256, (3, 2, 16, 24), dtype=np.uint8)
    reduced = area_mean(images, factor)
    for y in range(16 // factor):
        for x in range(24 // factor):
            block = images[:, :, y * factor : (y + 1) * factor, x * factor : (x + 1) * factor]
            assert np.array_equal(reduced[:, :, y, x], np.floor(block.mean((2, 3)) + 0.5))


def test_area_mean_of_white_stays_white():
    assert (area_mean(np.full((1, 1, 32, 32), 255, np.uint8), 16) == 255).all()


def test_factor_that_does_not_divide_the_sides_is_refused():
    with pytest.raises(InputError, match="blocks of 5 x 5 .* have 32 x 32"):
        area_mean(np.zeros((1, 1, 32, 32), np.uint8), 5)

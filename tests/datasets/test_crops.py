"""Crops: the centre of the resized image, or a random part within the published bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pictures import encoded, smooth
from PIL import Image

from rfmodel.datasets.crops import DRAWS, View, centre, random_box, resized, shorter_side
from rfmodel.datasets.images import grey


def draws(n, seed=0):
    return torch.rand(n, DRAWS, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("height", "width"), [(20, 25), (40, 50), (33, 17), (90, 70)])
def test_resizing_agrees_with_pillow_within_one_level(height, width):
    image = smooth(0)
    expected = image.resize((width, height), Image.Resampling.BILINEAR)
    # both round to 8 bits between rows and columns, at different places
    assert np.abs(resized(np.asarray(image).copy(), height, width).astype(int) - np.asarray(expected)).max() <= 1


@pytest.mark.parametrize(("height", "width"), [(40, 50), (50, 40), (7, 100), (32, 32), (3, 5)])
def test_the_shorter_side_has_the_length_asked_for_and_the_ratio_stays(height, width):
    out = shorter_side(np.zeros((height, width, 3), np.uint8), 32)
    assert min(out.shape[:2]) == 32
    assert abs(out.shape[0] / out.shape[1] * width / height - 1) < 1 / 32


def test_the_centre_leaves_as_much_on_either_side():
    pixels = np.arange(12 * 9).reshape(12, 9, 1)
    assert np.array_equal(centre(pixels, 5)[:, :, 0], pixels[4:9, 2:7, 0])  # 3.5 goes to the even side
    assert np.array_equal(centre(pixels[:11], 5)[:, :, 0], pixels[3:8, 2:7, 0])


def test_a_random_part_lies_within_the_image_and_the_published_bounds():
    height, width = 300, 400
    boxes = [random_box(height, width, row) for row in draws(4000)]
    for top, left, h, w in boxes:
        assert 0 <= top <= height - h and 0 <= left <= width - w
        # whole pixels move area and ratio by less than one pixel in each side
        assert (h - 1) * (w - 1) <= height * width and (h + 1) * (w + 1) >= 0.08 * height * width
        assert (w - 1) / (h + 1) <= 4 / 3 and (w + 1) / (h - 1) >= 3 / 4
    areas = np.array([h * w for _, _, h, w in boxes]) / (height * width)
    assert areas.min() < 0.09 and areas.max() > 0.9


def test_areas_ratios_and_places_are_spread_evenly():
    # 0.08 to 0.4 of a large square fits at the first try at any ratio, so that its distribution is as drawn
    numbers = draws(20_000, 1)
    numbers[:, 0] = numbers[:, 0] * (0.4 - 0.08) / 0.92
    boxes = np.array([random_box(4000, 4000, row) for row in numbers])
    top, left, h, w = boxes.T
    for values, low, high in (
        (h * w / 4000**2, 0.08, 0.4),
        (np.log(w / h), math.log(3 / 4), math.log(4 / 3)),
        (top / (4000 - h), 0, 1),
        (left / (4000 - w), 0, 1),
    ):
        # uniform: standard deviation of the mean, and of quarters' counts, times five
        assert abs(values.mean() - (low + high) / 2) < 5 * (high - low) / math.sqrt(12 * 20_000)
        counts = np.histogram(values, 4, (low, high))[0]
        assert np.abs(counts - counts.sum() / 4).max() < 5 * math.sqrt(20_000 * 3 / 16)


def test_places_reach_from_one_border_to_the_other():
    for row in draws(50, 2):
        row[-2:] = 0
        assert random_box(20, 30, row)[:2] == (0, 0)
        row[-2:] = 1 - 1e-6
        top, left, h, w = random_box(20, 30, row)
        assert (top + h, left + w) == (20, 30)


@pytest.mark.parametrize(("height", "width", "box"), [(10, 1000, (0, 493, 10, 13)), (1000, 10, (493, 0, 13, 10))])
def test_where_no_try_fits_the_largest_centred_part_is_taken(height, width, box):
    # the whole area at any ratio: too tall or too wide for so oblong an image
    whole = torch.ones(DRAWS) - 1e-6
    assert random_box(height, width, whole) == box


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (3, 2)])
def test_tiny_images_have_parts_too(height, width):
    for row in draws(200):
        top, left, h, w = random_box(height, width, row)
        assert h >= 1 and w >= 1 and top + h <= height and left + w <= width


@pytest.mark.parametrize("colour", [True, False])
def test_views_are_squares_of_the_size_in_colour_or_luma(tmp_path, colour):
    path = tmp_path / "image.png"
    path.write_bytes(encoded(smooth(5), "PNG"))
    whole, view = View(24, 28, True, "pillow"), View(24, 28, colour, "pillow")
    for pixels, full in (
        (view.centre(path), whole.centre(path)),
        (view.random_part(path, draws(1)[0]), whole.random_part(path, draws(1)[0])),
    ):
        assert pixels.shape == (24, 24, 3 if colour else 1) and pixels.dtype == np.uint8
        expected = full if colour else grey(full.transpose(2, 0, 1)[None])[0].transpose(1, 2, 0)
        assert np.array_equal(pixels, expected)


def test_an_image_smaller_than_the_crop_is_enlarged(tmp_path):
    path = tmp_path / "small.png"
    path.write_bytes(encoded(Image.new("RGB", (5, 3), (10, 20, 30)), "PNG"))
    view = View(24, 27, True, "pillow")
    for pixels in (view.centre(path), view.random_part(path, draws(1)[0])):
        assert pixels.shape == (24, 24, 3) and (pixels == (10, 20, 30)).all()

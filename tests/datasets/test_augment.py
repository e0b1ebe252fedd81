"""Augmentation: exact where pixels are copied, its own draw for each image, the same for the same seed."""

from __future__ import annotations

import math

import pytest
import torch

from rfmodel.datasets import Augmentation
from rfmodel.datasets.augment import cropped, moved, rotated
from rfmodel.errors import InputError


def images(n=6, c=1, h=12, w=12, dtype=torch.float64):
    return torch.rand(n, c, h, w, generator=torch.Generator().manual_seed(0), dtype=dtype)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def same_for_all(n, down=0, right=0, mirrored=False):
    return torch.full((n,), down), torch.full((n,), right), torch.full((n,), mirrored)


def test_all_off_returns_the_very_tensor_and_draws_nothing():
    x, generator = images(), seeded()
    before = generator.get_state()
    assert Augmentation()(x, generator) is x
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("c", [1, 3])
def test_flip_is_the_exact_mirror_image(c):
    x = images(40, c)
    out = Augmentation(flip=True)(x, seeded())
    kept = (out == x).flatten(1).all(1)
    mirrored = (out == x.flip(3)).flatten(1).all(1)
    assert (kept ^ mirrored).all()
    assert kept.any() and mirrored.any()


@pytest.mark.parametrize("c", [1, 3])
@pytest.mark.parametrize(("down", "right"), [(0, 0), (3, 0), (0, -2), (-4, 5)])
def test_shift_moves_whole_pixels_and_repeats_the_edge(c, down, right):
    x = images(2, c, 8, 10)
    out = moved(x, *same_for_all(2, down, right))
    for y in range(8):
        for k in range(10):
            source_y, source_x = min(max(y - down, 0), 7), min(max(k - right, 0), 9)
            assert torch.equal(out[:, :, y, k], x[:, :, source_y, source_x])


def test_mirroring_comes_before_the_shift():
    x = images(2)
    expected = moved(x.flip(3), *same_for_all(2, 2, 3))
    assert torch.equal(moved(x, *same_for_all(2, 2, 3, True)), expected)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(("down", "right"), [(0, 0), (2, -3)])
def test_rotation_by_nothing_is_the_shift_alone(down, right, mirrored):
    x = images(3, 2, 8, 10)
    draw = same_for_all(3, down, right, mirrored)
    out = rotated(x, *draw, torch.zeros(3, dtype=torch.float64))
    # float64: positions are whole up to rounding of a few 1e-16 of the side
    torch.testing.assert_close(out, moved(x, *draw), atol=1e-13, rtol=0)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarter_turns_are_counter_clockwise_as_displayed(quarters):
    x = images(2, 1, 9, 9)
    out = rotated(x, *same_for_all(2), torch.full((2,), quarters * math.pi / 2, dtype=torch.float64))
    torch.testing.assert_close(out, torch.rot90(x, quarters, (2, 3)), atol=1e-13, rtol=0)


def test_rotation_is_about_the_centre_in_pixels_on_oblong_images():
    # a spot 3 pixels right of the centre goes 3 pixels up by a quarter turn, though the sides differ
    x = torch.zeros(1, 1, 9, 15, dtype=torch.float64)
    x[0, 0, 4, 10] = 1
    out = rotated(x, *same_for_all(1), torch.tensor([math.pi / 2], dtype=torch.float64))
    assert out[0, 0, 1, 7].item() == pytest.approx(1)


def test_shift_follows_rotation():
    x = images(1, 1, 9, 9)
    quarter = torch.tensor([math.pi / 2], dtype=torch.float64)
    expected = moved(torch.rot90(x, 1, (2, 3)), *same_for_all(1, 2, 1))
    out = rotated(x, *same_for_all(1, 2, 1), quarter)
    inner = (slice(None), slice(None), slice(2, None), slice(1, None))
    torch.testing.assert_close(out[inner], expected[inner], atol=1e-13, rtol=0)


def test_shifts_are_uniform_on_whole_pixels_within_the_bound():
    # images whose pixels hold their own column number: the middle column tells the shift
    x = torch.arange(20.0).expand(7000, 1, 20, 20)
    out = Augmentation(shift=0.16)(x, seeded())
    shift = (10 - out[:, 0, 10, 10]).long()
    counts = torch.bincount(shift + 3, minlength=7)
    assert len(counts) == 7  # floor(.16 * 20) = 3: from -3 to 3
    # binomial, p = 1/7: five standard deviations
    assert (counts - 1000).abs().max() < 5 * math.sqrt(7000 / 7 * 6 / 7)


def test_mirror_images_are_half_of_all():
    out = Augmentation(flip=True)(torch.arange(4.0).expand(4000, 1, 4, 4), seeded())
    assert abs((out[:, 0, 0, 0] == 3).sum().item() - 2000) < 5 * math.sqrt(1000)


def test_angles_are_spread_over_the_bound():
    # the plane x, turned counter-clockwise (y down), has the values x cos - y sin: read them at two pixels
    plane = (torch.arange(21.0, dtype=torch.float64) - 10).expand(3000, 1, 21, 21)
    out = Augmentation(rotation=30.0)(plane, seeded())
    angle = torch.rad2deg(torch.atan2(-out[:, 0, 15, 10] / 5, out[:, 0, 10, 15] / 5))
    assert angle.abs().max() <= 30 + 1e-4
    assert angle.max() > 29 and angle.min() < -29
    assert abs(angle.mean().item()) < 5 * 30 / math.sqrt(3 * 3000)


@pytest.mark.parametrize(
    "augmentation", [Augmentation(shift=0.3), Augmentation(flip=True), Augmentation(rotation=90.0)]
)
def test_every_image_of_the_batch_has_its_own_draw(augmentation):
    x = images(1).expand(50, -1, -1, -1)
    out = augmentation(x, seeded())
    assert len(torch.unique(out.flatten(1), dim=0)) > 1


@pytest.mark.parametrize("augmentation", [Augmentation(0.2, True), Augmentation(0.2, True, 20.0)])
def test_same_seed_same_images(augmentation):
    x = images(16, 3)
    assert torch.equal(augmentation(x, seeded(5)), augmentation(x, seeded(5)))
    assert not torch.equal(augmentation(x, seeded(5)), augmentation(x, seeded(6)))


@pytest.mark.parametrize("augmentation", [Augmentation(0.2, True), Augmentation(0.2, True, 45.0)])
def test_no_value_leaves_the_range_of_the_image(augmentation):
    x = images(30, 1, dtype=torch.float32)
    out = augmentation(x, seeded())
    assert out.dtype == x.dtype and out.shape == x.shape
    low, high = x.amin((2, 3)), x.amax((2, 3))
    assert (out.amin((2, 3)) >= low - 1e-6).all() and (out.amax((2, 3)) <= high + 1e-6).all()


@pytest.mark.parametrize("augmentation", [Augmentation(0.2, True), Augmentation(0.2, True, 45.0)])
def test_draws_and_result_do_not_depend_on_the_memory_layout(augmentation):
    x = images(8, 3)
    assert torch.equal(
        augmentation(x, seeded()), augmentation(x.contiguous(memory_format=torch.channels_last), seeded())
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shift": -0.1}, "shift=-0.1"),
        ({"shift": 1.0}, "shift=1.0"),
        ({"rotation": -5}, "rotation=-5"),
        ({"rotation": 200}, "rotation=200"),
        ({"crop": -1}, "crop=-1"),
        ({"crop": 1.5}, "crop=1.5"),
        ({"cutout": -16}, "cutout=-16"),
        ({"auto_augment": "cifar"}, "auto_augment: 'cifar' is unknown: known are cifar10, imagenet; did you mean"),
    ],
)
def test_settings_out_of_range_name_the_value(settings, message):
    with pytest.raises(InputError, match=message):
        Augmentation(**settings)


@pytest.mark.parametrize("c", [1, 3])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float64])
@pytest.mark.parametrize(("top", "left", "mirrored"), [(0, 0, False), (3, 1, False), (4, 6, True), (2, 3, True)])
def test_crop_is_a_window_of_the_image_padded_with_black(c, dtype, top, left, mirrored):
    x = (images(2, c, 8, 10) * 255).to(dtype)
    padded = torch.zeros(2, c, 14, 16, dtype=dtype)
    padded[:, :, 3:-3, 3:-3] = x
    expected = padded[:, :, top : top + 8, left : left + 10]
    out = cropped(x, *same_for_all(2, top, left, mirrored), 3)
    assert out.dtype == dtype and torch.equal(out, expected.flip(3) if mirrored else expected)


def test_crops_are_uniform_over_all_windows_and_half_are_mirrored():
    # levels tell row and column, so that the middle pixel tells the window
    n, level = 9000, 1 + torch.arange(144.0).view(12, 12)
    out = Augmentation(crop=1, flip=True)(level.expand(n, 1, 12, 12), seeded())
    rows, columns = (out[:, 0, 5, 5] - 1).div(12, rounding_mode="floor"), (out[:, 0, 5, 5] - 1) % 12
    mirrored = out[:, 0, 5, 5] > out[:, 0, 5, 6]
    window = (rows - 4) * 3 + torch.where(mirrored, columns - 5, columns - 4)
    counts = torch.bincount((window + 9 * mirrored).long(), minlength=18)
    # binomial, p = 1/18: five standard deviations
    assert len(counts) == 18 and (counts - n / 18).abs().max() < 5 * math.sqrt(n / 18 * 17 / 18)


def test_crop_and_mirroring_come_before_the_rotation():
    x = images(5, 3, 9, 9)
    out = Augmentation(crop=2, flip=True, rotation=25.0, shift=0.2)(x, seeded())
    generator = seeded()
    first = Augmentation(crop=2, flip=True)(x, generator)
    assert torch.equal(Augmentation(rotation=25.0, shift=0.2)(first, generator), out)


def test_whole_pixels_of_uint8_images_are_those_of_float_images():
    x = (images(20, 3) * 255).to(torch.uint8)
    for augmentation in (Augmentation(0.3, True), Augmentation(crop=3, flip=True)):
        out = augmentation(x, seeded())
        assert out.dtype == torch.uint8
        assert torch.equal(out.float(), augmentation(x.float(), seeded()))


def test_rotation_of_uint8_images_is_that_of_float_images():
    x = (images(6, 1) * 255).to(torch.uint8)
    assert torch.equal(Augmentation(rotation=9.0)(x, seeded()), Augmentation(rotation=9.0)(x.float(), seeded()))


@pytest.mark.parametrize("side", [1, 4, 5])
def test_cutout_erases_a_clipped_square_about_a_centre_uniform_over_the_image(side):
    n, height, width = 8000, 6, 5
    out = Augmentation(cutout=side).cut_out(torch.ones(n, 2, height, width), seeded())
    assert torch.equal(out[:, 0], out[:, 1])
    first, last = -(side // 2), side - side // 2
    holes = {}
    for y in range(height):
        for x in range(width):
            hole = torch.ones(height, width)
            hole[max(y + first, 0) : max(y + last, 0), max(x + first, 0) : max(x + last, 0)] = 0
            key = hole.numpy().tobytes()
            holes[key] = holes.get(key, 0) + 1
    found = {}
    for image in out[:, 0]:
        found[image.contiguous().numpy().tobytes()] = found.get(image.contiguous().numpy().tobytes(), 0) + 1
    assert set(found) == set(holes)
    for key, centres in holes.items():
        share = centres / (height * width)
        assert abs(found[key] - n * share) < 5 * math.sqrt(n * share * (1 - share))


def test_cutout_of_nothing_returns_the_very_tensor_and_draws_nothing():
    x, generator = images(), seeded()
    before = generator.get_state()
    assert Augmentation(flip=True).cut_out(x, generator) is x
    assert torch.equal(generator.get_state(), before)


def test_cutout_draws_do_not_depend_on_the_images():
    settings = Augmentation(cutout=3)
    one, two = (settings.cut_out(scale * (images() + 1), seeded(4)) != 0 for scale in (1, -7))
    assert torch.equal(one, two)


@pytest.mark.parametrize("augmentation", [Augmentation(crop=2, flip=True), Augmentation(crop=1, rotation=5.0)])
def test_crops_differ_by_image_and_are_the_same_for_the_same_seed(augmentation):
    x = images(1).expand(50, -1, -1, -1)
    out = augmentation(x, seeded(2))
    assert len(torch.unique(out.flatten(1), dim=0)) > 1
    assert torch.equal(out, augmentation(x, seeded(2)))

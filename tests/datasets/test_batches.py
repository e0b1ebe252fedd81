"""Batches: every image once, normalised, with its own label, the same for the same seed."""

from __future__ import annotations

import pytest
import torch

from rfmodel.datasets import Augmentation, Split, batches
from rfmodel.errors import InputError


def numbered(n=23, c=1, side=6):
    """A split whose image i is filled with level i and has label i."""
    labels = torch.arange(n)
    return Split(labels.to(torch.uint8)[:, None, None, None].expand(n, c, side, side).contiguous(), labels)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_without_a_generator_images_come_in_order_and_the_last_batch_holds_the_rest():
    found = list(batches(numbered(), 5, mean=0.0, std=1.0))
    assert [len(y) for _, y in found] == [5, 5, 5, 5, 3]
    assert torch.cat([y for _, y in found]).tolist() == list(range(23))


def test_drop_last_leaves_out_only_a_batch_that_is_not_full():
    assert [len(y) for _, y in batches(numbered(23), 5, mean=0.0, std=1.0, drop_last=True)] == [5] * 4
    assert [len(y) for _, y in batches(numbered(20), 5, mean=0.0, std=1.0, drop_last=True)] == [5] * 4


def test_shuffled_batches_hold_every_image_once_with_its_own_label():
    found = list(batches(numbered(), 4, mean=0.0, std=1.0, generator=seeded()))
    labels = torch.cat([y for _, y in found])
    assert labels.sort().values.tolist() == list(range(23))
    assert labels.tolist() != list(range(23))
    levels = torch.cat([x[:, 0, 0, 0] for x, _ in found]) * 255
    torch.testing.assert_close(levels, labels.float())


@pytest.mark.parametrize("augmentation", [Augmentation(0.3, True), Augmentation(0.3, True, 40.0)])
def test_augmentation_leaves_each_label_with_its_image(augmentation):
    # images of one level stay of that level under any shift, mirror image or rotation with repeated edges
    for x, y in batches(numbered(), 4, mean=0.0, std=1.0, generator=seeded(), augmentation=augmentation):
        torch.testing.assert_close(x * 255, y.float()[:, None, None, None].expand_as(x), atol=1e-4, rtol=0)


def test_pixels_are_normalised_channel_by_channel():
    images = torch.randint(256, (10, 3, 4, 4), dtype=torch.uint8, generator=seeded())
    mean, std = torch.tensor([0.1, 0.4, 0.7]), torch.tensor([0.2, 0.3, 0.5])
    ((x, _),) = batches(Split(images, torch.zeros(10, dtype=torch.int64)), 10, mean=mean, std=std)
    expected = (images.double() / 255 - mean.double()[:, None, None]) / std.double()[:, None, None]
    torch.testing.assert_close(x.double(), expected, atol=1e-6, rtol=0)  # float32


def test_batches_normalised_by_their_own_statistics_have_mean_nought_and_deviation_one():
    images = torch.randint(256, (50, 3, 8, 8), dtype=torch.uint8, generator=seeded())
    split = Split(images, torch.zeros(50, dtype=torch.int64))
    mean, std = split.statistics()
    x = torch.cat([x for x, _ in batches(split, 16, mean=mean, std=std)]).double()
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(3).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(x.std((0, 2, 3), correction=0), torch.ones(3).double(), atol=1e-6, rtol=0)


def test_augmentation_sees_images_before_the_mean_is_taken_off():
    # edges repeat the image's own level: no pixel takes the value of an unnormalised zero
    split = Split(torch.full((8, 1, 6, 6), 200, dtype=torch.uint8), torch.zeros(8, dtype=torch.int64))
    shifted = Augmentation(shift=0.5, rotation=30.0)
    ((x, _),) = batches(split, 8, mean=0.5, std=0.25, generator=seeded(), augmentation=shifted)
    torch.testing.assert_close(x, torch.full_like(x, (200 / 255 - 0.5) / 0.25), atol=1e-5, rtol=0)


def test_a_crop_pads_with_black_and_cutout_erases_to_the_mean():
    split = Split(torch.full((64, 1, 6, 6), 200, dtype=torch.uint8), torch.zeros(64, dtype=torch.int64))
    augmentation = Augmentation(crop=2, cutout=2)
    ((x, _),) = batches(split, 64, mean=0.5, std=0.25, generator=seeded(), augmentation=augmentation)
    found = x.unique().tolist()
    assert found == pytest.approx([-0.5 / 0.25, 0.0, (200 / 255 - 0.5) / 0.25])


def test_cutout_is_drawn_after_everything_else_of_its_batch():
    split, settings = numbered(8, 3), {"mean": 0.5, "std": 0.2}
    plain, cut = (
        next(batches(split, 8, generator=seeded(), augmentation=Augmentation(crop=1, cutout=side), **settings))
        for side in (0, 3)
    )
    assert torch.equal(plain[1], cut[1])
    kept = cut[0] != 0
    assert torch.equal(plain[0][kept], cut[0][kept]) and not kept.all()


def test_same_seed_same_batches_and_each_epoch_its_own_order():
    settings = {"mean": 0.5, "std": 0.2, "augmentation": Augmentation(0.2, True)}
    first = list(batches(numbered(), 4, generator=seeded(1), **settings))
    again = list(batches(numbered(), 4, generator=seeded(1), **settings))
    assert all(torch.equal(a, b) and torch.equal(c, d) for (a, c), (b, d) in zip(first, again, strict=True))
    generator = seeded(1)
    epochs = [torch.cat([y for _, y in batches(numbered(), 4, generator=generator, **settings)]) for _ in "12"]
    assert not torch.equal(*epochs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_memory_layout_and_type_are_as_asked(dtype):
    for channels_last in (True, False):
        ((x, y),) = batches(numbered(4, 3), 4, mean=0.0, std=1.0, dtype=dtype, channels_last=channels_last)
        assert x.dtype == dtype and y.dtype == torch.int64
        assert x.is_contiguous(memory_format=torch.channels_last) == channels_last


def test_the_split_is_left_as_it_was():
    split = numbered()
    before = split.images.clone()
    for x, _ in batches(split, 4, mean=0.0, std=1.0, generator=seeded(), augmentation=Augmentation(0.2, True)):
        x.zero_()
    assert torch.equal(split.images, before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"mean": [0.1, 0.2]}, "mean of 2 numbers .* 3 channels: 1 or 3"),
        ({"std": [0.1, 0.2, 0.0]}, r"std=\[.*0\.0\]"),
        ({"augmentation": Augmentation(flip=True)}, "without a generator"),
    ],
)
def test_bad_settings_are_refused_at_the_call(settings, message):
    with pytest.raises(InputError, match=message):
        batches(**{"split": numbered(4, 3), "batch_size": 2, "mean": 0.0, "std": 1.0, **settings})

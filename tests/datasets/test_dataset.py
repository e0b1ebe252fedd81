"""Splits, their statistics, and the fingerprint that tells two data sets apart."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from rfmodel.datasets import Dataset, Split, fingerprint


def drawn(n=12, c=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (n, c, 5, 5), dtype=torch.uint8, generator=generator)
    return Split(images, torch.randint(4, (n,), generator=generator))


def test_statistics_are_the_mean_and_deviation_of_pixels_over_255():
    split = drawn()
    mean, std = split.statistics()
    pixels = split.images.double() / 255
    torch.testing.assert_close(mean, pixels.mean((0, 2, 3)))
    torch.testing.assert_close(std, pixels.std((0, 2, 3), correction=0))


def test_fingerprint_is_the_same_for_equal_bytes_and_has_sixteen_digits():
    one, same = fingerprint(drawn(), drawn(seed=1)), fingerprint(drawn(), drawn(seed=1))
    assert one == same
    assert len(one) == 16 and int(one, 16) >= 0


def test_fingerprint_changes_with_any_pixel_label_order_or_shape():
    split = drawn()
    images, labels = split.images.clone(), split.labels.clone()
    images[3, 1, 2, 2] ^= 1
    labels[5] += 1
    reshaped = Split(split.images.reshape(12, 1, 15, 5), split.labels)
    others = [
        Split(images, split.labels),
        Split(split.images, labels),
        split[torch.arange(11, -1, -1)],
        reshaped,
    ]
    assert len({fingerprint(each) for each in (split, *others)}) == 5
    assert fingerprint(split, others[0]) != fingerprint(others[0], split)


def test_fingerprint_does_not_depend_on_the_memory_layout():
    split = drawn()
    inner = Split(split.images.contiguous(memory_format=torch.channels_last), split.labels)
    assert fingerprint(inner) == fingerprint(split)


def test_moving_a_data_set_moves_every_split():
    split = drawn()
    dataset = Dataset("made", split, split[:3], split[3:5], ("a", "b", "c", "d"), fingerprint(split), "here")
    moved = dataset.to("meta")
    for part in (moved.train, moved.validation, moved.test):
        assert part.images.device.type == part.labels.device.type == "meta"
    assert (moved.fingerprint, moved.classes, moved.name) == (dataset.fingerprint, dataset.classes, "made")
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (12, 3, 2)
    assert dataset.image_shape == (3, 5, 5)


def test_data_sets_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        drawn().labels = torch.zeros(1)

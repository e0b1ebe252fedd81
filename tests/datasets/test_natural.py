"""Natural patches: real photographs, splits that share no pixel, and no patch without structure."""

from __future__ import annotations

import itertools
import socket

import numpy as np
import pytest
from scipy import ndimage

from rfmodel.datasets import natural_patches
from rfmodel.datasets.natural import LEAST_DEVIATION, MARGIN, PHOTOGRAPHS, photograph, regions
from rfmodel.errors import InputError


@pytest.fixture(scope="module")
def patches():
    return natural_patches()


def test_there_are_at_least_ten_photographs_and_a_thousand_training_patches_each(patches):
    train, validation, test = patches
    assert len(PHOTOGRAPHS) >= 10
    for part, count in ((train, 900), (validation, 100), (test, 200)):
        assert part.images.shape == (count * len(PHOTOGRAPHS), 1, 32, 32)
        assert part.images.dtype == np.uint8
        assert np.bincount(part.labels).tolist() == [count] * len(PHOTOGRAPHS)


def test_each_patch_is_the_photograph_at_its_corner(patches):
    for part in patches:
        for label, name in enumerate(PHOTOGRAPHS):
            image = photograph(name)
            for row in np.flatnonzero(part.labels == label)[:20]:
                y, x = part.corners[row]
                assert np.array_equal(part.images[row, 0], image[y : y + 32, x : x + 32])


def test_no_pixel_is_in_two_splits_and_a_margin_lies_between(patches):
    for label, name in enumerate(PHOTOGRAPHS):
        covered = []
        for part in patches:
            mask = np.zeros(photograph(name).shape, bool)
            for y, x in part.corners[part.labels == label]:
                mask[y : y + 32, x : x + 32] = True
            covered.append(mask)
        for one, other in itertools.combinations(covered, 2):
            within_margin = ndimage.binary_dilation(one, np.ones((3, 3)), iterations=MARGIN)
            assert not (within_margin & other).any()


@pytest.mark.parametrize(("height", "width"), [(150, 225), (256, 256), (300, 200)])
def test_regions_lie_within_the_photograph_and_apart(height, width):
    owner = np.zeros((height, width), int)
    for region in regions(height, width):
        owner[region.top : region.bottom, region.left : region.right] += 1
    assert owner.max() == 1
    assert (owner == 0).sum() == 2 * MARGIN * min(height, width)


def test_places_are_drawn_without_replacement(patches):
    for part in patches:
        places = np.column_stack([part.labels, part.corners])
        assert len(np.unique(places, axis=0)) == len(places)


def test_no_patch_is_nearly_constant(patches):
    for part in patches:
        assert part.images.astype(float).std((1, 2, 3)).min() >= LEAST_DEVIATION


def test_smooth_patches_are_left_out():
    # the test region of the moon is mostly plain: an unconditional draw would nearly surely take such a patch
    image, region = photograph("moon"), regions(256, 256)[2]
    inside = image[region.top : region.bottom, region.left : region.right]
    windows = np.lib.stride_tricks.sliding_window_view(inside, (32, 32)).astype(float)
    assert (windows.std((2, 3)) < LEAST_DEVIATION).mean() > 0.1


def test_same_seed_same_patches_and_another_seed_others():
    first, again, other = (
        natural_patches(classes=["camera", "grass"], train_per_class=50, test_per_class=10, seed=seed)
        for seed in (1, 1, 2)
    )
    assert all(np.array_equal(a.images, b.images) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a.corners, b.corners) for a, b in zip(first, other, strict=True))


def test_patches_of_a_photograph_do_not_depend_on_the_other_classes():
    few, many = (
        natural_patches(classes=classes, train_per_class=30, test_per_class=10)[0]
        for classes in (["coins", "grass"], ["brick", "coins", "grass"])
    )
    assert np.array_equal(few.images[few.labels == 0], many.images[many.labels == 1])


def test_size_and_reduction_set_the_patch():
    for part in natural_patches(16, ["coins", "grass"], train_per_class=40, test_per_class=10, reduction=1):
        assert part.images.shape[1:] == (1, 16, 16)
    assert photograph("coins", 1).shape == (303, 384)
    assert photograph("coins", 2).shape == (151, 192)


def test_nothing_is_asked_of_the_network(monkeypatch):
    def refuse(*_arguments, **_options):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    natural_patches(train_per_class=10, test_per_class=5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ["camera", "chelsee"]}, "photograph 'chelsee' is unknown.*did you mean 'chelsea'"),
        ({"classes": ["camera"]}, "classes camera were asked for"),
        ({"classes": ["camera", "camera"]}, "classes camera, camera were asked for"),
        ({"size": 0}, "size=0"),
        ({"size": 40}, "size=40 .*'coins' are 115, 35, 34 .*at most 34"),
        ({"train_per_class": -3}, "train_per_class=-3"),
        ({"test_per_class": 5000}, "5000 patches of .* places"),
        ({"reduction": 1.5}, "reduction=1.5"),
        ({"seed": -1}, "seed=-1"),
        ({"validation": 1}, "validation=1"),
    ],
)
def test_impossible_requests_name_the_value(options, message):
    with pytest.raises(InputError, match=message):
        natural_patches(**options)


def test_photograph_that_is_not_installed_names_the_file(monkeypatch):
    monkeypatch.setitem(PHOTOGRAPHS, "camera", "camera_of_another_version.png")
    with pytest.raises(InputError, match="photograph 'camera' .*camera_of_another_version.png"):
        photograph("camera")

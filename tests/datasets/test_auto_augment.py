"""AutoAugment: torchvision's policy, its own draw for each image, and no touch of the global random state."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from rfmodel.datasets import Augmentation, auto_augment
from rfmodel.datasets.auto_augment import POLICIES, Step, strength_of
from rfmodel.errors import InputError

needs_torchvision = pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed"
)


def images(n=64, c=3, side=16):
    return torch.randint(256, (n, c, side, side + 4), dtype=torch.uint8, generator=seeded(9))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("policy", POLICIES)
def test_without_torchvision_it_is_refused_by_the_name_of_the_extra(monkeypatch, policy):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = rf"auto_augment='{policy}' was asked for, but torchvision is not installed: `pip install rfmodel\[vision"
    with pytest.raises(InputError, match=message):
        Augmentation(auto_augment=policy)


@pytest.mark.parametrize(
    ("operation", "level", "strength"),
    [
        ("ShearX", 9, 0.3),
        ("Rotate", 3, 10.0),
        ("Color", 0, 0.0),
        ("TranslateX", 9, 150 / 331 * 40),
        ("TranslateY", 9, 150 / 331 * 30),
        ("Posterize", 0, 8),
        ("Posterize", 9, 4),
        ("Solarize", 0, 255),
        ("Solarize", 9, 0),
        ("Invert", None, 0.0),
    ],
)
def test_strengths_run_evenly_over_the_published_ranges(operation, level, strength):
    # float32
    assert strength_of(Step(operation, 1.0, level), 30, 40) == pytest.approx(strength, rel=1e-6, abs=1e-6)


@needs_torchvision
@pytest.mark.parametrize("c", [1, 3])
@pytest.mark.parametrize("policy", POLICIES)
def test_each_image_is_what_torchvision_makes_of_it_with_the_same_draw(policy, c):
    from torchvision.transforms import v2

    x = images(100, c)
    out = auto_augment.apply(policy, x, seeded())
    generator = seeded()
    pair = torch.randint(25, (100,), generator=generator)
    chance, positive = torch.rand(100, 2, generator=generator), torch.randint(2, (100, 2), generator=generator)
    theirs = v2.AutoAugment(v2.AutoAugmentPolicy(policy))
    for i in range(100):
        expected = x[i]
        for turn, (operation, probability, level) in enumerate(theirs._policies[int(pair[i])]):
            if chance[i, turn] <= probability:
                values, signed = theirs._AUGMENTATION_SPACE[operation]
                strength = values(10, *x.shape[2:])
                strength = 0.0 if strength is None else float(strength[level])
                strength *= -1 if signed and not positive[i, turn] else 1
                expected = theirs._apply_image_or_video_transform(
                    expected, operation, strength, interpolation=theirs.interpolation, fill=theirs._fill
                )
        assert torch.equal(out[i], expected)


@needs_torchvision
@pytest.mark.parametrize("policy", POLICIES)
def test_a_seed_reproduces_it_and_the_global_state_stays(policy):
    x = images()
    before, state = x.clone(), torch.get_rng_state()
    out = Augmentation(crop=2, flip=True, auto_augment=policy)(x, seeded(1))
    assert torch.equal(torch.get_rng_state(), state) and torch.equal(x, before)
    assert out.dtype == torch.uint8 and out.shape == x.shape
    assert torch.equal(out, Augmentation(crop=2, flip=True, auto_augment=policy)(x, seeded(1)))
    assert not torch.equal(out, Augmentation(crop=2, flip=True, auto_augment=policy)(x, seeded(2)))


@needs_torchvision
def test_it_comes_after_crop_flip_and_rotation():
    x, generator = images(), seeded(3)
    first = Augmentation(crop=2, flip=True, rotation=10.0)(x, generator)
    expected = auto_augment.apply("cifar10", first, generator)
    assert torch.equal(Augmentation(0, True, 10.0, 2, auto_augment="cifar10")(x, seeded(3)), expected)

"""The image folder as a data set: splits, memory, checks, and what is said of what was left out."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from pictures import encoded, flat, level_of, smooth, write_folder
from PIL import Image

from rfmodel.datasets import Split, StreamedSplit, load, state_of
from rfmodel.datasets.crops import View
from rfmodel.errors import InputError

TINY = {"size": 8, "decoder": "pillow"}


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "pictures")


def shown(split):
    return split.images[:, 0, 4, 4].tolist()


def test_a_small_folder_is_decoded_once_into_an_ordinary_split(folder):
    data = load("image_folder", folder=folder, colour=True, **TINY)
    assert all(type(split) is Split for split in (data.train, data.validation, data.test))
    assert data.image_shape == (3, 8, 8) and data.classes == ("ant", "bee", "cat") and data.name == "image_folder"
    assert data.train.images.dtype == torch.uint8 and data.train.labels.dtype == torch.int64


def test_val_is_the_test_split_and_validation_is_held_out_of_train_by_class(folder):
    data, again = (load("image_folder", folder=folder, validation=0.2, **TINY) for _ in range(2))
    assert shown(data.test) == [level_of("val", label, i) for label in range(3) for i in range(3)]
    assert data.validation.labels.bincount().tolist() == [2, 2, 2]
    assert data.train.labels.bincount().tolist() == [8, 8, 8]
    both = sorted(shown(data.train) + shown(data.validation))
    assert both == [level_of("train", label, i) for label in range(3) for i in range(10)]
    assert torch.equal(data.validation.images, again.validation.images)
    assert "train/, val/, validation held out of train/; decoded by pillow, decoded once" in data.source


def test_with_test_folders_val_chooses_and_nothing_is_held_out(folder):
    shutil.copytree(folder / "val", folder / "test")
    data = load("image_folder", folder=folder, validation=0.2, **TINY)
    assert (len(data.train), len(data.validation), len(data.test)) == (30, 9, 9)
    assert "train/, val/, test/; decoded" in data.source


def test_an_unlabelled_test_folder_is_left_out_and_said_so(folder):
    (folder / "test").mkdir()
    (folder / "test" / "0.jpg").write_bytes(encoded(flat(3)))
    data = load("image_folder", folder=folder, **TINY)
    assert len(data.test) == 9 and data.source.endswith("test/ without class folders left out")


def test_decoded_images_are_the_centres_that_streaming_gives(folder):
    (folder / "train" / "ant" / "000.jpg").write_bytes(encoded(smooth(0)))
    data = load("image_folder", folder=folder, colour=True, validation=0, **TINY)
    expected = View(8, 9, True, "pillow").centre(folder / "train" / "ant" / "000.jpg")
    assert np.array_equal(data.train.images[0], expected.transpose(2, 0, 1))


def test_memory_is_decoded_up_to_a_bound_and_streamed_beyond(folder, monkeypatch):
    images, pixels = 39, 8 * 8
    for bound, kind in ((images * pixels, Split), (images * pixels - 1, StreamedSplit)):
        monkeypatch.setattr("rfmodel.datasets.image_folder.IN_MEMORY", bound)
        data = load("image_folder", folder=folder, **TINY)
        assert all(isinstance(split, kind) for split in (data.train, data.validation, data.test))
        assert ("decoded once" in data.source) == (kind is Split)
        assert ("random resized crops in training" in data.source) == (kind is StreamedSplit)


@pytest.mark.parametrize(
    ("memory", "train_crop", "kind", "random"),
    [
        ("auto", "auto", Split, None),
        ("auto", "centre", Split, None),
        ("auto", "random_resized", StreamedSplit, True),
        ("stream", "auto", StreamedSplit, True),
        ("stream", "centre", StreamedSplit, False),
        ("decoded", "auto", Split, None),
    ],
)
def test_a_random_part_is_never_dropped_in_silence(folder, memory, train_crop, kind, random):
    data = load("image_folder", folder=folder, memory=memory, train_crop=train_crop, **TINY)
    assert isinstance(data.train, kind) and getattr(data.train, "random", None) is random
    if random is not None:
        assert not data.validation.random and not data.test.random


def test_the_fingerprint_is_the_same_streamed_or_decoded(folder):
    prints = [
        load("image_folder", folder=folder, memory=memory, **TINY).fingerprint for memory in ("stream", "decoded")
    ]
    assert prints[0] == prints[1]


@pytest.mark.parametrize("memory", ["stream", "decoded"])
def test_train_takes_the_classes_in_turn(folder, memory):
    whole, part = (load("image_folder", folder=folder, train=n, memory=memory, **TINY) for n in (None, 6))
    assert part.train.labels.tolist() == [0, 0, 1, 1, 2, 2] and len(part.validation) == len(whole.validation)
    assert part.fingerprint != whole.fingerprint


@pytest.mark.parametrize("kind", ["L", "CMYK"])
def test_grey_and_cmyk_jpegs_are_images_as_any_other(folder, kind):
    (folder / "train" / "ant" / "000.JPG").write_bytes(encoded(flat(77).convert(kind)))
    data = load("image_folder", folder=folder, colour=True, validation=0, **TINY)
    # quality 95 keeps a flat image within a few levels
    assert (data.train.images[0].int() - 77).abs().max() <= 3 and len(data.train) == 31


CORRUPT = {
    "train/ant/002.jpg": encoded(smooth(1))[:-40],
    "train/ant/003.jpg": b"GIF89a" + bytes(30),
    "val/bee/001.jpg": b"",
}


def spoiled(folder):
    for name, content in CORRUPT.items():
        (folder / name).write_bytes(content)
    (folder / "train" / "cat" / "notes.txt").write_text("not an image")
    return folder


@pytest.mark.parametrize("memory", ["stream", "decoded"])
def test_corrupt_images_are_counted_and_named_before_any_training(folder, memory):
    message = (
        r"pictures holds 4 of 40 images that cannot be read: train/ant/002.jpg \(.*truncated.*\), "
        r"train/ant/003.jpg \(neither JPEG nor PNG\), val/bee/001.jpg \(empty\), \.\.\.: fresh copies would do; "
        "skip_corrupt = true would skip them"
    )
    with pytest.raises(InputError, match=message) as caught:
        load("image_folder", folder=spoiled(folder), memory=memory, **TINY)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("memory", ["stream", "decoded"])
def test_corrupt_images_are_skipped_by_leave_only_and_stay_in_the_source(folder, memory):
    data = load("image_folder", folder=spoiled(folder), validation=0, memory=memory, skip_corrupt=True, **TINY)
    assert (len(data.train), len(data.test)) == (28, 8)
    assert data.train.labels.bincount().tolist() == [8, 10, 10] and data.test.labels.bincount().tolist() == [3, 2, 3]
    assert "; 4 corrupt skipped: train/ant/002.jpg (" in data.source
    if memory == "decoded":
        assert shown(data.train)[:4] == [level_of("train", 0, i) for i in (0, 1, 4, 5)]


def test_a_file_that_is_no_image_by_its_name_is_named(folder):
    (folder / "train" / "cat" / "notes.txt").write_text("not an image")
    with pytest.raises(InputError, match=r"1 of 40 images .*: train/cat/notes.txt \(no JPEG or PNG by its name\): fre"):
        load("image_folder", folder=folder, **TINY)


def test_a_class_of_which_nothing_is_left_is_named(folder):
    for image in (folder / "val" / "cat").iterdir():
        image.write_bytes(b"nothing")
    with pytest.raises(InputError, match=f"class folder {folder}/val/cat holds no image that can be read"):
        load("image_folder", folder=folder, skip_corrupt=True, **TINY)


def test_a_check_of_headers_finds_what_they_tell_and_none_nothing(folder):
    (folder / "train" / "ant" / "002.jpg").write_bytes(encoded(smooth(1))[:-40])
    for check in ("headers", "none"):
        assert len(load("image_folder", folder=folder, memory="stream", check=check, **TINY).train) == 27
    (folder / "train" / "ant" / "003.jpg").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"1 of 39 images .* train/ant/003.jpg \(neither JPEG nor PNG\)"):
        load("image_folder", folder=folder, memory="stream", check="headers", **TINY)
    assert len(load("image_folder", folder=folder, memory="stream", check="none", **TINY).train) == 27


def test_a_decompression_bomb_is_one_line(folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1999)
    with pytest.raises(InputError, match=r"39 of 39 images .* \(50 x 40 pixels, more than Pillow's guard of 1999\)"):
        load("image_folder", folder=folder, **TINY)


def test_progress_is_told_part_by_part(folder):
    told = []
    load("image_folder", folder=folder, progress=lambda *what: told.append(what), **TINY)
    load("image_folder", folder=folder, memory="stream", progress=lambda *what: told.append(what), **TINY)
    assert told == [
        (f"{what} {part}", n, n) for what in ("decoding", "checking") for part, n in (("train", 30), ("val", 9))
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"check": "some"}, "check 'some' is unknown: known are all, headers, none"),
        ({"memory": "disk"}, "memory 'disk' is unknown: known are auto, decoded, stream"),
        ({"train_crop": "center"}, "train_crop 'center' is unknown: .*did you mean 'centre'"),
        ({"decoder": "opencv"}, "decoder 'opencv' is unknown: known are auto, pillow, torchvision"),
        ({"workers": 0}, "workers=0 was asked for: a whole number of at least 1"),
        ({"workers": 1.5}, "workers=1.5 was asked for"),
        ({"resize": 7}, "resize=7 was asked for with size=8: .* at least 8 would do"),
        ({"size": 0}, "size=0 was asked for"),
        ({"skip_corrupt": "yes"}, "skip_corrupt='yes' was asked for: true or false would do"),
        ({"skip_corrupt": True, "check": "none"}, "skip_corrupt=true was asked for with check='none'"),
        (
            {"memory": "decoded", "train_crop": "random_resized"},
            "memory='decoded' was asked for with train_crop='random",
        ),
        ({"path": 3}, "path=3 was asked for: the name of a subfolder would do"),
        ({"path": "../elsewhere"}, "path='../elsewhere' was asked for, which leads out of"),
        ({"validation": 1.0}, "validation=1.0 was asked for"),
        ({"validation": 0.99}, "validation=0.99 was asked for and leaves no training image"),
        ({"train": 100}, "train=100 images were asked for, but 1 to 27 are there"),
        ({"crop": 4}, "option 'crop' of image_folder is unknown: known are check, decoder, memory, path, resize, skip"),
    ],
)
def test_impossible_options_name_the_value(folder, options, message):
    with pytest.raises(InputError, match=message) as caught:
        load("image_folder", folder=folder, **{**TINY, **options})
    assert "\n" not in str(caught.value)


def test_the_state_of_each_data_set_is_told_in_words(folder, tmp_path):
    assert state_of("natural_patches") == "built in"
    assert state_of("image_folder", folder) == "3 classes in train/, val/"
    assert state_of("image_folder", tmp_path).startswith(f"image_folder in {tmp_path} has no train/")
    assert state_of("cifar10", tmp_path).startswith("cifar10 was not found in")
    (tmp_path / "cifar-10-batches-py").mkdir()
    assert state_of("cifar10", tmp_path) == "0 of 6 files found"
    with pytest.raises(InputError, match="data set 'mnist' is unknown"):
        state_of("mnist")

"""Streamed splits: the same protocol as images in memory, whatever the number of threads, and none left behind."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from pictures import encoded, level_of, smooth, write_folder

from rfmodel.datasets import Augmentation, StreamedSplit, batches, fingerprint, load
from rfmodel.errors import InputError

STREAMED = {"colour": True, "size": 16, "memory": "stream", "decoder": "pillow"}


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path)


@pytest.fixture
def varied(tmp_path):
    """A folder of images with structure, so that crops differ."""
    for part, count in {"train": 14, "val": 2}.items():
        for name in ("ant", "bee"):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(count):
                image = smooth(1000 * len(part) + 100 * ord(name[0]) + i, 30 + i, 45 - i)
                (tmp_path / part / name / f"{i}.png").write_bytes(encoded(image, "PNG"))
    return tmp_path


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def decoding_threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("rfmodel-")]


def levels(found):
    return [round(float(level)) for x, _ in found for level in x[:, 0, 8, 8] * 255]


def test_a_streamed_split_stands_in_for_one_in_memory(folder):
    split = load("image_folder", folder=folder, validation=0, **STREAMED).train
    assert isinstance(split, StreamedSplit)
    assert len(split) == 30 and split.image_shape == (3, 16, 16) and split.device == torch.device("cpu")
    assert split.labels.dtype == torch.int64 and split.labels.tolist() == [0] * 10 + [1] * 10 + [2] * 10
    part = split[torch.tensor([25, 3, 3])][1:]
    assert part.labels.tolist() == [0, 0]
    assert levels(batches(part, 2, mean=0.0, std=1.0)) == [level_of("train", 0, 3)] * 2
    assert split.to("meta").labels.device.type == split.to("meta").device.type == "meta"


def test_in_order_each_image_comes_with_its_label_and_the_last_batch_holds_the_rest(folder):
    split = load("image_folder", folder=folder, validation=0, **STREAMED).train
    found = list(batches(split, 8, mean=0.0, std=1.0))
    assert [len(y) for _, y in found] == [8, 8, 8, 6]
    assert levels(found) == [level_of("train", label, i) for label in range(3) for i in range(10)]
    assert torch.equal(torch.cat([y for _, y in found]), split.labels)
    assert [len(y) for _, y in batches(split, 8, mean=0.0, std=1.0, drop_last=True)] == [8, 8, 8]


def test_shuffled_each_image_comes_once_in_the_order_of_a_split_in_memory(folder):
    settings = {"folder": folder, "validation": 0, **STREAMED, "train_crop": "centre"}
    streamed, decoded = (load("image_folder", **{**settings, "memory": m}).train for m in ("stream", "decoded"))
    options = {"mean": 0.4, "std": 0.3, "augmentation": Augmentation(crop=2, flip=True, cutout=4)}
    for (x, y), (u, v) in zip(
        batches(streamed, 7, generator=seeded(), **options),
        batches(decoded, 7, generator=seeded(), **options),
        strict=True,
    ):
        assert torch.equal(y, v) and torch.equal(x, u)
        assert x.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("batch", [1, 9, 40])
def test_a_seed_reproduces_the_crops_whatever_the_number_of_threads(varied, batch):
    options = {"mean": 0.5, "std": 0.2, "augmentation": Augmentation(flip=True)}
    runs = []
    for workers in (1, 2, 7):
        split = load("image_folder", folder=varied, validation=0, workers=workers, **STREAMED).train
        runs.append(torch.cat([x for x, _ in batches(split, batch, generator=seeded(3), **options)]))
    assert torch.equal(runs[0], runs[1]) and torch.equal(runs[0], runs[2])
    other = torch.cat([x for x, _ in batches(split, batch, generator=seeded(4), **options)])
    assert not torch.equal(runs[0], other)


def test_training_images_are_cropped_anew_each_epoch_and_evaluation_never_at_random(varied):
    data = load("image_folder", folder=varied, validation=0.3, **STREAMED)
    one = data.train[torch.zeros(12, dtype=torch.int64)]  # one image twelve times
    ((x, _),) = batches(one, 12, mean=0.0, std=1.0, generator=seeded())
    assert len(torch.unique(x.flatten(1), dim=0)) > 1
    ((again, _),) = batches(one, 12, mean=0.0, std=1.0)
    assert len(torch.unique(again.flatten(1), dim=0)) == 1
    for split in (data.validation, data.test):
        ((x, y),) = batches(split, 99, mean=0.0, std=1.0)
        ((u, v),) = batches(split, 99, mean=0.0, std=1.0, generator=seeded())
        rows = [sorted(image.numpy().tobytes() for image in images) for images in (x, u)]
        assert rows[0] == rows[1]


def test_images_of_one_level_keep_it_under_every_crop(folder):
    split = load("image_folder", folder=folder, validation=0, **STREAMED).train
    for x, y in batches(split, 4, mean=0.0, std=1.0, generator=seeded()):
        assert (x == x[:, :1, :1, :1]).all()
        within = (x[:, 0, 0, 0] * 255).round().long() - level_of("train", 0, 0) - 20 * y
        assert ((within >= 0) & (within < 10)).all()


def test_each_epoch_of_one_generator_has_its_own_order_and_crops(varied):
    split = load("image_folder", folder=varied, validation=0, **STREAMED).train
    generator = seeded()
    epochs = [torch.cat([x for x, _ in batches(split, 8, mean=0.0, std=1.0, generator=generator)]) for _ in "12"]
    assert not torch.equal(epochs[0].sort(0).values, epochs[1].sort(0).values)


def test_statistics_are_those_of_the_centres(varied):
    settings = {"folder": varied, "validation": 0, **STREAMED, "train_crop": "centre"}
    streamed, decoded = (load("image_folder", **{**settings, "memory": m}).train for m in ("stream", "decoded"))
    for ours, expected in zip(streamed.statistics(), decoded.statistics(), strict=True):
        assert torch.equal(ours, expected)


def test_statistics_of_many_images_are_taken_over_evenly_spaced_ones(folder, monkeypatch):
    monkeypatch.setattr("rfmodel.datasets.streaming.SAMPLE", 3)
    split = load("image_folder", folder=folder, validation=0, **STREAMED).train
    mean, std = split.statistics()
    sample = np.array([level_of("train", 0, 0), level_of("train", 1, 4), level_of("train", 2, 9)]) / 255  # 14.5 to 14
    assert mean.tolist() == pytest.approx([sample.mean()] * 3) and std.tolist() == pytest.approx([sample.std()] * 3)


def test_no_thread_outlives_its_iterator(folder):
    split = load("image_folder", folder=folder, validation=0, workers=3, **STREAMED).train
    assert decoding_threads() == []
    list(batches(split, 4, mean=0.0, std=1.0))
    assert decoding_threads() == []
    for _ in batches(split, 4, mean=0.0, std=1.0, generator=seeded()):
        assert decoding_threads()
        break
    assert decoding_threads() == []
    next(iter(batches(split, 4, mean=0.0, std=1.0)))
    assert decoding_threads() == []
    with pytest.raises(KeyboardInterrupt):
        for _ in batches(split, 4, mean=0.0, std=1.0):
            raise KeyboardInterrupt
    assert decoding_threads() == []


def test_only_three_batches_are_decoded_ahead(folder, monkeypatch):
    split, begun = load("image_folder", folder=folder, validation=0, workers=2, **STREAMED).train, []
    whole = StreamedSplit._begun
    monkeypatch.setattr(StreamedSplit, "_begun", lambda split, *batch: begun.append(batch) or whole(split, *batch))
    stream = batches(split, 2, mean=0.0, std=1.0)
    for taken in (1, 2):
        next(stream)
        assert len(begun) == taken + 3
    stream.close()
    assert len(begun) == 5


def test_an_image_that_goes_bad_during_training_is_named(folder):
    split = load("image_folder", folder=folder, validation=0, **STREAMED).train
    bad = folder / "train" / "bee" / "004.jpg"
    bad.write_bytes(bad.read_bytes()[:300])
    with pytest.raises(InputError, match=rf"image {bad} cannot be read \(.*\): a fresh copy would do; check = 'all'"):
        list(batches(split, 4, mean=0.0, std=1.0, generator=seeded()))
    assert decoding_threads() == []


def test_fingerprint_is_over_names_sizes_and_labels(folder):
    split = load("image_folder", folder=folder, validation=0, **STREAMED).train
    print_of = fingerprint(split)
    assert fingerprint(load("image_folder", folder=folder, validation=0, **STREAMED).train) == print_of
    assert fingerprint(split[:29]) != print_of and fingerprint(split[torch.arange(29, -1, -1)]) != print_of
    first = folder / "train" / "ant" / "000.jpg"
    first.write_bytes(first.read_bytes() + b"x")
    larger = fingerprint(load("image_folder", folder=folder, validation=0, **STREAMED).train)
    first.rename(first.with_name("00.jpg"))
    renamed = fingerprint(load("image_folder", folder=folder, validation=0, **STREAMED).train)
    assert len({print_of, larger, renamed}) == 3


@pytest.mark.parametrize("parts", [2, 3])
def test_processes_that_share_a_batch_decode_their_own_part_of_what_one_would(varied, parts, monkeypatch):
    split = load("image_folder", folder=varied, validation=0, train_crop="random_resized", **STREAMED).train
    read = []
    own = type(split.view).random_part
    monkeypatch.setattr(type(split.view), "random_part", lambda *given: read.append(given[1]) or own(*given))

    def drawn(share):
        read.clear()
        augmentation = Augmentation(flip=True, crop=2, cutout=4)
        made = batches(split, 8, mean=0.5, std=0.5, generator=seeded(), augmentation=augmentation, share=share)
        return list(made), len(read)

    (whole, most), shares = drawn((0, 1)), [drawn((i, parts)) for i in range(parts)]
    assert most == len(split) == 28
    for k, (x, y) in enumerate(whole):
        each = len(y) // parts
        assert torch.equal(torch.cat([found[k][0] for found, _ in shares]), x[: parts * each])
        assert torch.equal(torch.cat([found[k][1] for found, _ in shares]), y[: parts * each])
    assert [count for _, count in shares] == [sum(len(y) // parts for _, y in whole)] * parts

"""A data set: three splits of uint8 images, each one tensor on one device or a stream of files, and a fingerprint."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64, UInt8
from torch import Tensor

from rfmodel.datasets.levels import level_counts, moments
from rfmodel.datasets.streaming import StreamedSplit


@dataclass(frozen=True)
class Split:
    """The images and labels of one part of a data set.

    Parameters
    ----------
    images : uint8 tensor (n, c, h, w), grey levels 0-255, c = 1 (grey) or 3 (RGB).
    labels : int64 tensor (n,), class indices.
    """

    images: UInt8[Tensor, "n c h w"]
    labels: Int64[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def device(self) -> torch.device:
        """Where the images are."""
        return self.images.device

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def to(self, device: torch.device | str) -> Split:
        """Return the split on `device`."""
        return Split(self.images.to(device), self.labels.to(device))

    def __getitem__(self, rows: Tensor | slice) -> Split:
        return Split(self.images[rows], self.labels[rows])

    def statistics(self) -> tuple[Float64[Tensor, " c"], Float64[Tensor, " c"]]:
        """Return each channel's mean and standard deviation over all pixels, of grey levels divided by 255.

        The sums run over the 256 counts of each channel's histogram, so they are exact and need no float copy
        of the images.

        Returns
        -------
        mean, std : float64 tensors (c,), in [0, 1], on the processor.
        """
        return moments(level_counts(self.images))

    def identity(self) -> Iterator[bytes]:
        """Yield what tells this split from another: shape and bytes of its images and of its labels."""
        for tensor in (self.images, self.labels):
            yield f"{tuple(tensor.shape)}".encode()
            yield tensor.contiguous().cpu().numpy().data

    def pieces(
        self,
        batch_size: int,
        stop: int,
        order: Int64[Tensor, " n"] | None,
        generator: torch.Generator | None,
        share: tuple[int, int] = (0, 1),
        skip: int = 0,
    ) -> Iterator[tuple[UInt8[Tensor, "b c h w"], Int64[Tensor, " b"]]]:
        """Yield images and labels of successive batches up to row `stop`, in the order given.

        Parameters
        ----------
        batch_size : rows a batch.
        stop : row of `order` at which to end.
        order : (n,) rows, on the split's device; as they lie where None.
        generator : of draws that reading an image needs; here there are none.
        share : (which, of how many): the part of each batch that is wanted; the others' images need not be read.
        skip : batches to leave out at the beginning.
        """
        for start in range(skip * batch_size, stop, batch_size):
            rows = slice(start, start + batch_size)
            if order is None:
                yield self.images[rows], self.labels[rows]
            else:
                yield self.images.index_select(0, order[rows]), self.labels.index_select(0, order[rows])


@dataclass(frozen=True)
class Dataset:
    """Images to train on, to choose by (`validation`) and to report on (`test`).

    Parameters
    ----------
    name : registered name, as given to `load`.
    train, validation, test : the splits; validation is held out of the training images, test is as published. Those
        of a large image folder are streamed.
    classes : class names; labels index into them.
    fingerprint : 16 hexadecimal digits over every image and label, see `fingerprint`; for an image folder over every
        file's relative name, bytes and label, whether it is streamed or not.
    source : where the images came from, in words.
    """

    name: str
    train: Split | StreamedSplit
    validation: Split | StreamedSplit
    test: Split | StreamedSplit
    classes: tuple[str, ...]
    fingerprint: str
    source: str

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        return self.train.image_shape

    def to(self, device: torch.device | str) -> Dataset:
        """Return the data set with the images and labels of every split on `device`."""
        moved = {part: getattr(self, part).to(device) for part in ("train", "validation", "test")}
        return dataclasses.replace(self, **moved)


def fingerprint(*splits: Split | StreamedSplit) -> str:
    """Return the first 16 hexadecimal digits of SHA-256 over the splits' identities.

    Of images in memory that is shape and bytes of every image and label tensor; of files the relative name, the number
    of bytes and the label of each.

    Parameters
    ----------
    *splits : taken in the order given; the device they are on does not matter.
    """
    digest = hashlib.sha256()
    for split in splits:
        for piece in split.identity():
            digest.update(piece)
    return digest.hexdigest()[:16]

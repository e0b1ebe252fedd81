"""A data set: three splits of uint8 images, each one tensor on one device, and a fingerprint of all bytes."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64, UInt8
from torch import Tensor


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
        level = torch.arange(256, dtype=torch.float64) / 255
        counts = torch.stack(
            [torch.bincount(channel.flatten(), minlength=256).cpu().double() for channel in self.images.unbind(1)]
        )
        weights = counts / counts.sum(1, keepdim=True)
        mean = weights @ level
        return mean, (weights * (level - mean[:, None]) ** 2).sum(1).sqrt()


@dataclass(frozen=True)
class Dataset:
    """Images to train on, to choose by (`validation`) and to report on (`test`).

    Parameters
    ----------
    name : registered name, as given to `load`.
    train, validation, test : the splits; validation is held out of the training images, test is as published.
    classes : class names; labels index into them.
    fingerprint : 16 hexadecimal digits over every image and label, see `fingerprint`.
    source : where the images came from, in words.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    fingerprint: str
    source: str

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    def to(self, device: torch.device | str) -> Dataset:
        """Return the data set with the images and labels of every split on `device`."""
        moved = {part: getattr(self, part).to(device) for part in ("train", "validation", "test")}
        return dataclasses.replace(self, **moved)


def fingerprint(*splits: Split) -> str:
    """Return the first 16 hexadecimal digits of SHA-256 over shape and bytes of every image and label tensor.

    Parameters
    ----------
    *splits : taken in the order given; the device they are on does not matter.
    """
    digest = hashlib.sha256()
    for split in splits:
        for tensor in (split.images, split.labels):
            digest.update(f"{tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().cpu().numpy().data)
    return digest.hexdigest()[:16]

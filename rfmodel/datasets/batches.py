"""Normalised mini-batches, cut from the uint8 tensor on its own device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rfmodel.datasets.augment import Augmentation
from rfmodel.datasets.dataset import Split
from rfmodel.errors import InputError

ChannelValues = float | Sequence[float] | Tensor


def batches(
    split: Split,
    batch_size: int,
    *,
    mean: ChannelValues,
    std: ChannelValues,
    generator: torch.Generator | None = None,
    augmentation: Augmentation | None = None,
    channels_last: bool = True,
    dtype: torch.dtype = torch.float32,
    drop_last: bool = False,
) -> Iterator[tuple[Float[Tensor, "b c h w"], Int64[Tensor, " b"]]]:
    """Yield the split's images and labels in batches, x = (augmented(pixels / 255) - mean) / std.

    Parameters
    ----------
    split : the images stay on their device, as uint8; only a batch at a time becomes float.
    batch_size : images a batch; the last batch holds what is left.
    mean, std : of pixels / 255, one number or one a channel.
    generator : shuffles the images and feeds the augmentation; the images come in order where it is None.
    augmentation : applied to pixels / 255 in float32.
    channels_last : lay images of several channels out with channels innermost.
    dtype : of x.
    drop_last : leave out a last batch that is not full.

    Yields
    ------
    x, y : (b, c, h, w) and (b,).

    Raises
    ------
    InputError
        If the batch size is below 1, a value is not one a channel, a std is not positive, or an augmentation
        comes without a generator. It is raised at the call, not at the first batch.
    """
    if batch_size < 1:
        raise InputError(f"batch_size={batch_size} was asked for: at least 1 would do")
    if augmentation is not None and generator is None:
        raise InputError("augmentation was asked for without a generator: a torch.Generator would do")
    mean, std = (_per_channel(key, values, split) for key, values in (("mean", mean), ("std", std)))
    if not bool((std > 0).all()):
        raise InputError(f"std={std.flatten().tolist()} was given: positive numbers would do")
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return _cut(split, batch_size, mean, std, generator, augmentation, layout, dtype, drop_last)


def _cut(
    split: Split,
    batch_size: int,
    mean: Tensor,
    std: Tensor,
    generator: torch.Generator | None,
    augmentation: Augmentation | None,
    layout: torch.memory_format,
    dtype: torch.dtype,
    drop_last: bool,
) -> Iterator[tuple[Tensor, Tensor]]:
    n, device = len(split), split.images.device
    order = None if generator is None else torch.randperm(n, generator=generator, device=generator.device).to(device)
    # (pixels / 255 - mean) / std in one multiplication and one addition
    scale, offset = 1 / (255 * std), -mean / std
    for start in range(0, n - n % batch_size if drop_last else n, batch_size):
        rows = slice(start, start + batch_size)
        images, labels = split.images, split.labels
        images, labels = (
            (images[rows], labels[rows])
            if order is None
            else (images.index_select(0, order[rows]), labels.index_select(0, order[rows]))
        )
        x = images.float()
        if augmentation is not None:
            # copying and bilinear weights commute with a common factor: 0-255 serves as 0-1
            x = augmentation(x, generator)
        yield torch.addcmul(offset, x, scale).to(dtype).contiguous(memory_format=layout), labels


def _per_channel(key: str, values: ChannelValues, split: Split) -> Float[Tensor, "1 c 1 1"]:
    channels = split.images.shape[1]
    given = torch.as_tensor(values, dtype=torch.float64).flatten()
    if len(given) not in (1, channels):
        raise InputError(
            f"{key} of {len(given)} numbers was given, but the images have {channels} channels: "
            f"1 or {channels} would do"
        )
    return given.expand(channels).view(1, channels, 1, 1).to(split.images.device, torch.float32)

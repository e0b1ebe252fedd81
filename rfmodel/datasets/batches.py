"""Normalised mini-batches, cut from uint8 images on their own device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rfmodel.datasets.augment import Augmentation
from rfmodel.datasets.dataset import Split
from rfmodel.datasets.sharing import part
from rfmodel.datasets.streaming import StreamedSplit
from rfmodel.errors import InputError

ChannelValues = float | Sequence[float] | Tensor


def batches(
    split: Split | StreamedSplit,
    batch_size: int,
    *,
    mean: ChannelValues,
    std: ChannelValues,
    generator: torch.Generator | None = None,
    augmentation: Augmentation | None = None,
    channels_last: bool = True,
    dtype: torch.dtype = torch.float32,
    drop_last: bool = False,
    share: tuple[int, int] = (0, 1),
    skip: int = 0,
    after: Tensor | None = None,
) -> Iterator[tuple[Float[Tensor, "b c h w"], Int64[Tensor, " b"]]]:
    """Yield the split's images and labels in batches, x = (augmented(pixels / 255) - mean) / std, then Cutout.

    Parameters
    ----------
    split : the images stay on their device, as uint8; only a batch at a time becomes float. A streamed split reads and
        decodes them batch by batch, ahead, in threads that end with the iterator.
    batch_size : images a batch; the last batch holds what is left.
    mean, std : of pixels / 255, one number or one a channel.
    generator : shuffles the images, then feeds a streamed split's random parts and the augmentation; the images come in
        order where it is None.
    augmentation : applied to pixels; its Cutout to x, so that it erases to the mean.
    channels_last : lay images of several channels out with channels innermost.
    dtype : of x.
    drop_last : leave out a last batch that is not full.
    share : (which, of how many): yield that part of each batch only. Every part sees the draws of the whole batch, so
        that together they are the batches of one; images of a last batch that the parts cannot share evenly are left
        out.
    skip : leave out so many batches at the beginning, which are neither read nor drawn for.
    after : the generator's state when those had been drawn, so that the others are as if none had been left out; the
        generator itself comes in the state that it was in before the first.

    Yields
    ------
    x, y : (b, c, h, w) and (b,).

    Raises
    ------
    InputError
        If the batch size is below 1, a value is not one a channel, a std is not positive, an augmentation comes
        without a generator, or there are not so many batches to skip. It is raised at the call, not at the first batch.
    """
    if batch_size < 1:
        raise InputError(f"batch_size={batch_size} was asked for: at least 1 would do")
    if augmentation is not None and generator is None:
        raise InputError("augmentation was asked for without a generator: a torch.Generator would do")
    if not 0 <= skip <= max(0, -(-len(split) // batch_size)):
        raise InputError(f"skip={skip} was asked for: batches from 0 to {-(-len(split) // batch_size)} would do")
    mean, std = (_per_channel(key, values, split) for key, values in (("mean", mean), ("std", std)))
    if not bool((std > 0).all()):
        raise InputError(f"std={std.flatten().tolist()} was given: positive numbers would do")
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return _cut(split, batch_size, mean, std, generator, augmentation, layout, dtype, drop_last, share, skip, after)


def _cut(
    split: Split | StreamedSplit,
    batch_size: int,
    mean: Tensor,
    std: Tensor,
    generator: torch.Generator | None,
    augmentation: Augmentation | None,
    layout: torch.memory_format,
    dtype: torch.dtype,
    drop_last: bool,
    share: tuple[int, int],
    skip: int,
    after: Tensor | None,
) -> Iterator[tuple[Tensor, Tensor]]:
    n, device = len(split), split.device
    order = None if generator is None else torch.randperm(n, generator=generator, device=generator.device).to(device)
    # (pixels / 255 - mean) / std in one multiplication and one addition
    scale, offset = 1 / (255 * std), -mean / std
    stop = n - n % batch_size if drop_last else n
    which, parts = share
    with closing(split.pieces(batch_size, stop, order, generator, share, skip)) as pieces:
        for images, labels in pieces:
            if after is not None:  # the order, and the seed of random parts, have been drawn by now
                generator.set_state(after)
                after = None
            if augmentation is not None:
                # copying and bilinear weights commute with a common factor: 0-255 serves as 0-1
                images = augmentation(images, generator)
            x = torch.addcmul(offset, images.float(), scale)
            if augmentation is not None:
                x = augmentation.cut_out(x, generator)
            if parts > 1:
                own = part(len(labels), which, parts)
                x, labels = x[own], labels[own]
            if len(labels):
                yield x.to(dtype).contiguous(memory_format=layout), labels
    if after is not None:  # nothing was left
        generator.set_state(after)


def _per_channel(key: str, values: ChannelValues, split: Split | StreamedSplit) -> Float[Tensor, "1 c 1 1"]:
    channels = split.image_shape[0]
    given = torch.as_tensor(values, dtype=torch.float64).flatten()
    if len(given) not in (1, channels):
        raise InputError(
            f"{key} of {len(given)} numbers was given, but the images have {channels} channels: "
            f"1 or {channels} would do"
        )
    return given.expand(channels).view(1, channels, 1, 1).to(split.device, torch.float32)

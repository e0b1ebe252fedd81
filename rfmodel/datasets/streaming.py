"""Splits whose images stay files: decoded batch by batch in threads, ahead of the device that wants them."""

from __future__ import annotations

import dataclasses
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64, UInt8
from torch import Tensor

from rfmodel.datasets.crops import DRAWS, View
from rfmodel.datasets.decoding import Unreadable
from rfmodel.datasets.folders import Listing
from rfmodel.datasets.levels import level_counts, moments
from rfmodel.datasets.sharing import part
from rfmodel.errors import InputError

AHEAD = 3  # batches decoded before they are asked for
SAMPLE = 10_000  # images that the statistics are taken over


@dataclass(frozen=True, eq=False)
class StreamedSplit:
    """One part of an image folder, read from its files whenever it is gone through; stands in for a `Split`.

    Parameters
    ----------
    listing : the files of one folder.
    rows : (n,) which of them, in which order.
    labels : int64 tensor (n,), on the device that batches go to.
    view : how a file becomes pixels.
    random : cut a random part of each image where batches are drawn with a generator; the centre otherwise, and always
        where they come in order.
    workers : threads that decode.
    """

    listing: Listing
    rows: Int64[np.ndarray, " n"]
    labels: Int64[Tensor, " n"]
    view: View
    random: bool
    workers: int

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def device(self) -> torch.device:
        """Where batches come out."""
        return self.labels.device

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        return 3 if self.view.colour else 1, self.view.size, self.view.size

    def to(self, device: torch.device | str) -> StreamedSplit:
        """Return the split with its labels, and from now on its batches, on `device`."""
        return dataclasses.replace(self, labels=self.labels.to(device))

    def __getitem__(self, rows: Tensor | slice) -> StreamedSplit:
        chosen = rows if isinstance(rows, slice) else rows.cpu().numpy()
        return dataclasses.replace(self, rows=self.rows[chosen], labels=self.labels[rows])

    def statistics(self) -> tuple[Float64[Tensor, " c"], Float64[Tensor, " c"]]:
        """Return each channel's mean and standard deviation, as `Split.statistics`, of the centres of the images.

        Of more than 10,000 images, 10,000 evenly spaced ones are taken.
        """
        n = len(self)
        spread = torch.from_numpy(np.linspace(0, n - 1, min(n, SAMPLE)).round().astype(np.int64))
        sample = dataclasses.replace(self, labels=self.labels.cpu())[spread]
        counts = sum(level_counts(images) for images, _ in sample.pieces(64, len(sample), None, None))
        return moments(counts)

    def identity(self) -> Iterator[bytes]:
        """Yield what tells this split from another: each file's relative name, bytes and label, not its content."""
        sizes = self.listing.sizes
        for row, label in zip(self.rows.tolist(), self.labels.tolist(), strict=True):
            yield f"{self.listing.names[row]}\0{sizes[row]}\0{label}\n".encode(errors="surrogateescape")

    def pieces(
        self,
        batch_size: int,
        stop: int,
        order: Int64[Tensor, " n"] | None,
        generator: torch.Generator | None,
        share: tuple[int, int] = (0, 1),
        skip: int = 0,
    ) -> Iterator[tuple[UInt8[Tensor, "b c h w"], Int64[Tensor, " b"]]]:
        """Yield images and labels of successive batches up to row `stop`, as `Split.pieces`.

        The random parts are drawn from a generator of their own, seeded by one draw of `generator`: they depend
        neither on the number of threads nor on how far ahead these work. Threads end with the iterator, however it is
        left. Images outside of the share are black. Batches that are skipped are drawn for, and not decoded.

        Raises
        ------
        InputError
            If an image cannot be read; the message names it.
        """
        chosen = np.arange(len(self)) if order is None else order.cpu().numpy()
        draw = self._drawn(generator)
        starts = range(skip * batch_size, stop, batch_size)
        for start in range(0, min(starts.start, stop) if draw is not None else 0, batch_size):
            self._parts(len(chosen[start : start + batch_size]), draw)
        with closing(self._decoded(starts, chosen, batch_size, draw, share)) as decoded:
            for start, images in zip(starts, decoded, strict=True):
                rows = slice(start, start + batch_size)
                labels = self.labels[rows] if order is None else self.labels.index_select(0, order[rows])
                yield images.to(self.device, non_blocking=True), labels

    def _drawn(self, generator: torch.Generator | None) -> torch.Generator | None:
        if generator is None or not self.random:
            return None
        seed = torch.randint(2**62, (1,), generator=generator, device=generator.device)
        return torch.Generator().manual_seed(int(seed))

    @staticmethod
    def _parts(images: int, draw: torch.Generator) -> Float[Tensor, "b draws"]:
        return torch.rand(images, DRAWS, generator=draw)

    def _decoded(
        self,
        starts: range,
        chosen: Int64[np.ndarray, " n"],
        batch_size: int,
        draw: torch.Generator | None,
        share: tuple[int, int],
    ) -> Iterator[UInt8[Tensor, "b c h w"]]:
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="rfmodel-decoding")
        waiting: deque[tuple[Tensor, list[Future]]] = deque()
        try:
            for start in starts:
                rows = self.rows[chosen[start : start + batch_size]]
                waiting.append(self._begun(pool, rows, draw, share))
                if len(waiting) > AHEAD:
                    yield _finished(*waiting.popleft())
            while waiting:
                yield _finished(*waiting.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _begun(
        self,
        pool: ThreadPoolExecutor,
        rows: Int64[np.ndarray, " b"],
        draw: torch.Generator | None,
        share: tuple[int, int],
    ) -> tuple[Tensor, list[Future]]:
        """Start decoding a batch into memory that a GPU can copy from while it computes."""
        pinned = self.device.type == "cuda"
        channels, height, width = self.image_shape
        # channels innermost, as decoders write them
        make = torch.empty if share[1] == 1 else torch.zeros
        images = make(len(rows), height, width, channels, dtype=torch.uint8, pin_memory=pinned)
        draws = None if draw is None else self._parts(len(rows), draw)
        own = np.arange(len(rows))[part(len(rows), *share)]
        lots = np.array_split(own, max(1, min(len(own), self.workers)))
        begun = [pool.submit(self._fill, images.numpy(), lot.tolist(), rows, draws) for lot in lots]
        return images.permute(0, 3, 1, 2), begun

    def _fill(
        self,
        images: UInt8[np.ndarray, "b h w c"],
        lot: list[int],
        rows: Int64[np.ndarray, " b"],
        draws: Float[Tensor, "b draws"] | None,
    ) -> None:
        for place in lot:
            path = self.listing.path(rows[place])
            try:
                images[place] = self.view.centre(path) if draws is None else self.view.random_part(path, draws[place])
            except Unreadable as error:
                raise InputError(
                    f"image {path} cannot be read ({error}): a fresh copy would do; check = 'all' finds every such "
                    "image before training"
                ) from error


def _finished(images: Tensor, begun: list[Future]) -> Tensor:
    for future in begun:
        future.result()
    return images


def processors() -> int:
    """Return how many processors this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1

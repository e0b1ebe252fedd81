"""Every image of a folder looked at before any training, in threads: what is corrupt is named and counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

import numpy as np
from jaxtyping import UInt8

from rfmodel.datasets.crops import View
from rfmodel.datasets.decoding import DECODERS, Unreadable, read, read_header
from rfmodel.datasets.folders import Listing
from rfmodel.datasets.progress import Progress, silent
from rfmodel.errors import InputError

SHARE = 64  # images that a thread takes at a time
NAMED = 3  # corrupt images that a message names


def headers(listing: Listing, workers: int, progress: Progress | None = None) -> dict[int, str]:
    """Return the rows whose file has no header of an 8-bit JPEG or PNG image, each with the reason.

    Parameters
    ----------
    listing : the files.
    workers : threads.
    progress : called with ("checking train", images done, images).
    """
    return _amiss(lambda row: read_header(listing.path(row)), listing, workers, "checking", progress)


def decodable(listing: Listing, decoder: str, workers: int, progress: Progress | None = None) -> dict[int, str]:
    """Return the rows whose file cannot be decoded to its end, each with the reason; parameters as `headers`."""
    decode = DECODERS[decoder]
    return _amiss(lambda row: read(listing.path(row), decode), listing, workers, "checking", progress)


def decoded(
    listing: Listing, view: View, workers: int, progress: Progress | None = None
) -> tuple[UInt8[np.ndarray, "n c size size"], dict[int, str]]:
    """Return the centre of every image, and the rows that cannot be decoded; parameters as `headers`."""
    pixels = np.zeros((len(listing), 3 if view.colour else 1, view.size, view.size), np.uint8)

    def decode(row: int) -> None:
        pixels[row] = view.centre(listing.path(row)).transpose(2, 0, 1)

    return pixels, _amiss(decode, listing, workers, "decoding", progress)


def refuse(listings: Sequence[Listing], amiss: Sequence[dict[int, str]], strays: Sequence[str]) -> None:
    """Raise `InputError` if anything is amiss: how many images, the first of them by name and reason."""
    found = named(listings, amiss, strays)
    if found:
        total = sum(len(listing) for listing in listings) + len(strays)
        first = ", ".join(found[:NAMED]) + (", ..." if len(found) > NAMED else "")
        raise InputError(
            f"{listings[0].root} holds {len(found)} of {total} images that cannot be read: {first}: fresh copies "
            "would do; skip_corrupt = true would skip them"
        )


def named(listings: Sequence[Listing], amiss: Sequence[dict[int, str]], strays: Sequence[str]) -> list[str]:
    """Return "name (reason)" of every file that is amiss, by part and row; strays are no images by their names."""
    corrupt = [
        f"{listing.names[row]} ({rows[row]})"
        for listing, rows in zip(listings, amiss, strict=True)
        for row in sorted(rows)
    ]
    return corrupt + [f"{name} (no JPEG or PNG by its name)" for name in strays]


def _amiss(
    look: Callable[[int], object], listing: Listing, workers: int, what: str, progress: Progress | None
) -> dict[int, str]:
    def through(rows: range) -> dict[int, str]:
        reasons = {}
        for row in rows:
            try:
                look(row)
            except Unreadable as error:
                reasons[row] = str(error)
        return reasons

    n, amiss, done = len(listing), {}, 0
    pool = ThreadPoolExecutor(workers, thread_name_prefix="rfmodel-checking")
    try:
        begun = {}
        for start in range(0, n, SHARE):
            rows = range(start, min(start + SHARE, n))
            begun[pool.submit(through, rows)] = len(rows)
        for future in as_completed(begun):
            amiss |= future.result()
            done += begun[future]
            (progress or silent)(f"{what} {listing.part}", done, n)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return amiss

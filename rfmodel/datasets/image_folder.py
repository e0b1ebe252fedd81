"""ImageNet-style folders: small ones decoded into memory once, large ones streamed from their files."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from rfmodel.datasets import checking
from rfmodel.datasets.crops import View
from rfmodel.datasets.dataset import Dataset, Split
from rfmodel.datasets.decoding import DECODERS, decoder_name
from rfmodel.datasets.finding import data_folder
from rfmodel.datasets.folders import NAME, Listing, class_names, image_root, listed, parts
from rfmodel.datasets.progress import Progress
from rfmodel.datasets.streaming import StreamedSplit, processors
from rfmodel.errors import InputError, one_of

SIZE = 224
LARGEST = 4096  # pixels of a side that images are resized to
IN_MEMORY = 2**30  # bytes of decoded pixels up to which memory = "auto" decodes once; 7,133 colour images of 224 pixels


@dataclass(frozen=True)
class FolderOptions:
    """How an image folder is read.

    Parameters
    ----------
    path : subfolder of the data folder that holds train/ and val/; it cannot lead out of it.
    decoder : "torchvision", "pillow", or "auto" for torchvision where it is installed; they agree byte for byte.
    skip_corrupt : leave out, count and name images that cannot be decoded; they are refused otherwise. Needs a check
        of all.
    check : "all" decodes every image before any training (ImageNet: minutes), "headers" reads the first bytes'
        announcements only, "none" looks at nothing; what these miss stops the training that meets it.
    workers : threads that decode; as many as there are processors where None.
    resize : pixels of the shorter side before the centre is cut out, 256/224 of the size where None.
    train_crop : "random_resized" cuts a random part of each training image in each epoch (streamed images only),
        "centre" the centre; "auto" is the first where images are streamed and the second where they are decoded once.
    memory : "stream" reads the files in every epoch, "decoded" keeps every image's centre as uint8; "auto" decodes if
        all of them take at most 1 GiB and no random part is asked for.

    Raises
    ------
    InputError
        If an option is none that would do.
    """

    path: str = ""
    decoder: str = "auto"
    skip_corrupt: bool = False
    check: str = "all"
    workers: int | None = None
    resize: int | None = None
    train_crop: str = "auto"
    memory: str = "auto"

    def __post_init__(self) -> None:
        one_of("decoder", self.decoder, ("auto", *DECODERS))
        one_of("check", self.check, ("all", "headers", "none"))
        one_of("train_crop", self.train_crop, ("auto", "random_resized", "centre"))
        one_of("memory", self.memory, ("auto", "stream", "decoded"))
        if not isinstance(self.path, str):
            raise InputError(f"path={self.path!r} was asked for: the name of a subfolder would do")
        if not isinstance(self.skip_corrupt, bool):
            raise InputError(f"skip_corrupt={self.skip_corrupt!r} was asked for: true or false would do")
        if self.workers is not None and not _whole(self.workers, 1):
            raise InputError(f"workers={self.workers!r} was asked for: a whole number of at least 1 would do")
        if self.memory == "decoded" and self.train_crop == "random_resized":
            raise InputError(
                "memory='decoded' was asked for with train_crop='random_resized', but what is decoded once has one "
                "crop: memory = 'stream' or train_crop = 'centre' would do"
            )
        if self.skip_corrupt and self.check != "all" and self.memory != "decoded":
            raise InputError(
                f"skip_corrupt=true was asked for with check='{self.check}', which does not find all that is corrupt: "
                "check = 'all' would do"
            )


@dataclass(frozen=True)
class OpenedFolder:
    """An image folder whose images are found and checked.

    Parameters
    ----------
    train, validation, test : validation is None where it is to be held out of train.
    classes, source : as in `Dataset`.
    pixels : decoded images by part, none where they are streamed.
    """

    train: StreamedSplit
    validation: StreamedSplit | None
    test: StreamedSplit
    classes: tuple[str, ...]
    source: str
    pixels: dict[str, np.ndarray]

    def settled(self, dataset: Dataset) -> Dataset:
        """Return the data set with its images in memory, if they are decoded; its fingerprint stays that of the
        files."""
        if not self.pixels:
            return dataset
        splits = {part: getattr(dataset, part) for part in ("train", "validation", "test")}
        return dataclasses.replace(
            dataset,
            **{
                part: Split(torch.from_numpy(self.pixels[split.listing.part][split.rows]), split.labels)
                for part, split in splits.items()
            },
        )


def open_folder(
    folder: str | Path | None,
    options: FolderOptions,
    *,
    size: int | None = None,
    colour: bool = False,
    classes: int | None = None,
    progress: Progress | None = None,
) -> OpenedFolder:
    """Return an image folder's splits, every file found and, unless `check` says otherwise, decodable.

    Parameters
    ----------
    folder : the data folder; the environment variable RFMODEL_DATA where None.
    options : FolderOptions
    size, colour, classes, progress : as `rfmodel.datasets.load`; the classes are checked already.

    Raises
    ------
    MissingData
        If the folder, its train/ or its val/ is not there.
    InputError
        If a class is missing or empty, or an image cannot be read.
    """
    root, view = image_root(folder, options.path), _view(options, size, colour)
    every = class_names(root)
    count = len(every) if classes is None else classes
    choosing, testing = parts(root)
    base = data_folder(NAME, folder)
    found = [listed(root, part, every, count, base) for part in ("train", choosing, testing) if part is not None]
    in_memory = _in_memory(options, view, sum(len(listing) for listing, _ in found))
    checked, pixels, skipped = _checked(found, options, view, in_memory, progress)
    random = not in_memory and options.train_crop != "centre"
    splits = {}
    for listing in checked:
        _check_classes(listing, every[:count])
        splits[listing.part] = _streamed(listing, view, random and listing.part == "train", options.workers)
    source = _source(root, view, list(splits), in_memory, random, skipped)
    held = None if choosing is None else splits[choosing]
    return OpenedFolder(splits["train"], held, splits[testing], every[:count], source, pixels)


def _checked(
    found: list[tuple[Listing, list[str]]],
    options: FolderOptions,
    view: View,
    in_memory: bool,
    progress: Progress | None,
) -> tuple[list[Listing], dict[str, np.ndarray], list[str]]:
    """Return the listings less what is corrupt, decoded pixels by part, and what was left out, by name."""
    listings, strays = [listing for listing, _ in found], [name for _, names in found for name in names]
    looked = [_looked_at(listing, options, view, in_memory, progress) for listing in listings]
    amiss = [reasons for _, reasons in looked]
    if not options.skip_corrupt:
        checking.refuse(listings, amiss, strays)
    pixels = {
        listing.part: np.delete(images, list(reasons), 0) if reasons else images
        for listing, (images, reasons) in zip(listings, looked, strict=True)
        if images is not None
    }
    kept = [listing.without(list(rows)) if rows else listing for listing, rows in zip(listings, amiss, strict=True)]
    return kept, pixels, checking.named(listings, amiss, strays)


def _view(options: FolderOptions, size: int | None, colour: bool) -> View:
    side = SIZE if size is None else size
    if not _whole(side, 1):
        raise InputError(f"size={size} was asked for: a whole number of pixels, at least 1, would do")
    resize = round(side * 256 / 224) if options.resize is None else options.resize
    if max(side, resize) > LARGEST:
        raise InputError(f"images resized to {max(side, resize)} pixels were asked for: at most {LARGEST} would do")
    if not _whole(resize, side):
        raise InputError(
            f"resize={resize} was asked for with size={side}: the centre is cut out of the resized image, so that at "
            f"least {side} would do"
        )
    return View(side, resize, colour, decoder_name(options.decoder))


def _whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _in_memory(options: FolderOptions, view: View, images: int) -> bool:
    if options.memory != "auto":
        return options.memory == "decoded"
    small = images * (3 if view.colour else 1) * view.size**2 <= IN_MEMORY
    return small and options.train_crop != "random_resized"


def _looked_at(
    listing: Listing, options: FolderOptions, view: View, in_memory: bool, progress: Progress | None
) -> tuple[np.ndarray | None, dict[int, str]]:
    workers = options.workers or processors()
    if in_memory:  # to decode is to check
        return checking.decoded(listing, view, workers, progress)
    if options.check == "none":
        return None, {}
    if options.check == "headers":
        return None, checking.headers(listing, workers, progress)
    return None, checking.decodable(listing, view.decoder, workers, progress)


def _check_classes(listing: Listing, classes: tuple[str, ...]) -> None:
    left = np.bincount(listing.labels, minlength=len(classes))
    if not left.all():
        folder = listing.root / listing.part / classes[int(left.argmin())]
        raise InputError(
            f"class folder {folder} holds no image that can be read: fresh copies, or no such folder, would do"
        )


def _streamed(listing: Listing, view: View, random: bool, workers: int | None) -> StreamedSplit:
    labels = torch.from_numpy(listing.labels)
    return StreamedSplit(listing, np.arange(len(listing)), labels, view, random, workers or processors())


def _source(root: Path, view: View, found: list[str], in_memory: bool, random: bool, skipped: list[str]) -> str:
    held = "" if len(found) == 3 else ", validation held out of train/"
    how = "decoded once" if in_memory else "streamed"
    crop = "random resized" if random else "centre"
    text = (
        f"folder {root.name}: {', '.join(f'{part}/' for part in found)}{held}; decoded by {view.decoder}, {how}, "
        f"shorter side {view.resize}, centre {view.size}, {crop} crops in training"
    )
    if (root / "test").is_dir() and "test" not in found:
        text += "; test/ without class folders left out"
    if skipped:
        first = ", ".join(skipped[: checking.NAMED]) + (", ..." if len(skipped) > checking.NAMED else "")
        text += f"; {len(skipped)} corrupt skipped: {first}"
    return text

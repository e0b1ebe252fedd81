"""Images to train on: natural patches (built in), CIFAR-10, CIFAR-100, and folders of JPEG and PNG images."""

from rfmodel.datasets.augment import Augmentation
from rfmodel.datasets.batches import batches
from rfmodel.datasets.dataset import Dataset, Split, fingerprint
from rfmodel.datasets.download import download
from rfmodel.datasets.natural import natural_patches
from rfmodel.datasets.registry import DATASETS, check_options, load
from rfmodel.datasets.shapes import shape_of
from rfmodel.datasets.states import state_of
from rfmodel.datasets.streaming import StreamedSplit
from rfmodel.datasets.verify import FileCheck, verify

__all__ = [
    "DATASETS",
    "Augmentation",
    "Dataset",
    "FileCheck",
    "Split",
    "StreamedSplit",
    "batches",
    "check_options",
    "download",
    "fingerprint",
    "load",
    "natural_patches",
    "shape_of",
    "state_of",
    "verify",
]

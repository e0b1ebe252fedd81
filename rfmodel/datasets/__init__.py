"""Images to train on: natural patches (built in), CIFAR-10 and CIFAR-100, as uint8 tensors on the device."""

from rfmodel.datasets.augment import Augmentation
from rfmodel.datasets.batches import batches
from rfmodel.datasets.dataset import Dataset, Split, fingerprint
from rfmodel.datasets.download import download
from rfmodel.datasets.natural import natural_patches
from rfmodel.datasets.registry import DATASETS, load
from rfmodel.datasets.shapes import shape_of
from rfmodel.datasets.verify import FileCheck, verify

__all__ = [
    "DATASETS",
    "Augmentation",
    "Dataset",
    "FileCheck",
    "Split",
    "batches",
    "download",
    "fingerprint",
    "load",
    "natural_patches",
    "shape_of",
    "verify",
]

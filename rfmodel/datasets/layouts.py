"""The published layouts of CIFAR-10 and CIFAR-100: folders, files, rows, checksums and addresses.

Source: A. Krizhevsky, Learning multiple layers of features from tiny images (2009), and the data sets' page,
https://www.cs.toronto.edu/~kriz/cifar.html, which gives the layouts and the archives' MD5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PAGE = "https://www.cs.toronto.edu/~kriz/"


@dataclass(frozen=True)
class Layout:
    """One published form of one data set.

    Parameters
    ----------
    kind : "python" (pickled batches) or "binary" (label bytes and 3,072 pixel bytes a row).
    folder, archive : the folder the files lie in, and the .tar.gz that holds that folder.
    md5 : the archive's checksum.
    train, test : batch files and the number of rows published in each.
    label : the record's key of the labels (python) or the label's place among the row's label bytes (binary).
    label_bytes : label bytes before each row's pixels (binary).
    files : known MD5 of single files.
    """

    kind: str
    folder: str
    archive: str
    md5: str
    train: Mapping[str, int]
    test: Mapping[str, int]
    label: str | int
    label_bytes: int
    files: Mapping[str, str]

    @property
    def url(self) -> str:
        """Published address of the archive."""
        return PAGE + self.archive


LAYOUTS: dict[str, tuple[Layout, ...]] = {
    "cifar10": (
        Layout(
            "python",
            "cifar-10-batches-py",
            "cifar-10-python.tar.gz",
            "c58f30108f718f92721af3b95e74349a",
            {f"data_batch_{i}": 10_000 for i in range(1, 6)},
            {"test_batch": 10_000},
            "labels",
            0,
            {
                "data_batch_1": "c99cafc152244af753f735de768cd75f",
                "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
                "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
                "data_batch_4": "634d18415352ddfa80567beed471001a",
                "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
                "test_batch": "40351d587109b95175f43aff81a1287e",
            },
        ),
        Layout(
            "binary",
            "cifar-10-batches-bin",
            "cifar-10-binary.tar.gz",
            "c32a1d4ab5d03f1284b67883e8d87530",
            {f"data_batch_{i}.bin": 10_000 for i in range(1, 6)},
            {"test_batch.bin": 10_000},
            0,
            1,
            {},
        ),
    ),
    "cifar100": (
        Layout(
            "python",
            "cifar-100-python",
            "cifar-100-python.tar.gz",
            "eb9058c3a382ffc7106e4002c42a8d85",
            {"train": 50_000},
            {"test": 10_000},
            "fine_labels",
            0,
            {"train": "16019d7e3df5f24257cddd939b257f8d", "test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
        ),
        Layout(
            "binary",
            "cifar-100-binary",
            "cifar-100-binary.tar.gz",
            "03b5dce01913d631647c71ecec9e9cb8",
            {"train.bin": 50_000},
            {"test.bin": 10_000},
            1,
            2,
            {},
        ),
    ),
}

CIFAR10_NAMES = "airplane automobile bird cat deer dog frog horse ship truck"
CIFAR100_NAMES = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard
    lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
    pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal
    shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank
    telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""

# in the order of the labels, as in the published batches.meta and meta
CLASSES: dict[str, tuple[str, ...]] = {
    "cifar10": tuple(CIFAR10_NAMES.split()),
    "cifar100": tuple(CIFAR100_NAMES.split()),
}

"""ImageNet's validation split: all 1,000 classes, or the 100 of ImageNet-100.

The class of each of the 50,000 images, and so the order, comes with the package and not from the
folder: a copy that lacks files can be used as far as it goes, and can never shift the others.
The first 2,000 and 10,000 images, 2 and 10 of each class, are also published as lists of their own
(`bigain/assets/classes/imagenet1k_val_*.csv`); the paper's 2,000 are not known.  The names of the
classes are the CLIP-style ones of OpenCLIP.

The training split has one folder a class, `train/<wnid>/<wnid>_<number>.JPEG`.  Which numbers there
are is not known here, so its order is one of the files that are there.

The files are addressed directly instead of through torchvision's ImageFolder, which would list
50,000 files before a run of twenty and number the classes by what is there.
"""

import functools
from abc import abstractmethod
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from bigain.data.base import CLASSES, ClassList, Dataset, class_table
from bigain.data.files import Entry, ImageFiles, PublishedFiles
from bigain.data.layouts import Layout
from bigain.data.orders import hashed_order
from bigain.errors import UserError

__all__ = [
    "LISTS",
    "ORDER_SEED",
    "TRAINING_IDS",
    "VAL_LABELS",
    "ImageNet1K",
    "ImageNet100",
    "val_order",
]

ORDER_SEED = 20261125
TRAINING_IDS = 10**7
VAL_LABELS = CLASSES / "imagenet_val_labels.csv"
"""Class index of validation image 1, 2, ..., 50,000."""
LISTS = {size: CLASSES / f"imagenet1k_val_{size}.csv" for size in (2000, 10_000)}
"""The published lists by size: the first images of the order."""


def _layout(title: str, *folders: str) -> Layout:
    return Layout(
        title=title,
        folders=folders,
        parts=("val",),
        shape="val/<wnid>/ILSVRC2012_val_<number>.JPEG (or all files in val/)",
        source="image-net.org (ILSVRC 2012, validation images; needs an account)",
        archives=("ILSVRC2012_img_val.tar",),
    )


class _ImageNet(PublishedFiles):
    """Validation images in a fixed class-balanced order.

    Image ids are the numbers in the file names, 1..50,000; `condition_ids` the class indices.

    Raises:
        UserError: The data is not there, or an image in use is missing.

    """

    split = "val"
    training_split = "train"
    label_space = "imagenet"

    @classmethod
    @abstractmethod
    def indices(cls) -> tuple[int, ...]:
        """ImageNet's index of each class."""

    @classmethod
    def classes(cls) -> ClassList:
        """The classes by their label."""
        rows = class_table("imagenet")
        return ClassList.of([rows[index]["name"] for index in cls.indices()], cls.indices())

    @classmethod
    def list_entries(cls, folder: Path) -> list[Entry]:
        """All images of the classes, whether or not `folder` has them."""
        is_flat = _is_flat(folder / "val")
        label_of = {index: label for label, index in enumerate(cls.indices())}
        rows, indices = class_table("imagenet"), _val_labels()
        entries = []
        for number in val_order(indices, label_of):
            index = indices[number - 1]
            place = "val" if is_flat else f"val/{rows[index]['wnid']}"
            file = f"{place}/ILSVRC2012_val_{number:08d}.JPEG"
            entries.append(Entry(number, file, label_of[index]))
        return entries

    @classmethod
    def open_training(cls, root: Path | None, count: int) -> Dataset:
        """The first images of `train/`, one of each class, then a second one, and so on.

        Only the folders of the classes that are used are read.  Ids are ImageNet's index of the
        class, times `TRAINING_IDS`, plus the number in the file name.

        Raises:
            UserError: A folder is missing.

        """
        folder = cls.layout.find(root)
        order = hashed_order(range(cls.num_classes), None, ORDER_SEED)
        of_class = [cls._of_class(folder, label) for label in order[:count]]
        rounds = zip_longest(*of_class)
        entries = [entry for each in rounds for entry in each if entry is not None]
        return ImageFiles(entries[:count], folder, cls.classes())

    @classmethod
    def _of_class(cls, folder: Path, label: int) -> list[Entry]:
        """The training images of a class, in the order of the hashes of their numbers."""
        index = cls.indices()[label]
        wnid = class_table("imagenet")[index]["wnid"]
        place = folder / "train" / wnid
        names = [path.stem.removeprefix(f"{wnid}_") for path in place.glob(f"{wnid}_*.JPEG")]
        numbers = sorted(int(name) for name in names if name.isdecimal())
        if not numbers:
            raise UserError(
                f"{place}: has no training image; allowed: {wnid}_<number>.JPEG of image-net.org's "
                "ILSVRC2012_img_train.tar"
            )
        files = {number: f"train/{wnid}/{wnid}_{number}.JPEG" for number in numbers}
        order = [numbers[position] for position in hashed_order(numbers, None, index)]
        return [Entry(index * TRAINING_IDS + number, files[number], label) for number in order]


class ImageNet1K(_ImageNet):
    """All 1,000 classes."""

    num_classes = 1000
    split_size = 50_000
    layout = _layout("ImageNet-1K", "imagenet", "")

    @classmethod
    def indices(cls) -> tuple[int, ...]:
        """0..999."""
        return tuple(range(cls.num_classes))


class ImageNet100(_ImageNet):
    """The 100 classes of CMC's ImageNet-100."""

    num_classes = 100
    split_size = 5000
    layout = _layout("ImageNet-100", "imagenet100", "imagenet", "")

    @classmethod
    def indices(cls) -> tuple[int, ...]:
        """ImageNet's index of each class, ascending."""
        return tuple(int(row["class_index"]) for row in class_table("imagenet100"))


def _is_flat(val: Path) -> bool:
    """Whether the images lie in `val` itself: they do not where it has folders of classes."""
    if any((val / row["wnid"]).is_dir() for row in class_table("imagenet")):
        return False
    return next(val.glob("ILSVRC2012_val_*.JPEG"), None) is not None


def val_order(labels: Sequence[int], classes: Sequence[int] | dict[int, int] = ()) -> list[int]:
    """The seeded, class-balanced order of image numbers, of some `classes` or of all.

    Args:
        labels: Class index of image 1, 2, ...
        classes: Class indices to keep; none means all.

    """
    numbers = [n for n, label in enumerate(labels, start=1) if not classes or label in classes]
    order = hashed_order(numbers, [labels[n - 1] for n in numbers], ORDER_SEED)
    return [numbers[position] for position in order]


@functools.cache
def _val_labels() -> tuple[int, ...]:
    return tuple(int(row["class_index"]) for row in class_table(VAL_LABELS.stem))

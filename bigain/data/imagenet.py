"""ImageNet's validation split: all 1,000 classes, or the 100 of ImageNet-100.

The class of each of the 50,000 images, and so the order, comes with the package and not from the
folder: a copy that lacks files can be used as far as it goes, and can never shift the others.
The first 2,000 and 10,000 images, 2 and 10 of each class, are also published as lists of their own
(`bigain/assets/classes/imagenet1k_val_*.csv`); the paper's 2,000 are not known.  The names of the
classes are the CLIP-style ones of OpenCLIP.

The files are addressed directly instead of through torchvision's ImageFolder, which would list
50,000 files before a run of twenty and number the classes by what is there.
"""

import functools
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

from bigain.data.base import CLASSES, ClassList, class_table
from bigain.data.files import Entry, PublishedFiles
from bigain.data.layouts import Layout
from bigain.data.orders import hashed_order

__all__ = ["LISTS", "ORDER_SEED", "VAL_LABELS", "ImageNet1K", "ImageNet100", "val_order"]

ORDER_SEED = 20261125
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

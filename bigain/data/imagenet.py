"""ImageNet's validation split: all 1,000 classes, or the 100 of ImageNet-100.

Which class each of the 50,000 images has, and so the order, comes with the package and not from
the folder: a copy that lacks files can be used as far as it goes, and can never shift the others.
The first 2,000 and 10,000 images, 2 and 10 of each class, are also published as lists of their own
(`bigain/assets/classes/imagenet1k_val_*.csv`); the paper's 2,000 are not known.

The files are addressed directly instead of through torchvision's ImageFolder, which would list
50,000 files before a run of twenty and number the classes by what is there.
"""

import functools
from collections.abc import Sequence
from pathlib import Path

from bigain.data.base import hashed_order
from bigain.data.classes import CLASSES, class_table, classes_of
from bigain.data.files import Entry, ImageFiles, take
from bigain.data.layouts import find_root

__all__ = ["LISTS", "ORDER_SEED", "VAL_LABELS", "load_imagenet", "val_entries", "val_order"]

ORDER_SEED = 20261125
VAL_LABELS = CLASSES / "imagenet_val_labels.csv"
"""Class index of validation image 1, 2, ..., 50,000."""
LISTS = {size: CLASSES / f"imagenet1k_val_{size}.csv" for size in (2000, 10_000)}
"""The published lists by size: the first images of the order."""


def load_imagenet(name: str, limit: int | None, root: Path | None) -> ImageFiles:
    """The first `limit` images of `imagenet1k` or `imagenet100`, or all 50,000 or 5,000.

    Image ids are the numbers in the file names, 1..50,000; `condition_ids` the class indices.

    Raises:
        UserError: The data is not there, or an image in use is missing.

    """
    folder = find_root(name, root)
    entries = val_entries(name, is_flat=_is_flat(folder / "val"))
    chosen = take(entries, limit, published=len(entries), folder=folder)
    return ImageFiles(chosen, folder, classes_of(name))


def val_entries(name: str, *, is_flat: bool = False) -> list[Entry]:
    """All validation images of `imagenet1k` or `imagenet100` in the fixed order."""
    classes = classes_of(name).condition_ids or ()
    own = {index: label for label, index in enumerate(classes)}
    labels = _val_labels()
    rows = class_table("imagenet")
    entries = []
    for number in val_order(labels, own):
        index = labels[number - 1]
        folder = "val" if is_flat else f"val/{rows[index]['wnid']}"
        file = f"{folder}/ILSVRC2012_val_{number:08d}.JPEG"
        entries.append(Entry(number, file, own[index]))
    return entries


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


def _is_flat(folder: Path) -> bool:
    """Whether the images lie in `val/` itself, as in the publisher's archive."""
    return next(folder.glob("ILSVRC2012_val_*.JPEG"), None) is not None

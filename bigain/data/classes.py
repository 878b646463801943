"""The classes of every dataset: names, prompts, and which of ImageNet's classes they are.

All of it is known without the data and without torch.  The names are those of the lists in
`bigain/assets/classes`, which `scripts/make_index_lists.py` takes from maintained packages:
ImageNet's CLIP-style names (OpenCLIP), Pets' file names with the species that their capital letter
tells (TensorFlow Datasets), COCO's categories (torchvision).  The text encoders of Stable Diffusion
lower-case a prompt, so upper and lower case make no difference to them.

Prompts: "a photo of a {class}."; Pets "a photo of a {class} {cat|dog}, a type of pet.".  The
article is "a" before vowels too, as in the published protocol.
"""

import csv
import functools
from dataclasses import dataclass

from bigain.data.fashion_mnist import CLASS_NAMES as FASHION_NAMES
from bigain.errors import UserError
from bigain.locations import ASSETS

__all__ = ["CLASSES", "ClassList", "class_table", "classes_of"]

CLASSES = ASSETS / "classes"
"""Folder of the class lists."""


@dataclass(frozen=True)
class ClassList:
    """The classes of a dataset, by label 0..K-1.

    Attributes:
        names: What the classes are called.
        prompts: What a text-conditioned backbone is told of each.
        condition_ids: Index of each among ImageNet's 1,000 classes; None if they are others.

    """

    names: tuple[str, ...]
    prompts: tuple[str, ...]
    condition_ids: tuple[int, ...] | None = None


def classes_of(dataset: str) -> ClassList:
    """The classes of the dataset called `dataset` in `configs/dataset`.

    Raises:
        UserError: There is no such dataset.

    """
    if dataset not in _BUILDERS:
        raise UserError(f"dataset={dataset}: has no class list; allowed: {', '.join(_BUILDERS)}")
    return _BUILDERS[dataset]()


@functools.cache
def class_table(name: str) -> tuple[dict[str, str], ...]:
    """The rows of `<name>.csv` among the class lists."""
    with (CLASSES / f"{name}.csv").open(newline="", encoding="utf-8") as handle:
        return tuple(csv.DictReader(handle))


def _described(names: tuple[str, ...], ids: tuple[int, ...] | None = None) -> ClassList:
    return ClassList(names, tuple(f"a photo of a {name}." for name in names), ids)


def _imagenet(ids: tuple[int, ...]) -> ClassList:
    rows = class_table("imagenet")
    return _described(tuple(rows[i]["name"] for i in ids), ids)


def _imagenet100() -> ClassList:
    return _imagenet(tuple(int(row["class_index"]) for row in class_table("imagenet100")))


def _pets() -> ClassList:
    rows = class_table("pets")
    names = tuple(row["file_name"].replace("_", " ").title() for row in rows)
    kinds = (row["species"] for row in rows)
    prompts = (
        f"a photo of a {n} {kind}, a type of pet." for n, kind in zip(names, kinds, strict=True)
    )
    return ClassList(names, tuple(prompts))


def _coco() -> ClassList:
    return _described(tuple(row["name"] for row in class_table("coco2017")))


_BUILDERS = {
    "fashion_mnist": lambda: _described(FASHION_NAMES),
    "fashion_mosaic": lambda: _described(FASHION_NAMES),
    "pets": _pets,
    "imagenet100": _imagenet100,
    "imagenet1k": lambda: _imagenet(tuple(range(1000))),
    "coco2017": _coco,
}

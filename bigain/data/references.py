"""The real images that generated ones are compared with, by the words of `task.reference`."""

from pathlib import Path

from bigain.config import DatasetConfig
from bigain.data.base import Dataset
from bigain.data.fashion_mnist import SLICE_SIZE
from bigain.data.loaders import load_dataset

__all__ = ["SELECTIONS", "load_reference"]

SELECTIONS = {
    "split": "all images",
    "images": "the images of the run",
    "all": "all images of all splits, and those of none",
}
"""`task.reference` -> the images that it takes, in words."""


def load_reference(config: DatasetConfig, which: str) -> Dataset:
    """The real images: `split`, `images` or `all`; every file in use is looked up, none is opened.

    The split of Fashion-MNIST is what ships of it, so that it is the same on every machine.

    Raises:
        UserError: data is missing.

    """
    if which == "images":
        return load_dataset(config)
    if which == "all":
        return _all_pets(config.root)
    limit = SLICE_SIZE if config.name == "fashion_mnist" else None
    return load_dataset(config.model_copy(update={"limit": limit}))


def _all_pets(root: Path | None) -> Dataset:
    from bigain.data.pets import load_all_pets  # noqa: PLC0415 -- loads torchvision

    return load_all_pets(root)

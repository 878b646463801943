"""What every dataset offers: a fixed order of images with ids, labels and prompts.

`Dataset` is what tasks need.  `PublishedDataset` is the base of the classes that the files of
`configs/dataset` name; it adds what is known without opening the data.
"""

import csv
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, Self, cast

import numpy as np
import numpy.typing as npt

from bigain.config import DatasetConfig, DatasetFacts
from bigain.data.layouts import Layout, MissingDataError
from bigain.errors import UserError
from bigain.locations import ASSETS

__all__ = [
    "CLASSES",
    "SELECTIONS",
    "ClassList",
    "Dataset",
    "PublishedDataset",
    "Sample",
    "class_table",
    "load_dataset",
    "load_reference",
    "stamp_files",
]

CLASSES = ASSETS / "classes"
"""Folder of the class lists, which `scripts/make_index_lists.py` takes from maintained packages."""

SELECTIONS = {
    "split": "all images",
    "images": "the images of the run",
    "all": "all images of all splits, and those of none",
}
"""`task.reference` -> the images that it takes, in words."""

Image = npt.NDArray[np.uint8]


class Sample:
    """One image and what is known of it.

    Attributes:
        image_id: Stable number of the image in its split, whatever the order or limit.
        label: Class index; None in a dataset whose images may have any number of classes.
        labels: All classes of the image, ascending: `(label,)`, or none, one or several.
        captions: Sentences about the image, if the dataset has any.

    """

    def __init__(
        self,
        image_id: int,
        label: int | None,
        image: Image | Callable[[], Image],
        labels: tuple[int, ...] = (),
        captions: tuple[str, ...] = (),
    ) -> None:
        self.image_id = image_id
        self.label = label
        self.labels = labels if label is None else (label,)
        self.captions = captions
        self._image = image

    @property
    def image(self) -> Image:
        """Bytes of shape (height, width), or (height, width, 3) in colour; read when asked for.

        Raises:
            UnreadableImage: The file is not a whole image (see `bigain.data.images`).

        """
        return self._image() if callable(self._image) else self._image


@dataclass(frozen=True)
class ClassList:
    """The classes of a dataset, by label 0..K-1.

    Attributes:
        names: Their names.
        prompts: The text that stands for each class in a text-conditioned backbone.
        condition_ids: Index of each among ImageNet's 1,000 classes; None if they are others.

    """

    names: tuple[str, ...]
    prompts: tuple[str, ...]
    condition_ids: tuple[int, ...] | None = None

    @classmethod
    def of(cls, names: Sequence[str], condition_ids: Sequence[int] | None = None) -> Self:
        """Classes with the prompts of the published protocol: "a photo of a {class}.".

        The article is "a" before vowels too.  Stable Diffusion's text encoders lower-case a prompt.
        """
        ids = None if condition_ids is None else tuple(condition_ids)
        return cls(tuple(names), tuple(f"a photo of a {name}." for name in names), ids)


@functools.cache
def class_table(name: str) -> tuple[dict[str, str], ...]:
    """The rows of `<name>.csv` among the class lists."""
    with (CLASSES / f"{name}.csv").open(newline="", encoding="utf-8") as handle:
        return tuple(csv.DictReader(handle))


class Dataset(Protocol):
    """A finite sequence of samples; position i is the same image on every machine."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; label i is the i-th."""
        ...

    @property
    def prompts(self) -> tuple[str, ...]:
        """The text that stands for each class in a text-conditioned backbone."""
        ...

    @property
    def condition_ids(self) -> tuple[int, ...] | None:
        """Index among ImageNet's 1,000 classes of each class; None if they are not ImageNet's."""
        ...

    def __len__(self) -> int:
        """Number of images, after any limit."""
        ...

    def __getitem__(self, position: int) -> Sample:
        """The sample at `position` of the fixed order; IndexError beyond the ends."""
        ...

    @property
    def image_ids(self) -> list[int]:
        """Image ids in the fixed order."""
        ...

    @property
    def content_hash(self) -> str:
        """sha256 that tells these images from others; the dataset says what goes into it."""
        ...


class PublishedDataset(DatasetFacts, ABC):
    """A `Dataset` by its settings: the first `limit` images of the fixed order, or with None all.

    None stands for the published split, never for a part of it that happens to be there: one
    configuration has one set of images.  All files in use are looked up at once, none is opened.

    Args:
        limit: Number of images, 1 to `split_size`, or None.
        root: The folder of `dataset.root`; None stands for the usual places.

    Raises:
        UserError: Data is missing or damaged, or there are fewer images than `limit`.

    """

    layout: ClassVar[Layout | None] = None
    """The files that it needs; None if it looks for them itself, or needs none."""

    class_names: tuple[str, ...]
    prompts: tuple[str, ...]
    condition_ids: tuple[int, ...] | None

    @abstractmethod
    def __init__(self, limit: int | None = None, root: Path | None = None) -> None: ...

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, position: int) -> Sample: ...

    @property
    @abstractmethod
    def image_ids(self) -> list[int]:
        """Image ids in the fixed order."""

    @property
    @abstractmethod
    def content_hash(self) -> str:
        """sha256 that tells these images from others."""

    @property
    @abstractmethod
    def place(self) -> str:
        """Where the images come from, in a few words."""

    @classmethod
    def stamp_files(cls, root: Path | None) -> Sequence[Path]:
        """Files whose size or time changes whenever the images do; () if only their hash tells.

        They let a finished run be skipped without `content_hash`, where that takes long.
        """
        del root
        return ()

    @property
    def is_published(self) -> bool:
        """Whether these are images of the published split; False for another number of images."""
        return True

    @classmethod
    def has_files_in(cls, root: Path) -> bool:
        """Whether a part of it, or all of it, is below `root`."""
        return cls.layout is not None and cls.layout.is_partly_in(root)

    @classmethod
    def reference(cls, which: str, root: Path | None) -> Dataset:
        """The real images of `task.reference=split`, or of another word in `references`."""
        assert which == "split"
        return cls(None, root)


def load_dataset(config: DatasetConfig) -> PublishedDataset:
    """The dataset of `config`; raises UserError if data is missing or damaged."""
    with _pointing_to_the_doctor(config):
        return _class_of(config)(config.limit, config.root)


def load_reference(config: DatasetConfig, which: str) -> Dataset:
    """The real images that generated ones are compared with; raises UserError if data is missing.

    Args:
        config: The dataset.
        which: The value of `task.reference`, a key of `SELECTIONS`.

    """
    if which == "images":
        return load_dataset(config)
    with _pointing_to_the_doctor(config):
        return _class_of(config).reference(which, config.root)


def stamp_files(config: DatasetConfig) -> Sequence[Path]:
    """`PublishedDataset.stamp_files` of the dataset of `config`."""
    return _class_of(config).stamp_files(config.root)


@contextmanager
def _pointing_to_the_doctor(config: DatasetConfig) -> Iterator[None]:
    """Missing data becomes a UserError that ends with the command that examines this dataset."""
    try:
        yield
    except MissingDataError as error:
        root = "" if config.root is None else f" dataset.root={config.root}"
        raise UserError(f"{error}; see `bigain doctor dataset={config.name}{root}`") from error


def _class_of(config: DatasetConfig) -> type[PublishedDataset]:
    return cast(type[PublishedDataset], config.facts)

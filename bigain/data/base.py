"""What every dataset offers: a fixed order of images with ids, labels and prompts.

`Dataset` is what tasks need.  `PublishedDataset` is the base of the classes that the files of
`configs/dataset` name; it adds what is known without opening the data.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Protocol, Self, cast

import numpy as np
import numpy.typing as npt

from bigain.config import DatasetConfig, DatasetFacts
from bigain.data.classes import CLASSES, ClassList, class_table
from bigain.data.index import find_positions
from bigain.data.layouts import IncompleteDataError, Layout, pointing_to_the_doctor
from bigain.errors import UserError

__all__ = [
    "CLASSES",
    "SELECTIONS",
    "ClassList",
    "Dataset",
    "OpenedDataset",
    "PublishedDataset",
    "Sample",
    "Selected",
    "class_table",
    "load_dataset",
    "load_reference",
    "stamp_files",
]

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


class OpenedDataset(Dataset, Protocol):
    """A `Dataset` that says where its images come from."""

    @property
    def place(self) -> str:
        """Where the images come from, in a few words."""
        ...

    @property
    def is_published(self) -> bool:
        """Whether its lists have as many images as the published split."""
        ...


class Selected:
    """Some images of a dataset, in an order of their own: an `OpenedDataset`.

    Args:
        dataset: All images.
        positions: Those to take, as positions in `dataset`.

    """

    def __init__(self, dataset: OpenedDataset, positions: Sequence[int]) -> None:
        self._dataset, self._positions = dataset, tuple(positions)
        self.class_names = dataset.class_names
        self.prompts = dataset.prompts
        self.condition_ids = dataset.condition_ids
        self.place, self.is_published = dataset.place, dataset.is_published

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, position: int) -> Sample:
        if not 0 <= position < len(self):
            raise IndexError(position)
        return self._dataset[self._positions[position]]

    @property
    def image_ids(self) -> list[int]:
        """Image ids in the order of the selection."""
        ids = self._dataset.image_ids
        return [ids[position] for position in self._positions]

    @property
    def content_hash(self) -> str:
        """sha256 over ids, labels and pixels of the images in use, in order."""
        digest = hashlib.sha256()
        for sample in (self[position] for position in range(len(self))):
            digest.update(f"{sample.image_id} {sample.labels}\n".encode())
            digest.update(sample.image.tobytes())
        return digest.hexdigest()


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
    def open(cls, config: DatasetConfig) -> OpenedDataset:
        """The images of the settings: the first `limit` of the fixed order, or of `index`."""
        if config.index is None:
            return cls(config.limit, config.root)
        everything = cls.open_all(config.root)
        return Selected(everything, find_positions(config, everything.image_ids))

    @classmethod
    def open_all(cls, root: Path | None) -> Self:
        """Every image that is there, for `dataset.index` to choose from."""
        return cls(None, root)

    @classmethod
    def reference(cls, which: str, config: DatasetConfig) -> Dataset:
        """The real images of `task.reference=split`, or of another word in `references`.

        The split is all images of the settings, whatever their limit.
        """
        assert which == "split"
        return cls.open(config.model_copy(update={"limit": None}))


def load_dataset(config: DatasetConfig) -> OpenedDataset:
    """The dataset of `config`; raises UserError if data is missing or damaged."""
    with pointing_to_the_doctor(config):
        return _class_of(config).open(config)


def load_reference(config: DatasetConfig, which: str) -> Dataset:
    """The real images that generated ones are compared with; raises UserError if data is missing.

    Args:
        config: The dataset.
        which: The value of `task.reference`, a key of `SELECTIONS`.

    """
    if which == "images":
        return load_dataset(config)
    try:
        with pointing_to_the_doctor(config):
            return _class_of(config).reference(which, config)
    except IncompleteDataError as error:  # it names settings that the user did not set
        raise UserError(
            f"task.reference={which}: {error.what}; allowed: task.reference=images, which needs "
            "only the images of the run, or all images there"
        ) from error


def stamp_files(config: DatasetConfig) -> Sequence[Path]:
    """`PublishedDataset.stamp_files` of the dataset of `config`."""
    return _class_of(config).stamp_files(config.root)


def _class_of(config: DatasetConfig) -> type[PublishedDataset]:
    return cast(type[PublishedDataset], config.kind)

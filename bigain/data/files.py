"""Datasets of image files: entries in a fixed order, each read when it is asked for."""

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from stat import S_ISREG
from typing import ClassVar

from bigain.config import DatasetConfig
from bigain.data.base import ClassList, OpenedDataset, PublishedDataset, Sample
from bigain.data.images import read_image
from bigain.data.index import find_positions
from bigain.data.layouts import IncompleteDataError, Layout
from bigain.errors import UserError

__all__ = ["Entry", "ImageFiles", "PublishedFiles", "choose", "require_labels", "take"]


@dataclass(frozen=True)
class Entry:
    """One image file.

    Attributes:
        image_id: Stable number of the image.
        file: Its path relative to the dataset's folder.
        label: Class index; None where an image may have any number of classes.
        labels: All classes, if `label` is None.
        captions: Sentences about the image.

    """

    image_id: int
    file: str
    label: int | None
    labels: tuple[int, ...] = ()
    captions: tuple[str, ...] = ()


class ImageFiles:
    """The images of `entries`, found under `folder`: a `Dataset`.

    All files are looked up at once, before any model is loaded, and none is opened.

    Args:
        entries: The images in use, in their order.
        folder: Their files are below it.
        classes: Of the dataset.
        remark: What is wrong with the lists that the entries are from; empty if nothing is.

    Raises:
        UserError: A file is missing.

    """

    def __init__(
        self, entries: Sequence[Entry], folder: Path, classes: ClassList, remark: str = ""
    ) -> None:
        self.entries = tuple(entries)
        self.folder = folder
        self._remark_on_lists = remark
        self._sizes = _sizes(self.entries, folder)
        self.class_names = classes.names
        self.prompts = classes.prompts
        self.condition_ids = classes.condition_ids

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, position: int) -> Sample:
        if not 0 <= position < len(self):
            raise IndexError(position)
        entry = self.entries[position]
        read = partial(read_image, self.folder / entry.file, entry.file)
        return Sample(entry.image_id, entry.label, read, entry.labels, entry.captions)

    @property
    def image_ids(self) -> list[int]:
        """Image ids in the fixed order."""
        return [entry.image_id for entry in self.entries]

    @property
    def place(self) -> str:
        """The folder, and how much of the split its lists have if not all."""
        return f"in {self.folder}{self._remark_on_lists}"

    @property
    def is_published(self) -> bool:
        """Whether the lists have as many images as the published split."""
        return not self._remark_on_lists

    @property
    def content_hash(self) -> str:
        """sha256 over id, labels, file name and file size of the images in use, in order.

        Their bytes are left out, because reading 50,000 files before every run costs too much.  A
        file that was cut, re-encoded or exchanged nearly always has another size.
        """
        digest = hashlib.sha256()
        for entry, size in zip(self.entries, self._sizes, strict=True):
            labels = entry.labels if entry.label is None else (entry.label,)
            digest.update(f"{entry.image_id} {labels} {entry.file} {size}\n".encode())
        return digest.hexdigest()


class PublishedFiles(ImageFiles, PublishedDataset):
    """A dataset of image files by its settings; a subclass says where they lie and lists them."""

    layout: ClassVar[Layout]

    def __init__(self, limit: int | None = None, root: Path | None = None) -> None:
        folder = self.layout.find(root)
        listed = self.list_entries(folder)
        chosen = take(listed, limit, published=self.split_size, folder=folder)
        require_labels(chosen, f"dataset.root={folder}")
        super().__init__(chosen, folder, self.classes(), self._remark(len(listed)))

    @classmethod
    def open(cls, config: DatasetConfig) -> OpenedDataset:
        """The images of the settings; only those that are used must be there."""
        if config.index is None:
            return cls(config.limit, config.root)
        folder = cls.layout.find(config.root)
        listed = cls.list_entries(folder)
        chosen = choose(listed, config)
        require_labels(chosen, f"dataset.root={folder}")
        return ImageFiles(chosen, folder, cls.classes(), cls._remark(len(listed)))

    @classmethod
    def _remark(cls, listed: int) -> str:
        """How much of the split the lists have, if not all."""
        published = cls.split_size
        if listed == published:
            return ""
        return f", which lists {listed:,} images; published are {published:,}"

    @classmethod
    @abstractmethod
    def classes(cls) -> ClassList:
        """Names, prompts and condition ids of the classes; known without the data."""

    @classmethod
    @abstractmethod
    def list_entries(cls, folder: Path) -> Sequence[Entry]:
        """All images of the split in their fixed order; raises UserError if a list is damaged."""


def choose(entries: Sequence[Entry], config: DatasetConfig) -> list[Entry]:
    """The entries that `dataset.index` names, by id or by file; raises UserError as it does."""
    ids, files = ([e.image_id for e in entries], [e.file for e in entries])
    return [entries[position] for position in find_positions(config, ids, files)]


def take(
    entries: Sequence[Entry], limit: int | None, *, published: int, folder: Path
) -> Sequence[Entry]:
    """The first `limit` entries, or with None all of them, which must be the `published` number.

    Raises:
        UserError: There are fewer; the message names `folder`.

    """
    if limit is None and len(entries) != published:
        raise IncompleteDataError(
            "dataset.limit=null",
            f"means all {published} images of the published split, but {folder} lists "
            f"{len(entries)}",
            f"dataset.limit=1 to {len(entries)}, or the whole split",
        )
    if limit is not None and limit > len(entries):
        raise UserError(
            f"dataset.limit={limit}: allowed: 1 to {len(entries)}, the images that {folder} lists"
        )
    return entries[:limit]


def require_labels(entries: Sequence[Entry], where: str) -> None:
    """Raise UserError, which begins with `where`, if no image in use has a class.

    Some may have none, but without any every prediction would count as wrong.
    """
    if not any(entry.labels or entry.label is not None for entry in entries):
        raise UserError(
            f"{where}: has no class for any of the {len(entries)} images in use; allowed: at "
            "least one image with a class"
        )


def _sizes(entries: Sequence[Entry], folder: Path) -> list[int]:
    """Bytes of every file; raises UserError with the number of missing files and the first."""
    sizes, missing = [], []
    for entry in entries:
        size = _size(folder / entry.file)
        if size is None:
            missing.append(entry.file)
        else:
            sizes.append(size)
    if missing:
        raise IncompleteDataError(
            f"dataset.root={folder}",
            f"{len(missing)} of the {len(entries)} images in use are missing, such as {missing[0]}",
            "put them back, or a lower dataset.limit",
        )
    return sizes


def _size(path: Path) -> int | None:
    """Bytes of a file; None if it is not there, or is a folder."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size if S_ISREG(stat.st_mode) else None

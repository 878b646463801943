"""A dataset of image files: entries in a fixed order, each read when it is asked for."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bigain.data.base import Sample
from bigain.data.classes import ClassList
from bigain.data.images import read_image
from bigain.errors import UserError

__all__ = ["Entry", "ImageFiles", "take"]


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
    """The images of `entries`, found under `folder`.

    All files are looked up at once, before any model is loaded, and none is opened.

    Raises:
        UserError: A file is missing, or there are no entries.

    """

    def __init__(self, entries: Sequence[Entry], folder: Path, classes: ClassList) -> None:
        self._entries = tuple(entries)
        self._folder = folder
        self._sizes = _sizes(self._entries, folder)
        self.class_names = classes.names
        self.prompts = classes.prompts
        self.condition_ids = classes.condition_ids

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, position: int) -> Sample:
        if not 0 <= position < len(self._entries):
            raise IndexError(position)
        entry = self._entries[position]
        read = partial(read_image, self._folder / entry.file, entry.file)
        return Sample(entry.image_id, entry.label, read, entry.labels, entry.captions)

    @property
    def image_ids(self) -> list[int]:
        """Image ids in the fixed order."""
        return [entry.image_id for entry in self._entries]

    @property
    def content_hash(self) -> str:
        """sha256 over id, labels, file name and file size of the images in use, in order.

        Their bytes are not in it: reading 50,000 files before every run would cost more than it
        tells.  A file that was cut, re-encoded or exchanged nearly always has another size.
        """
        digest = hashlib.sha256()
        for entry, size in zip(self._entries, self._sizes, strict=True):
            labels = entry.labels if entry.label is None else (entry.label,)
            digest.update(f"{entry.image_id} {labels} {entry.file} {size}\n".encode())
        return digest.hexdigest()


def take(
    entries: Sequence[Entry], limit: int | None, *, published: int, folder: Path
) -> Sequence[Entry]:
    """The first `limit` entries, or with None all of them.

    None stands for the published split, never for a part of it that happens to be there: one
    configuration has one set of images.

    Args:
        entries: In the fixed order.
        limit: How many.
        published: Number of images of the published split.
        folder: What messages name.

    Raises:
        UserError: More are asked for than there are.

    """
    if limit is None and len(entries) != published:
        raise UserError(
            f"dataset.limit=null: means all {published} images of the published split, but "
            f"{folder} lists {len(entries)}; allowed: dataset.limit=1 to {len(entries)}, or the "
            "whole split"
        )
    if limit is not None and limit > len(entries):
        raise UserError(
            f"dataset.limit={limit}: allowed: 1 to {len(entries)}, the images that {folder} lists"
        )
    return entries[:limit]


def _sizes(entries: Sequence[Entry], folder: Path) -> list[int]:
    """Bytes of every file; raises UserError with the number of missing files and the first."""
    sizes, missing = [], []
    for entry in entries:
        try:
            sizes.append((folder / entry.file).stat().st_size)
        except OSError:
            missing.append(entry.file)
    if missing:
        raise UserError(
            f"dataset.root={folder}: {len(missing)} of the {len(entries)} images in use are "
            f"missing, such as {missing[0]}; put them back, or lower dataset.limit"
        )
    return sizes

"""Where a dataset lies on disk, what of it is missing, and what is there in its place.

The layouts are those of torchvision and of the publishers' archives.  Nothing is ever downloaded:
whether the licences of the images allow it is the user's decision.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bigain.config import DatasetConfig
from bigain.errors import UserError

__all__ = ["IncompleteDataError", "Layout", "MissingDataError", "Search", "is_clutter"]
__all__ += ["pointing_to_the_doctor"]

_DEFAULT_ROOT = Path("data")
_LEFT_BY_SYSTEMS = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx")
"""What Windows and macOS put into folders that they show or unpack."""


def is_clutter(path: Path) -> bool:
    """Whether a file or folder is hidden, or was left by the operating system: no part of a set.

    macOS writes a hidden `._NAME` beside every file NAME that it copies to some disks.
    """
    return path.name.startswith(".") or path.name.lower() in _LEFT_BY_SYSTEMS


class MissingDataError(UserError):
    """The files of a dataset are not where they are looked for."""


class IncompleteDataError(UserError):
    """Images that a setting stands for are not all there.

    Args:
        setting: The setting and its value, as the message begins.
        what: What is wrong, with both counts.
        allowed: What can be done.

    """

    def __init__(self, setting: str, what: str, allowed: str) -> None:
        super().__init__(f"{setting}: {what}; allowed: {allowed}")
        self.what = what


@dataclass(frozen=True)
class Layout:
    """Files and folders of a dataset.

    Attributes:
        title: Name of the dataset.
        folders: Where below the root it may lie, first match first; "" is the root itself.
        parts: What must be there, relative to such a folder.
        shape: The layout in words.
        source: Where the data comes from.
        archives: Names of the files that the publisher offers for download.

    """

    title: str
    folders: tuple[str, ...]
    parts: tuple[str, ...]
    shape: str
    source: str
    archives: tuple[str, ...]

    def missing_parts(self, folder: Path) -> tuple[str, ...]:
        """The parts that `folder` lacks, in order; none if it can be used."""
        return tuple(part for part in self.parts if not (folder / part).exists())

    def is_partly_in(self, root: Path) -> bool:
        """Whether at least one part is in one of the folders below `root`."""
        lacking = [len(self.missing_parts(root / folder)) for folder in self.folders]
        return min(lacking) < len(self.parts)

    def search(self, root: Path | None) -> "Search":
        """Look for the dataset below `root`; None stands for the folder `data`."""
        below = _DEFAULT_ROOT if root is None else root
        candidates = [below / folder for folder in self.folders]
        best = min(candidates, key=lambda folder: len(self.missing_parts(folder)))
        return Search(self, below, best, self.missing_parts(best))

    def find(self, root: Path | None) -> Path:
        """The folder below `root` that holds all parts.

        Raises:
            MissingDataError: There is none.  The message names the parts that the best folder
                lacks, and what is there instead.

        """
        found = self.search(root)
        if not found.missing:
            return found.folder
        lacks = ", ".join(str(found.folder / part) for part in found.missing)
        raise MissingDataError(
            f"dataset.root={'null' if root is None else root}: no {self.title} there, {lacks} is "
            f"missing; expected {self.shape}, in {found.places}; set dataset.root or BIGAIN_DATA; "
            f"source: {self.source}; found: {found.clue}"
        )


@dataclass(frozen=True)
class Search:
    """What was found of a dataset.

    Attributes:
        layout: What was looked for.
        below: The folder below which it was looked for.
        folder: The folder of the layout that holds most of it.
        missing: The parts that this folder lacks; none if the dataset can be opened.

    """

    layout: Layout
    below: Path
    folder: Path
    missing: tuple[str, ...]

    @property
    def places(self) -> str:
        """Every folder that it may lie in."""
        return " or ".join(str(self.below / folder) for folder in self.layout.folders)

    @property
    def clue(self) -> str:
        """What is there in place of what is missing, and what to do about it, in a few words."""
        layout, folder, below = self.layout, self.folder, self.below
        if not below.is_dir():
            return f"there is no folder {below}"
        if not layout.missing_parts(below):  # the root itself is the dataset, one level too deep
            name, above = layout.folders[0], below.absolute().parent
            if below.absolute().name == name:
                return f"{below} is the dataset itself; set dataset.root={above}"
            return (
                f"{below} is the dataset itself; rename it to {name} and set dataset.root={above}"
            )
        packed = [place / name for place in (below, folder) for name in layout.archives]
        archives = [str(path) for path in dict.fromkeys(packed) if path.is_file()]
        if archives:
            return f"{', '.join(archives)}, which must be unpacked in {folder}"
        there = [part for part in layout.parts if part not in self.missing]
        return f"{', '.join(there)} in {folder}, but not the rest" if there else "nothing of it"


@contextmanager
def pointing_to_the_doctor(config: DatasetConfig) -> Iterator[None]:
    """Missing data becomes a UserError that ends with the command that examines this dataset."""
    try:
        yield
    except MissingDataError as error:
        root = "" if config.root is None else f" dataset.root={config.root}"
        raise UserError(f"{error}; see `bigain doctor dataset={config.name}{root}`") from error

"""Images of the user's own: `dataset=folder`, with one folder a class or a list of labels.

    dataset.root/<class>/<image>                  one folder a class, or
    dataset.labels=FILE.csv                       file, class[, further classes] below dataset.root
    dataset.prompts=FILE.csv                      class, prompt[, ImageNet's class index]

The header lines `file,class` and `class,prompt` are optional.  The classes are the rows of the
prompts, in their order; without prompts they are sorted by name.  Classes that are exactly
Fashion-MNIST's ten by name have its order, so the mini backbones know them.

An image's id is a hash of its path below `dataset.root`: no other file and no listing changes it.
Hidden files and notes (.csv, .md, .txt) do not count, beside the class folders and inside.  Any
other file that is no image is an error in both places.
"""

import hashlib
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from bigain.config import DatasetConfig, DatasetFacts
from bigain.data.base import ClassList, OpenedDataset, PublishedDataset
from bigain.data.fashion_mnist import CLASSES as GARMENTS
from bigain.data.files import Entry, ImageFiles, choose, require_labels
from bigain.data.images import EXTENSIONS, is_image_name
from bigain.data.layouts import is_clutter
from bigain.data.lists import Prompts, read_labels, read_prompts
from bigain.data.orders import hashed_order
from bigain.errors import UserError

__all__ = ["ORDER_SEED", "Folder", "path_id"]

ORDER_SEED = 20261130
_NOTES = (".csv", ".md", ".txt")
_KINDS = f"images ({', '.join(EXTENSIONS)}), and notes ({', '.join(_NOTES)}), which do not count"
_LAYOUTS = "one folder a class, or dataset.labels=FILE.csv"


class Folder(ImageFiles, PublishedDataset):
    """All images of a folder in a fixed order: class-balanced, or shuffled with several labels.

    An instance knows its facts; the class, which has no images yet, those that never change.

    Args:
        limit: Number of images, or None for all.
        root: The folder.
        labels: The list of files and classes; None stands for one folder a class.
        prompts: The list of classes, prompts and class indices; None stands for "a photo of a
            {class}." with the underscores of the name as spaces.

    Raises:
        UserError: A file is missing, damaged or no image; the lists and the images disagree.

    """

    num_classes = 0
    split = "folder"
    split_size = 0
    label_space = "open"
    is_own = True

    def __init__(
        self,
        limit: int | None = None,
        root: Path | None = None,
        labels: Path | None = None,
        prompts: Path | None = None,
    ) -> None:
        if root is None:
            raise UserError("dataset.root=null: allowed: a folder of your own images")
        if not root.is_dir():
            raise UserError(f"dataset.root={root}: is no folder; allowed: {_LAYOUTS}")
        found = _class_folders(root) if labels is None else read_labels(root, labels)
        where = f"dataset.root={root}" if labels is None else f"dataset.labels={labels}"
        _refuse_repeats(where, "names", sorted({n for names in found.values() for n in names}))
        classes = _classes({name for names in found.values() for name in names}, prompts)
        entries = _ordered(found, classes.names)
        super().__init__(entries, root, classes)
        self.num_classes = len(classes.names)
        self.split_size = len(entries)
        self.found = f"{len(entries)} images of {', '.join(classes.names)}"
        self.generates = all(entry.label is not None for entry in entries)
        if classes.condition_ids is not None:
            self.further_spaces = ("imagenet", *self.further_spaces)
        if _are_garments(classes.names):
            self.further_spaces = ("fashion", *self.further_spaces)
        self.fingerprint = self._fingerprint()
        self._narrow(self.entries[:limit])

    @classmethod
    def facts_under(cls, settings: DatasetConfig) -> DatasetFacts | type[DatasetFacts]:
        """Those of all images of the folder, without its index."""
        if settings.root is None:
            return cls
        return cls(None, settings.root, settings.labels, settings.prompts)

    @classmethod
    def image_name(cls, line: str) -> str:
        """The id, also where the line is a file."""
        return line if line.isdecimal() else str(path_id(line))

    @classmethod
    def open(cls, config: DatasetConfig) -> OpenedDataset:
        """The images of the settings; raises UserError if they changed since those were checked."""
        own = cls(None, config.root, config.labels, config.prompts)
        planned = config.facts.fingerprint
        if own.fingerprint != planned:
            raise UserError(
                f"dataset.root={config.root}: its images, labels or prompts changed since the run "
                f"was planned (then {planned}, now {own.fingerprint}); allowed: start it again"
            )
        chosen = config.index is not None
        own._narrow(choose(own.entries, config) if chosen else own.entries[: config.limit])
        require_labels(own.entries, f"dataset.labels={config.labels}")
        return own

    def _narrow(self, entries: Sequence[Entry]) -> None:
        """Keep these entries, in this order."""
        sizes = dict(zip(self.entries, self._sizes, strict=True))
        self.entries = tuple(entries)
        self._sizes = [sizes[entry] for entry in entries]

    def _fingerprint(self) -> str:
        """12 digits of a sha256 over paths, classes and sizes of the images, and the prompts.

        The place of the folder is not in it: a copy elsewhere has the same.
        """
        digest = hashlib.sha256()
        ids = self.condition_ids or ("",) * self.num_classes
        for row in zip(self.class_names, self.prompts, ids, strict=True):
            digest.update(f"{row}\n".encode())
        known = {e.image_id: s for e, s in zip(self.entries, self._sizes, strict=True)}
        for entry in sorted(self.entries, key=lambda each: each.image_id):
            labels = entry.labels if entry.label is None else (entry.label,)
            digest.update(f"{entry.image_id} {labels} {known[entry.image_id]}\n".encode())
        return digest.hexdigest()[:12]


def path_id(file: str) -> int:
    """The image id of a path below `dataset.root`, with slashes: 48 bits of its sha256."""
    text = unicodedata.normalize("NFC", file)  # macOS stores accents as characters of their own
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:6])


def _class_folders(root: Path) -> dict[str, tuple[str, ...]]:
    """Image file below `root` -> its class, the name of its folder."""
    beside = [each.name for each in _visible(root) if not each.is_dir()]
    folders = [each for each in _visible(root) if each.is_dir()]
    _require_images(root, beside)
    if beside or not folders:
        what = f"{beside[0]} is in no class folder" if beside else "holds no class folder"
        raise UserError(f"dataset.root={root}: {what}; allowed: {_LAYOUTS}")
    found: dict[str, tuple[str, ...]] = {}
    for folder in folders:
        files = [path.relative_to(root).as_posix() for path in _files(folder, (root.resolve(),))]
        _require_images(root, files)
        if not files:
            raise UserError(f"dataset.root={root}: {folder.name} holds no image; allowed: {_KINDS}")
        found |= dict.fromkeys(files, (unicodedata.normalize("NFC", folder.name),))
    return found


def _require_images(root: Path, names: Sequence[str]) -> None:
    """Raise UserError for a file of another kind."""
    other = next((name for name in names if not is_image_name(name)), None)
    if other is not None:
        raise UserError(f"dataset.root={root}: {other} is no image; allowed: {_KINDS}")


def _visible(folder: Path) -> list[Path]:
    """What a folder holds, sorted, without notes and what `is_clutter` names."""
    try:
        found = sorted(each for each in folder.iterdir() if not is_clutter(each))
    except OSError as error:
        raise UserError(
            f"dataset.root: {folder} cannot be read ({error.strerror}); allowed: folders of images"
        ) from error
    return [each for each in found if each.suffix.lower() not in _NOTES or each.is_dir()]


def _files(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """All files below `folder`, sorted; raises UserError for a link to one of the folders above."""
    target = folder.resolve()
    if any(each.is_relative_to(target) for each in above):
        raise UserError(
            f"dataset.root: {folder} is a link to a folder above it, {target}; allowed: folders "
            "of images, and links to folders elsewhere"
        )
    for each in _visible(folder):
        if each.is_dir():
            yield from _files(each, (*above, target))
        else:
            yield each


def _classes(labels: set[str], prompts: Path | None) -> ClassList:
    """The classes, with their prompts and class indices; Fashion-MNIST's ten in its order."""
    if prompts is None:
        rows: Prompts = {
            name: (f"a photo of a {name.replace('_', ' ')}.", None) for name in sorted(labels)
        }
    else:
        rows = read_prompts(prompts)
        bare = sorted(labels - set(rows))
        if bare:
            raise UserError(
                f"dataset.prompts={prompts}: class {bare[0]} has no prompt; allowed: one line for "
                "each class of the images"
            )
    names = sorted(rows, key=_garment) if _are_garments([*rows]) else [*rows]
    ids = [rows[name][1] for name in names]
    if prompts is not None:
        _refuse_repeats(f"dataset.prompts={prompts}", "names", names)
    _refuse_repeats(
        f"dataset.prompts={prompts or 'null'}", "prompts", [rows[name][0] for name in names]
    )
    known = tuple(each for each in ids if each is not None)
    if known and len(known) < len(ids):
        lacking = names[ids.index(None)]
        raise UserError(
            f"dataset.prompts={prompts}: class {lacking} has no class index; allowed: one for "
            "every class, or for none"
        )
    _refuse_repeats(f"dataset.prompts={prompts}", "class indices", [*map(str, known)])
    return ClassList(tuple(names), tuple(rows[name][0] for name in names), known or None)


def _refuse_repeats(where: str, what: str, values: Sequence[str]) -> None:
    """Raise UserError for two values that a text encoder sees as the same text.

    CLIP's tokenizers lower-case a text and make one space of all white space.
    """
    first: dict[str, str] = {}
    for value in values:
        seen = " ".join(value.casefold().split())
        if seen in first:
            raise UserError(
                f"{where}: two classes have the {what} `{first[seen]}` and `{value}`; allowed: "
                f"{what} that differ in more than case and white space"
            )
        first[seen] = value


def _ordered(found: dict[str, tuple[str, ...]], names: Sequence[str]) -> list[Entry]:
    """The images in the fixed order."""
    label_of = {name: label for label, name in enumerate(names)}
    labels = {file: tuple(sorted(label_of[n] for n in own)) for file, own in found.items()}
    is_single = all(len(own) == 1 for own in labels.values())
    entries = [
        Entry(path_id(file), file, own[0]) if is_single else Entry(path_id(file), file, None, own)
        for file, own in labels.items()
    ]
    file_of: dict[int, str] = {}
    for entry in entries:
        other = file_of.setdefault(entry.image_id, entry.file)
        if other != entry.file:
            raise UserError(
                f"dataset.root: {other} and {entry.file} have the same image id; allowed: "
                "other names"
            )
    ids = [entry.image_id for entry in entries]
    classes = [entry.label for entry in entries if entry.label is not None]
    order = hashed_order(ids, classes if is_single else None, ORDER_SEED)
    return [entries[position] for position in order]


def _are_garments(names: Sequence[str]) -> bool:
    """Whether these are the ten classes of Fashion-MNIST, whatever their case and underscores."""
    return sorted(map(_key, names)) == sorted(map(_key, GARMENTS.names))


def _garment(name: str) -> int:
    """Label of a class of Fashion-MNIST."""
    return [_key(each) for each in GARMENTS.names].index(_key(name))


def _key(name: str) -> str:
    return name.casefold().replace("_", " ")

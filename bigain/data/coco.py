"""COCO 2017, validation split: 5,000 images, each of any number of the 80 object classes.

Read by torchvision's CocoDetection and CocoCaptions (extra `coco`).  The labels of an image are
the classes of all its annotated instances, crowds included; images without an instance stay in the
split, with no label.  The captions are in the order of their file; generation takes the first.
Source: Lin et al. 2014, arXiv:1405.0312; annotations CC BY 4.0, images under Flickr's terms.
"""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

from bigain.data.base import ClassList, class_table
from bigain.data.files import Entry, PublishedFiles
from bigain.data.layouts import Layout
from bigain.data.orders import hashed_order
from bigain.errors import UserError

__all__ = ["ORDER_SEED", "Coco"]

ORDER_SEED = 20261127
_IMAGES = "val2017"
_INSTANCES = "annotations/instances_val2017.json"
_CAPTIONS = "annotations/captions_val2017.json"
_DAMAGE: tuple[type[Exception], ...] = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError, AssertionError),
    RecursionError,  # brackets that are nested too deeply for the parser
)
_ALLOWED = "allowed: the published file of COCO 2017, whole"


class Coco(PublishedFiles):
    """The validation images in a fixed shuffled order.

    Image ids are COCO's own.  Labels are the categories in ascending order of COCO's ids.

    Raises:
        UserError: pycocotools or the data is not there, an annotation file is damaged, has no
            annotations or an empty first caption, names a category without a prompt or an image
            that is not listed, or an image is missing.

    """

    num_classes = 80
    split = "val2017"
    split_size = 5000
    label_space = "open"
    extra = "coco"
    layout = Layout(
        title="COCO 2017",
        folders=("coco", ""),
        parts=(_IMAGES, _INSTANCES, _CAPTIONS),
        shape=f"{_IMAGES}/*.jpg, {_INSTANCES}, {_CAPTIONS}",
        source="cocodataset.org (val2017.zip, annotations_trainval2017.zip)",
        archives=("val2017.zip", "annotations_trainval2017.zip"),
    )

    @classmethod
    def classes(cls) -> ClassList:
        """The object categories."""
        return ClassList.of([row["name"] for row in class_table("coco2017")])

    @classmethod
    def stamp_files(cls, root: Path | None) -> list[Path]:
        """Both annotation files and all images: reading the annotations takes seconds."""
        found = cls.layout.search(root)
        if found.missing:
            return []
        images = sorted((found.folder / _IMAGES).iterdir())
        return [found.folder / _INSTANCES, found.folder / _CAPTIONS, *images]

    @classmethod
    def list_entries(cls, folder: Path) -> list[Entry]:
        """The images of the annotation files."""
        instances = _read("CocoDetection", folder, _INSTANCES)
        captions = _read("CocoCaptions", folder, _CAPTIONS)
        names = _file_names(instances, folder / _INSTANCES)
        labels = _labels(instances, set(names), folder / _INSTANCES)
        sentences = _sentences(captions, set(names), folder / _CAPTIONS)
        ids = sorted(names)
        order = [ids[position] for position in hashed_order(ids, None, ORDER_SEED)]
        return [
            Entry(
                image_id=image_id,
                file=f"{_IMAGES}/{names[image_id]}",
                label=None,
                labels=tuple(sorted(labels.get(image_id, ()))),
                captions=tuple(sentences[image_id]),
            )
            for image_id in order
        ]


def _file_names(instances: Any, path: Path) -> dict[int, str]:
    """Image id -> file name; raises UserError unless each is listed once, with its own file."""
    names: dict[int, str] = {}
    taken: set[str] = set()
    for number, image in enumerate(_listed(instances, "images", path)):
        image_id = _field(image, "id", int, f"{path}: images[{number}]")
        if image_id in names:
            raise UserError(f"{path}: lists image {image_id} twice; {_ALLOWED}")
        name = _field(image, "file_name", str, f"{path}: image {image_id}")
        if name in ("", ".", "..") or PurePath(name).name != name or name in taken:
            why = "is that of another image too" if name in taken else "is no name of a file"
            raise UserError(f"{path}: image {image_id}: file_name {name!r} {why}; {_ALLOWED}")
        taken.add(name)
        names[image_id] = name
    return names


def _labels(instances: Any, images: set[int], path: Path) -> dict[int, set[int]]:
    """Image id -> its labels.  Raises UserError unless categories and image ids are known."""
    label_of = _check_categories(instances, path)
    labels: dict[int, set[int]] = {}
    for number, annotation in enumerate(_listed(instances, "annotations", path)):
        image_id = _image_of(annotation, number, images, path)
        category = _field(annotation, "category_id", int, f"{path}: annotations[{number}]")
        if category not in label_of:
            raise _unknown(annotation, "category", path)
        labels.setdefault(image_id, set()).add(label_of[category])
    return labels


def _sentences(captions: Any, images: set[int], path: Path) -> dict[int, list[str]]:
    """Image id -> its captions, in the order of the file.

    Raises UserError unless every image has one and the first, which is a prompt, is not empty.
    """
    sentences: dict[int, list[str]] = {}
    for number, annotation in enumerate(_listed(captions, "annotations", path)):
        image_id = _image_of(annotation, number, images, path)
        text = _field(annotation, "caption", str, f"{path}: annotations[{number}]").strip()
        own = sentences.setdefault(image_id, [])
        if not (own or text):
            raise UserError(f"{path}: the first caption of image {image_id} is empty; {_ALLOWED}")
        own.append(text)
    bare = sorted(images - sentences.keys())
    if bare:
        raise UserError(
            f"{path}: has no caption of {len(bare)} of {len(images)} images, such as {bare[0]}; "
            f"{_ALLOWED}"
        )
    return sentences


def _image_of(annotation: Any, number: int, images: set[int], path: Path) -> int:
    image_id: int = _field(annotation, "image_id", int, f"{path}: annotations[{number}]")
    if image_id not in images:
        raise _unknown(annotation, "image", path)
    return image_id


def _unknown(annotation: dict[str, Any], what: str, path: Path) -> UserError:
    return UserError(
        f"{path}: annotation {annotation.get('id')} is of {what} {annotation[f'{what}_id']}, "
        f"which is not listed; {_ALLOWED}"
    )


def _listed(read: Any, key: str, path: Path) -> list[Any]:
    """The list `key` of an annotation file; raises UserError if it is missing or empty."""
    found = read.coco.dataset.get(key)
    if not isinstance(found, list) or not found:
        why = f"has no {key}" if found is None or found == [] else f"{key} is no list"
        raise UserError(f"{path}: {why}; {_ALLOWED}")
    return found


def _field(entry: Any, key: str, kind: type, where: str) -> Any:
    """`entry[key]`; raises UserError unless it is there and of the type `kind`."""
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        shown = "missing" if isinstance(entry, dict) and key not in entry else repr(value)[:40]
        needed = "an integer" if kind is int else "a text"
        raise UserError(f"{where}: {key} is {shown}, not {needed}; {_ALLOWED}")
    return value


def _check_categories(instances: Any, path: Path) -> dict[int, int]:
    """COCO's category ids -> labels; raises UserError for a category without a prompt."""
    rows = class_table("coco2017")
    known = {int(row["category_id"]): (label, row["name"]) for label, row in enumerate(rows)}
    labels: dict[int, int] = {}
    for place, category in enumerate(_listed(instances, "categories", path)):
        number = _field(category, "id", int, f"{path}: categories[{place}]")
        name = _field(category, "name", str, f"{path}: category {number}")
        if known.get(number, (None, None))[1] != name:
            raise UserError(
                f"{path}: category {number} ({name}) has no prompt; allowed: the {len(known)} "
                "categories of COCO 2017"
            )
        labels[number] = known[number][0]
    return labels


def _read(kind: str, folder: Path, annotations: str) -> Any:
    """One of torchvision's COCO datasets, without the messages that pycocotools prints."""
    from torchvision import datasets  # noqa: PLC0415 -- loads torch

    path = folder / annotations
    try:
        with contextlib.redirect_stdout(io.StringIO()), _damage(path):
            return getattr(datasets, kind)(folder / _IMAGES, str(path))
    except ImportError as error:
        raise UserError(
            "dataset=coco2017: needs pycocotools; install it with the extra: pip install "
            "'bigain[coco]'"
        ) from error


@contextlib.contextmanager
def _damage(path: Path) -> Iterator[None]:
    """What a file that is not COCO's raises becomes one line."""
    try:
        yield
    except _DAMAGE as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:80]
        raise UserError(f"{path}: is no COCO annotation file ({reason}); {_ALLOWED}") from error

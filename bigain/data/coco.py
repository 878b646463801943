"""COCO 2017, validation split: 5,000 images, each of any number of the 80 object classes.

Read by torchvision's CocoDetection and CocoCaptions (extra `coco`).  The labels of an image are
the classes of all its annotated instances, crowds included; images without an instance stay in the
split, with no label.  The captions are in the order of their file; generation takes the first.
Source: Lin et al. 2014, arXiv:1405.0312; annotations CC BY 4.0, images under Flickr's terms.
"""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
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


class Coco(PublishedFiles):
    """The validation images in a fixed shuffled order.

    Image ids are COCO's own.  Labels are the categories in ascending order of COCO's ids.

    Raises:
        UserError: pycocotools or the data is not there, an annotation file is damaged, names a
            category without a prompt or an image that it does not list, or an image is missing.

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
    def list_entries(cls, folder: Path) -> list[Entry]:
        """The images of the annotation files."""
        instances = _read("CocoDetection", folder, _INSTANCES)
        captions = _read("CocoCaptions", folder, _CAPTIONS)
        labels = _labels(instances, folder / _INSTANCES)
        ids = [int(image_id) for image_id in instances.ids]
        order = [ids[position] for position in hashed_order(ids, None, ORDER_SEED)]
        with _damage(folder / _INSTANCES):
            return [_entry(image_id, instances, captions, labels) for image_id in order]


def _entry(image_id: int, instances: Any, captions: Any, labels: dict[int, set[int]]) -> Entry:
    sentences = captions.coco.imgToAnns.get(image_id, [])
    return Entry(
        image_id=image_id,
        file=f"{_IMAGES}/{instances.coco.imgs[image_id]['file_name']}",
        label=None,
        labels=tuple(sorted(labels[image_id])),
        captions=tuple(str(each["caption"]).strip() for each in sentences),
    )


def _labels(instances: Any, path: Path) -> dict[int, set[int]]:
    """Image id -> its labels.  Raises UserError unless categories and image ids are known."""
    with _damage(path):
        if not instances.ids:
            raise ValueError("it lists no images")
        label_of = _check_categories(instances.coco.cats, path)
        labels: dict[int, set[int]] = {int(image_id): set() for image_id in instances.ids}
        for annotation in instances.coco.anns.values():
            image_id, category = annotation["image_id"], annotation["category_id"]
            if image_id not in labels or category not in label_of:
                what = "image" if image_id not in labels else "category"
                raise UserError(
                    f"{path}: annotation {annotation['id']} is of {what} "
                    f"{annotation[f'{what}_id']}, which the file does not list; "
                    "allowed: the published file, whole"
                )
            labels[image_id].add(label_of[category])
    return labels


def _check_categories(found: dict[int, Any], path: Path) -> dict[int, int]:
    """COCO's category ids -> labels; raises UserError for a category without a prompt."""
    rows = class_table("coco2017")
    known = {int(row["category_id"]): (label, row["name"]) for label, row in enumerate(rows)}
    for number, category in found.items():
        if number not in known or known[number][1] != category["name"]:
            raise UserError(
                f"{path}: category {number} ({category['name']}) has no prompt; allowed: the "
                f"{len(known)} categories of COCO 2017"
            )
    return {number: known[number][0] for number in found}


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
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:80]
        allowed = "allowed: the published file of COCO 2017"
        raise UserError(f"{path}: is no COCO annotation file ({reason}); {allowed}") from error

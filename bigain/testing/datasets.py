"""Small datasets in the exact layouts of the large ones, with the oddities that those have.

Among the first images of each dataset's order are a file with an alpha channel, a grey one, a CMYK
one, a tiny one and one that is cut short; all carry the usual file names.  Everything else is a
coloured pattern whose colour depends on the class, also the training images.  For tests, and for
trying a set-up: `scripts/make_tiny_datasets.py`.
"""

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bigain.data.base import class_table
from bigain.data.coco import ORDER_SEED as COCO_ORDER
from bigain.data.imagenet import ORDER_SEED as IMAGENET_ORDER
from bigain.data.imagenet import ImageNet1K, ImageNet100
from bigain.data.orders import hashed_order
from bigain.data.pets import ORDER_SEED as PETS_ORDER
from bigain.files import replace_file

Json = dict[str, Any]

__all__ = ["ODDITIES", "TINY", "TRUNCATED", "write_tiny"]

IMAGENET_IMAGES = 20
COCO_IMAGES = 12
TRUNCATED = 4
"""Position, in the fixed order, of the image that is cut short."""
_PLAIN = 10
"""A position without an oddity."""
_CAPTIONS = ("A {0} beside nothing else.", "Someone has made a picture of a {0}.")


def write_tiny(dataset: str, root: Path) -> int:
    """Write the tiny version of `dataset`, a key of `TINY`, below the folder `root`.

    Returns:
        Number of images to evaluate: 37 for Pets, 20 for either ImageNet, 12 for COCO.  Of training
        images Pets has as many, and ImageNet 20, each of another class.

    """
    return TINY[dataset](root)


def _pets(root: Path) -> int:
    """One test image of each of the 37 breeds, and one of each for training."""
    folder = root / "oxford-iiit-pet"
    breeds = class_table("pets")
    names = sorted(f"{row['file_name']}_{7 + i}" for i, row in enumerate(breeds))
    order = hashed_order(range(len(names)), range(len(names)), PETS_ORDER)
    for place, position in enumerate(order):
        _save(folder / "images" / f"{names[position]}.jpg", place, position)
    for label, row in enumerate(breeds):
        _save(folder / "images" / f"{row['file_name']}_300.jpg", _PLAIN, label)
    lines = {row["file_name"]: _pets_line(i, row) for i, row in enumerate(breeds)}
    test = [f"{name} {lines[name.rpartition('_')[0]]}\n" for name in names]
    train = [f"{breed}_300 {line}\n" for breed, line in lines.items()]
    comment = "#Image CLASS-ID SPECIES BREED ID\n"
    for file, text in {"test": test, "trainval": train, "list": [comment, *test, *train]}.items():
        _write(folder / "annotations" / f"{file}.txt", "".join(text).encode())
    return len(names)


def _pets_line(index: int, row: Mapping[str, str]) -> str:
    """Breed, species and the breed's number inside its species, all from 1."""
    same = [
        each["class_index"] for each in class_table("pets") if each["species"] == row["species"]
    ]
    species = 1 if row["species"] == "cat" else 2
    return f"{index + 1} {species} {same.index(row['class_index']) + 1}"


def _imagenet(kind: type[ImageNet1K] | type[ImageNet100]) -> Callable[[Path], int]:
    def write(root: Path) -> int:
        folder = root / kind.layout.folders[0]
        for place, entry in enumerate(kind.list_entries(folder)[:IMAGENET_IMAGES]):
            _save(folder / entry.file, place, entry.label or 0)
        wnids = [row["wnid"] for row in class_table("imagenet")]
        for label in hashed_order(range(kind.num_classes), None, IMAGENET_ORDER)[:IMAGENET_IMAGES]:
            wnid = wnids[kind.indices()[label]]
            _save(folder / "train" / wnid / f"{wnid}_{100 + label}.JPEG", _PLAIN, label)
        return IMAGENET_IMAGES

    return write


def _coco(root: Path) -> int:
    """Images of none, one, two or three classes, the last in the order with none."""
    folder = root / "coco"
    rows = class_table("coco2017")
    ids = [139 + 1000 * i + i * i for i in range(COCO_IMAGES)]
    order = hashed_order(ids, None, COCO_ORDER)
    images: list[Json] = []
    instances: list[Json] = []
    captions: list[Json] = []
    for place, position in enumerate(order):
        image_id, file = ids[position], f"{ids[position]:012d}.jpg"
        _save(folder / "val2017" / file, place, place)
        images.append({"id": image_id, "file_name": file, "width": 40, "height": 30, "license": 1})
        own = [rows[(7 * place + 11 * k) % len(rows)] for k in range((place + 1) % 4)]
        for row in [*own, *own[:1]]:  # the first class twice
            box = {"bbox": [1, 1, 8, 8], "area": 64.0, "iscrowd": 0, "segmentation": [[1, 1, 9, 9]]}
            number = {"id": len(instances) + 1, "category_id": int(row["category_id"])}
            instances.append({**number, "image_id": image_id, **box})
        for text in _CAPTIONS:
            caption = text.format(own[0]["name"] if own else "wall")
            captions.append({"id": len(captions) + 1, "image_id": image_id, "caption": caption})
    categories = [
        {"id": int(r["category_id"]), "name": r["name"], "supercategory": ""} for r in rows
    ]
    head = {"info": {"description": "tiny"}, "licenses": [], "images": images}
    content = {
        "instances": {**head, "annotations": instances, "categories": categories},
        "captions": {**head, "annotations": captions},
    }
    for kind, value in content.items():
        path = folder / "annotations" / f"{kind}_val2017.json"
        _write(path, json.dumps(value).encode())
    return COCO_IMAGES


TINY: dict[str, Callable[[Path], int]] = {
    "pets": _pets,
    "imagenet1k": _imagenet(ImageNet1K),
    "imagenet100": _imagenet(ImageNet100),
    "coco2017": _coco,
}
"""Dataset -> what writes its tiny version below a root, and returns the number of images."""


def _save(path: Path, place: int, label: int) -> None:
    """Write the image at `place` of the order: one of the oddities, or a plain JPEG."""
    size = (40, 30) if place % 2 else (32, 44)
    _write(path, ODDITIES.get(place, _jpeg)(_pattern(label, size)))


def _pattern(label: int, size: tuple[int, int]) -> Image.Image:
    """Stripes in the colour of the class."""
    width, height = size
    colour = np.random.default_rng(label).integers(40, 216, 3)
    stripes = 40 * np.sin(np.arange(width) * (1 + label % 7) / 5)
    pixels = colour + np.broadcast_to(stripes[None, :, None], (height, width, 1))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _jpeg(image: Image.Image) -> bytes:
    return _encoded(image, "JPEG")


def _encoded(image: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


def _with_alpha(image: Image.Image) -> bytes:
    """A PNG under a JPEG's name, as Pets has them."""
    image.putalpha(100)
    return _encoded(image, "PNG")


def _cut(image: Image.Image) -> bytes:
    content = _jpeg(image.resize((320, 240)))
    return content[: 3 * len(content) // 4]


ODDITIES: dict[int, Callable[[Image.Image], bytes]] = {
    0: _with_alpha,
    1: lambda image: _jpeg(image.convert("L")),
    2: lambda image: _jpeg(image.convert("CMYK")),
    3: lambda image: _jpeg(image.resize((3, 2))),
    TRUNCATED: _cut,
}
"""Position in the fixed order -> how the file there is encoded."""


def _write(path: Path, content: bytes) -> None:
    replace_file(path, lambda temporary: temporary.write_bytes(content))

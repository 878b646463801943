"""Write the class lists and ImageNet's index lists that ship, from what maintained packages hold.

    pip download --no-deps open_clip_torch==3.3.0 tensorflow-datasets==4.9.10
    python scripts/make_index_lists.py OPEN_CLIP_WHEEL TENSORFLOW_DATASETS_WHEEL

Nothing of the wheels is run.  From OpenCLIP (MIT): ImageNet's CLIP-style class names.  From
TensorFlow Datasets (Apache-2.0): the WordNet ids of ImageNet's classes, the labels of its 50,000
validation images, Pets' class names.  From torchvision (BSD-3-Clause): COCO's categories.
`classes/imagenet100.csv`, the 100 classes of CMC's ImageNet-100, is not made here.
"""

import argparse
import ast
import csv
import hashlib
import io
import sys
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

from bigain.data.base import CLASSES
from bigain.data.imagenet import LISTS, VAL_LABELS, val_order
from bigain.errors import in_one_line
from bigain.files import replace_text

NAMES = "open_clip/zero_shot_metadata.py"
IMAGENET = "tensorflow_datasets/datasets/imagenet2012"
PETS = "tensorflow_datasets/datasets/oxford_iiit_pet/oxford_iiit_pet_dataset_builder.py"


def literal(wheel: Path, member: str, variable: str) -> list[str]:
    """The strings assigned to `variable` in a module inside a wheel."""
    tree = ast.parse(zipfile.ZipFile(wheel).read(member))
    for node in tree.body:
        targets = [ast.unparse(t) for t in node.targets] if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.Assign) and targets == [variable]:
            return [str(value) for value in ast.literal_eval(node.value)]
    raise SystemExit(f"{wheel.name}: {member} has no {variable}")


def lines(wheel: Path, member: str) -> list[str]:
    """The lines of a text file inside a wheel."""
    return zipfile.ZipFile(wheel).read(member).decode("utf-8").split()


def write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Replace a CSV."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    replace_text(path, buffer.getvalue())
    print(f"wrote {path}")


def write_classes(open_clip: Path, tfds: Path) -> list[str]:
    """ImageNet's, Pets' and COCO's classes; returns ImageNet's WordNet ids by class index."""
    names, ids = (
        literal(open_clip, NAMES, "IMAGENET_CLASSNAMES"),
        lines(tfds, f"{IMAGENET}/labels.txt"),
    )
    if len(names) != 1000 or ids != sorted(ids) or len(set(ids)) != 1000:
        raise SystemExit("the wheels do not hold ImageNet's 1,000 classes in the order of the ids")
    rows = [(index, ids[index], name) for index, name in enumerate(names)]
    write(CLASSES / "imagenet.csv", ("class_index", "wnid", "name"), rows)
    pets = literal(tfds, PETS, "_LABEL_CLASSES")
    species = ["cat" if name[0].isupper() else "dog" for name in pets]
    columns = ("class_index", "file_name", "species")
    write(CLASSES / "pets.csv", columns, zip(range(len(pets)), pets, species, strict=True))
    categories = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    kept = [(i, name) for i, name in enumerate(categories) if name not in {"N/A", "__background__"}]
    write(CLASSES / "coco2017.csv", ("category_id", "name"), kept)
    return ids


def write_lists(tfds: Path, ids: list[str]) -> None:
    """The label of every validation image, and the first 2,000 and 10,000 of the fixed order."""
    index = {wnid: position for position, wnid in enumerate(ids)}
    labels = [index[wnid] for wnid in lines(tfds, f"{IMAGENET}/validation_labels.txt")]
    write(VAL_LABELS, ("class_index",), ([label] for label in labels))
    order = val_order(labels)
    for size, path in LISTS.items():
        chosen = order[:size]
        columns = ("image_number", "class_index")
        write(path, columns, [(number, labels[number - 1]) for number in chosen])


def write_checksums() -> None:
    """sha256 of every list, in the form that `sha256sum --check` reads."""
    files = sorted({*CLASSES.glob("*.csv"), VAL_LABELS, *LISTS.values()})
    sums = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in files]
    replace_text(CLASSES / "SHA256SUMS", "".join(sums))


def main() -> None:
    """Replace the lists."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("open_clip", type=Path, help="wheel of open_clip_torch")
    parser.add_argument("tensorflow_datasets", type=Path, help="wheel of tensorflow-datasets")
    arguments = parser.parse_args()
    ids = write_classes(arguments.open_clip, arguments.tensorflow_datasets)
    write_lists(arguments.tensorflow_datasets, ids)
    write_checksums()


if __name__ == "__main__":
    sys.exit(in_one_line(main))

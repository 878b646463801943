"""Where each dataset lies on disk, and what of it is missing.

The layouts are those of torchvision and of the publishers' archives.  Nothing is ever downloaded:
the licences of the images ask for that to be somebody's own decision.
"""

from dataclasses import dataclass
from pathlib import Path

from bigain.errors import UserError

__all__ = ["LAYOUTS", "Layout", "find_root", "missing_parts"]

_DEFAULT_ROOT = Path("data")


@dataclass(frozen=True)
class Layout:
    """Files and folders of a dataset.

    Attributes:
        title: Name of the dataset.
        folders: Where below the root it may lie, first match first; "" is the root itself.
        parts: What must be there, relative to such a folder.
        shape: The layout in words.
        source: Where the data comes from.

    """

    title: str
    folders: tuple[str, ...]
    parts: tuple[str, ...]
    shape: str
    source: str


def _imagenet(title: str, *folders: str) -> Layout:
    return Layout(
        title=title,
        folders=folders,
        parts=("val",),
        shape="val/<wnid>/ILSVRC2012_val_<number>.JPEG (or all files in val/)",
        source="image-net.org (ILSVRC 2012, validation images; needs an account)",
    )


LAYOUTS: dict[str, Layout] = {
    "pets": Layout(
        title="Oxford-IIIT Pets",
        folders=("oxford-iiit-pet",),
        parts=("images", "annotations/test.txt"),
        shape="images/*.jpg, annotations/test.txt",
        source="robots.ox.ac.uk/~vgg/data/pets (images.tar.gz, annotations.tar.gz)",
    ),
    "imagenet1k": _imagenet("ImageNet-1K", "imagenet", ""),
    "imagenet100": _imagenet("ImageNet-100", "imagenet100", "imagenet", ""),
    "coco2017": Layout(
        title="COCO 2017",
        folders=("coco", ""),
        parts=(
            "val2017",
            "annotations/instances_val2017.json",
            "annotations/captions_val2017.json",
        ),
        shape="val2017/*.jpg, annotations/instances_val2017.json, "
        "annotations/captions_val2017.json",
        source="cocodataset.org (val2017.zip, annotations_trainval2017.zip)",
    ),
}
"""Name in `configs/dataset` -> its layout.  Fashion-MNIST has `fashion_mnist_files`."""


def missing_parts(dataset: str, folder: Path) -> list[str]:
    """The parts of the layout that `folder` lacks, in order; none if it can be used."""
    return [part for part in LAYOUTS[dataset].parts if not (folder / part).exists()]


def find_root(dataset: str, root: Path | None) -> Path:
    """The folder that holds the parts of `dataset`.

    Args:
        dataset: A name in `LAYOUTS`.
        root: What the configuration names; None stands for the folder `data`.

    Raises:
        UserError: No folder of the layout has all parts; says what the best one lacks.

    """
    layout = LAYOUTS[dataset]
    below = _DEFAULT_ROOT if root is None else root
    candidates = [below / folder for folder in layout.folders]
    lacking = {folder: missing_parts(dataset, folder) for folder in candidates}
    best = min(candidates, key=lambda folder: len(lacking[folder]))
    if not lacking[best]:
        return best
    told = "null" if root is None else root
    lacks = ", ".join(str(best / part) for part in lacking[best])
    places = " or ".join(str(folder) for folder in candidates)
    raise UserError(
        f"dataset.root={told}: no {layout.title} there, {lacks} is missing; expected "
        f"{layout.shape}, in {places}; set dataset.root or BIGAIN_DATA; source: {layout.source}"
    )

"""Where each dataset lies on disk, what of it is missing, and what is there in its place.

The layouts are those of torchvision and of the publishers' archives.  Nothing is ever downloaded:
the licences of the images ask for that to be somebody's own decision.
"""

from dataclasses import dataclass
from pathlib import Path

from bigain.errors import UserError

__all__ = ["LAYOUTS", "Layout", "Search", "find_root", "missing_parts", "search"]

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
        archives: How the files are called in which the publisher hands it out.

    """

    title: str
    folders: tuple[str, ...]
    parts: tuple[str, ...]
    shape: str
    source: str
    archives: tuple[str, ...]


@dataclass(frozen=True)
class Search:
    """What there is of a dataset below a root.

    Attributes:
        dataset: Its name.
        root: What the configuration names.
        folder: The folder of the layout that holds most of it.
        missing: The parts that this folder lacks; none if the dataset can be opened.

    """

    dataset: str
    root: Path | None
    folder: Path
    missing: tuple[str, ...]

    @property
    def clue(self) -> str:
        """What is there in place of what is missing, and what to do about it, in a few words."""
        return _clue(self)


def _imagenet(title: str, *folders: str) -> Layout:
    return Layout(
        title=title,
        folders=folders,
        parts=("val",),
        shape="val/<wnid>/ILSVRC2012_val_<number>.JPEG (or all files in val/)",
        source="image-net.org (ILSVRC 2012, validation images; needs an account)",
        archives=("ILSVRC2012_img_val.tar",),
    )


LAYOUTS: dict[str, Layout] = {
    "pets": Layout(
        title="Oxford-IIIT Pets",
        folders=("oxford-iiit-pet",),
        parts=("images", "annotations/test.txt"),
        shape="images/*.jpg, annotations/test.txt",
        source="robots.ox.ac.uk/~vgg/data/pets (images.tar.gz, annotations.tar.gz)",
        archives=("images.tar.gz", "annotations.tar.gz"),
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
        archives=("val2017.zip", "annotations_trainval2017.zip"),
    ),
}
"""Name in `configs/dataset` -> its layout.  Fashion-MNIST has `fashion_mnist_files`."""


def missing_parts(dataset: str, folder: Path) -> list[str]:
    """The parts of the layout that `folder` lacks, in order; none if it can be used."""
    return [part for part in LAYOUTS[dataset].parts if not (folder / part).exists()]


def search(dataset: str, root: Path | None) -> Search:
    """Look for `dataset`, a name in `LAYOUTS`; without a `root`, below the folder `data`."""
    candidates = _candidates(dataset, root)
    lacking = {folder: missing_parts(dataset, folder) for folder in candidates}
    best = min(candidates, key=lambda folder: len(lacking[folder]))
    return Search(dataset, root, best, tuple(lacking[best]))


def find_root(dataset: str, root: Path | None) -> Path:
    """The folder that holds the parts of `dataset`.

    Args:
        dataset: A name in `LAYOUTS`.
        root: What the configuration names; None stands for the folder `data`.

    Raises:
        UserError: No folder of the layout has all parts; says what the best one lacks, and what
            `bigain doctor` finds there.

    """
    found = search(dataset, root)
    if not found.missing:
        return found.folder
    layout = LAYOUTS[dataset]
    told = "null" if root is None else root
    lacks = ", ".join(str(found.folder / part) for part in found.missing)
    places = " or ".join(str(folder) for folder in _candidates(dataset, root))
    doctor = f"bigain doctor dataset={dataset}" + ("" if root is None else f" dataset.root={root}")
    raise UserError(
        f"dataset.root={told}: no {layout.title} there, {lacks} is missing; expected "
        f"{layout.shape}, in {places}; set dataset.root or BIGAIN_DATA; source: {layout.source}; "
        f"`{doctor}` found: {found.clue}"
    )


def _candidates(dataset: str, root: Path | None) -> list[Path]:
    below = _DEFAULT_ROOT if root is None else root
    return [below / folder for folder in LAYOUTS[dataset].folders]


def _clue(found: Search) -> str:
    layout, folder = LAYOUTS[found.dataset], found.folder
    below = _DEFAULT_ROOT if found.root is None else found.root
    if not below.is_dir():
        return f"there is no folder {below}"
    if not missing_parts(found.dataset, below):  # the root is the dataset, but must not be
        name, above = layout.folders[0], below.absolute().parent
        if below.absolute().name == name:
            return f"{below} is the dataset itself; set dataset.root={above}"
        return f"{below} is the dataset itself; call it {name} and set dataset.root={above}"
    packed = [place / name for place in (below, folder) for name in layout.archives]
    archives = [str(path) for path in dict.fromkeys(packed) if path.is_file()]
    if archives:
        return f"{', '.join(archives)}, which must be unpacked in {folder}"
    there = [part for part in layout.parts if part not in found.missing]
    return f"{', '.join(there)} in {folder}, but not the rest" if there else "nothing of it"

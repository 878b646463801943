"""Oxford-IIIT Pets, test split: 3,669 images of 37 breeds of cats and dogs.

Read by torchvision's OxfordIIITPet from `annotations/test.txt`, whose lines are
`<image> <breed 1..37> <species: 1 cat, 2 dog> <breed within the species>`.
Source: Parkhi, Vedaldi, Zisserman, Jawahar 2012, "Cats and Dogs"; CC BY-SA 4.0.
"""

from pathlib import Path

from torchvision.datasets import OxfordIIITPet

from bigain.data.base import hashed_order
from bigain.data.classes import class_table, classes_of
from bigain.data.files import Entry, ImageFiles, take
from bigain.data.layouts import find_root
from bigain.errors import UserError

__all__ = ["ORDER_SEED", "PUBLISHED", "load_all_pets", "load_pets"]

ORDER_SEED = 20261126
PUBLISHED = 3669
"""Images of the test split."""
_LIST = "annotations/test.txt"
_SPECIES = ("cat", "dog")


def load_pets(limit: int | None, root: Path | None) -> ImageFiles:
    """The first `limit` test images of the fixed class-balanced order, or all 3,669.

    Image ids are positions 0, 1, ... in the list of the split's image names, sorted.

    Raises:
        UserError: The data is not there, a line of the list is damaged or names a breed without a
            prompt, or an image in use is missing.

    """
    folder = find_root("pets", root)
    entries = _entries(folder)
    order = hashed_order([e.image_id for e in entries], [e.label or 0 for e in entries], ORDER_SEED)
    ordered = [entries[position] for position in order]
    chosen = take(ordered, limit, published=PUBLISHED, folder=folder)
    return ImageFiles(chosen, folder, classes_of("pets"))


def load_all_pets(root: Path | None) -> ImageFiles:
    """All images of the dataset by name, 7,390 of them: training, test, and those in no list.

    Image ids are positions 0, 1, ... in this order; the breeds are not looked up.

    Raises:
        UserError: The data is not there.

    """
    folder = find_root("pets", root)
    names = sorted(path.name for path in (folder / "images").glob("*.jpg"))
    entries = [Entry(i, f"images/{name}", None) for i, name in enumerate(names)]
    if not entries:
        raise UserError(f"dataset.root={folder}: images/ holds no .jpg file")
    return ImageFiles(entries, folder, classes_of("pets"))


def _entries(folder: Path) -> list[Entry]:
    _check_list(folder / _LIST)
    split = OxfordIIITPet(folder.parent, split="test", download=False)
    files = [path.name for path in split._images]  # its public access decodes the images
    pairs = sorted(zip(files, split._labels, strict=True))
    return [Entry(i, f"images/{name}", label) for i, (name, label) in enumerate(pairs)]


def _check_list(path: Path) -> None:
    """Raise UserError unless every line names an image once, with a breed that has a prompt."""
    known = _known_breeds()
    seen: set[str] = set()
    for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), start=1):
        fields = line.split()
        where = f"{path}: line {number} ({' '.join(fields)[:60]})"
        if len(fields) != 4 or fields[0] in seen:
            why = "names an image again" if len(fields) == 4 else "is no annotation"
            allowed = "one line per image: <name> <breed> <species> <number>"
            raise UserError(f"{where}: {why}; allowed: {allowed}")
        if (fields[0].rpartition("_")[0], *fields[1:3]) not in known:
            raise UserError(f"{where}: has no prompt; allowed: the 37 breeds of Oxford-IIIT Pets")
        seen.add(fields[0])
    if not seen:
        raise UserError(f"{path}: is empty; allowed: the list of the test split")


def _known_breeds() -> set[tuple[str, str, str]]:
    """Breed, its number and its species' number, as the list writes them."""
    return {
        (row["file_name"], str(number), str(1 + _SPECIES.index(row["species"])))
        for number, row in enumerate(class_table("pets"), start=1)
    }

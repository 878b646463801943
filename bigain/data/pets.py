"""Oxford-IIIT Pets, test split: 3,669 images of 37 breeds of cats and dogs.

Read from `annotations/test.txt`, and the training split from `trainval.txt` beside it, as
torchvision's OxfordIIITPet reads them; a line is
`<image> <breed 1..37> <species: 1 cat, 2 dog> <breed within the species>`.
Breeds and species are those of TensorFlow Datasets' list; the prompt of a class is
"a photo of a {breed} {cat|dog}, a type of pet.".  As in the paper's released code, American Bulldog
alone has no species word.
Source: Parkhi, Vedaldi, Zisserman, Jawahar 2012, "Cats and Dogs"; CC BY-SA 4.0.
"""

from pathlib import Path
from typing import ClassVar

from bigain.config import DatasetConfig
from bigain.data.base import ClassList, Dataset, class_table
from bigain.data.files import Entry, ImageFiles, PublishedFiles
from bigain.data.layouts import Layout, is_clutter
from bigain.data.orders import hashed_order
from bigain.errors import UserError

__all__ = ["ORDER_SEED", "Pets"]

ORDER_SEED = 20261126
_LIST = "annotations/test.txt"
_TRAINING_LIST = "annotations/trainval.txt"
_SPECIES = ("cat", "dog")
_WITHOUT_SPECIES = "American Bulldog"


class Pets(PublishedFiles):
    """The test images in a fixed class-balanced order.

    Image ids are positions 0, 1, ... in the list of the split's image names, sorted.

    Raises:
        UserError: The data is not there, a line of the list is damaged or names a breed without a
            prompt, or an image in use is missing.

    """

    num_classes = 37
    split = "test"
    split_size = 3669
    training_split = "trainval"
    all_size: ClassVar[int] = 7390
    """Number of all images, those of both splits and the 41 in no list."""
    label_space = "open"
    references = ("split", "images", "all")
    layout = Layout(
        title="Oxford-IIIT Pets",
        folders=("oxford-iiit-pet",),
        parts=("images", "annotations/test.txt"),
        shape="images/*.jpg, annotations/test.txt",
        source="robots.ox.ac.uk/~vgg/data/pets (images.tar.gz, annotations.tar.gz)",
        archives=("images.tar.gz", "annotations.tar.gz"),
    )

    @classmethod
    def classes(cls) -> ClassList:
        """The breeds."""
        rows = class_table("pets")
        names = tuple(row["file_name"].replace("_", " ").title() for row in rows)
        words = (
            name if name == _WITHOUT_SPECIES else f"{name} {row['species']}"
            for name, row in zip(names, rows, strict=True)
        )
        return ClassList(names, tuple(f"a photo of a {each}, a type of pet." for each in words))

    @classmethod
    def list_entries(cls, folder: Path) -> list[Entry]:
        """The images of the test list."""
        return cls._listed(folder / _LIST)

    @classmethod
    def open_training(cls, root: Path | None, count: int) -> Dataset:
        """The first images of `trainval.txt`; ids are positions in its sorted names."""
        folder = cls.layout.find(root)
        return ImageFiles(cls._listed(folder / _TRAINING_LIST)[:count], folder, cls.classes())

    @classmethod
    def _listed(cls, path: Path) -> list[Entry]:
        """The images of a list in the fixed order."""
        pairs = sorted(_read_list(path).items())
        entries = [Entry(i, f"images/{name}", label) for i, (name, label) in enumerate(pairs)]
        order = hashed_order(range(len(pairs)), [label for _, label in pairs], ORDER_SEED)
        return [entries[position] for position in order]

    @classmethod
    def reference(cls, which: str, config: DatasetConfig) -> Dataset:
        """`split`, or `all`: every published image by name, also those in no list.

        Image ids are positions 0, 1, ... in that order.  Files that are not called
        `<breed>_<number>.jpg` are no images of the dataset.

        Raises:
            UserError: The data is not there, or there are not all of the published images.

        """
        if which != "all":
            return super().reference(which, config)
        folder = cls.layout.find(config.root)
        found = (path.name for path in (folder / "images").glob("*.jpg") if not is_clutter(path))
        names = sorted(filter(_is_published_name, found))
        if len(names) != cls.all_size:
            raise UserError(
                f"task.reference=all: means all {cls.all_size} images of Oxford-IIIT Pets, but "
                f"{folder / 'images'} holds {len(names)}; allowed: the whole images.tar.gz there, "
                "or task.reference=split or images"
            )
        entries = [Entry(i, f"images/{name}", None) for i, name in enumerate(names)]
        return ImageFiles(entries, folder, cls.classes())


def _read_list(path: Path) -> dict[str, int]:
    """File name -> label of the images in a list.

    Raises UserError unless every line names an image once, with a breed that has a prompt.
    """
    known = _known_breeds()
    labels: dict[str, int] = {}
    for number, line in enumerate(_lines(path), start=1):
        fields = line.split()
        where = f"{path}: line {number} ({' '.join(fields)[:60]})"
        name = f"{fields[0]}.jpg" if fields else ""
        if len(fields) != 4 or name in labels:
            why = "names an image again" if len(fields) == 4 else "is no annotation"
            allowed = "one line per image: <name> <breed> <species> <number>"
            raise UserError(f"{where}: {why}; allowed: {allowed}")
        if (fields[0].rpartition("_")[0], *fields[1:3]) not in known:
            raise UserError(f"{where}: has no prompt; allowed: the 37 breeds of Oxford-IIIT Pets")
        labels[name] = int(fields[1]) - 1
    if not labels:
        raise UserError(f"{path}: is empty; allowed: the list of a split")
    return labels


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "replace").splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error


def _is_published_name(name: str) -> bool:
    """Whether an image is called `<breed>_<number>.jpg`, as all published ones are."""
    breed, _, number = name.removesuffix(".jpg").rpartition("_")
    return number.isdecimal() and breed in {row["file_name"] for row in class_table("pets")}


def _known_breeds() -> set[tuple[str, str, str]]:
    """Breed, its number and its species' number, as the list writes them."""
    return {
        (row["file_name"], str(number), str(1 + _SPECIES.index(row["species"])))
        for number, row in enumerate(class_table("pets"), start=1)
    }

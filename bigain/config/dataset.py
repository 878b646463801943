"""Settings of a dataset: the class that reads it, which images, how many, and where they lie.

What is known of a dataset without opening it (its size, its classes) is declared once, on the class
that its YAML names as `_target_`.  Such a class imports no torch at the top of its module, so that
settings are checked without it.  Images of the user's own have no such facts: they are found in the
files that the settings name.
"""

import hashlib
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator
from pydantic_core import PydanticCustomError

from bigain.config.base import Folder, Integer, Settings, import_target, not_allowed
from bigain.errors import UserError
from bigain.locations import CONFIGS

__all__ = ["DatasetConfig", "DatasetFacts", "LabelSpace", "datasets_with", "read_index"]

LabelSpace = Literal["fashion", "imagenet", "open"]
"""Where the classes come from: Fashion-MNIST's ten, ImageNet's 1,000, or classes of their own."""

_NEW = ("index", "labels", "prompts", "fingerprint")
_FACTS = ("num_classes", "split", "split_size", "label_space")


class DatasetFacts:
    """What is known of a dataset without opening it; the class of a dataset sets these attributes.

    Attributes:
        num_classes: Number of classes.
        split: Name of the split that is evaluated.
        split_size: Number of images of the published split.
        training_split: Name of a split that is never evaluated, whose images may calibrate an
            operator; None if none is read.
        label_space: Where the classes come from, which decides what backbones can tell them apart.
        further_spaces: Other spaces in which the same classes are.
        generates: Whether every image has one class, or a caption, to generate another from.
        reads_files: Whether it reads files of the user, so that `dataset.root` has a meaning.
        ships: Whether images of it come with the package, for runs without such files.
        is_own: Whether the images are the user's own: `dataset.root` must then be set, and
            `dataset.labels` and `dataset.prompts` describe them.
        references: What `task.reference` may be: `split`, `images`, perhaps `all`.
        extra: The optional dependency of this package that reads it; None if there is none.
        fingerprint: 12 hex digits that tell these images, labels and prompts from others; None if
            the name of the dataset says which they are.
        found: How many images of which classes there are, if they are the user's own.
        rest: What to do to have the images of the split that are not here.

    """

    num_classes: int
    split: str
    split_size: int
    training_split: str | None = None
    label_space: LabelSpace
    further_spaces: tuple[LabelSpace, ...] = ()
    generates: bool = True
    reads_files: bool = True
    ships: bool = False
    is_own: bool = False
    references: tuple[str, ...] = ("split", "images")
    extra: str | None = None
    fingerprint: str | None = None
    found: str = ""
    rest: str = "copy the whole split to dataset.root"

    @classmethod
    def facts_under(cls, settings: "DatasetConfig") -> "DatasetFacts | type[DatasetFacts]":
        """The facts under these settings: those of the class, unless they depend on the files.

        Raises:
            UserError: The files that the settings name are missing or damaged.

        """
        del settings
        return cls

    @classmethod
    def image_name(cls, line: str) -> str:
        """What stands for a line of `dataset.index` in the fingerprint: the id, if it is known."""
        return line


class DatasetConfig(Settings):
    """Which dataset, which of its images, and the first how many in their fixed order.

    `fingerprint` is found when the settings are checked, wherever the name of the dataset does not
    say which images are used.  It is part of the run's name, as the paths are not.
    """

    name: str = Field(min_length=1, description="the name of a file in configs/dataset")
    target: str = Field(
        alias="_target_",
        pattern=r"^\w+(\.\w+)+$",
        description="package.module.Class, a bigain.data.base.PublishedDataset",
    )
    limit: Integer | None = Field(
        description="null (all) or an integer from 1 to the number of images, "
        "the first N of a fixed order"
    )
    root: Folder | None = Field(description="null (search the usual places) or a folder")
    index: Folder | None = Field(
        None, description="null (all images) or a file with one image id a line: these, in order"
    )
    labels: Folder | None = Field(
        None, description="null (one folder a class) or a CSV file: image file, class, ..."
    )
    prompts: Folder | None = Field(
        None, description="null or a CSV file: class, prompt, perhaps a class index"
    )
    fingerprint: str | None = Field(
        None,
        pattern="^[0-9a-f]{12}$",
        description="null (found by itself) or the 12 hex digits in quotes that the images, labels "
        "and prompts must have",
    )

    @model_serializer(mode="wrap")
    def _without_what_is_unset(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As before there were these settings: manifests and run ids of published images stay."""
        plain: dict[str, Any] = dump(self)
        return {key: value for key, value in plain.items() if value is not None or key not in _NEW}

    @property
    def kind(self) -> type[DatasetFacts]:
        """The class of the dataset."""
        return _class_of(self.target)

    @cached_property
    def facts(self) -> DatasetFacts | type[DatasetFacts]:
        """What is known of the dataset; raises UserError if files of the user are damaged."""
        return self.kind.facts_under(self)

    @property
    def is_known(self) -> bool:
        """False for images of the user's own whose folder is not named."""
        return self.root is not None or not self.kind.is_own

    @property
    def label_spaces(self) -> tuple[LabelSpace, ...]:
        """Every space in which the classes are."""
        return (self.facts.label_space, *self.facts.further_spaces)

    @property
    def num_images(self) -> int:
        """Number of images of a run."""
        return self.limit or self._available()

    @model_validator(mode="after")
    def _fits_the_facts(self) -> Self:
        try:
            kind = self.kind
        except (ImportError, AttributeError, TypeError) as error:
            allowed = f"the class of a dataset ({' '.join(str(error).split())})"
            raise not_allowed("dataset._target_", self.target, allowed) from error
        self._check_paths(kind)
        if not self.is_known:
            return self
        try:
            self._check_limit()
            found = self._find_fingerprint()
        except UserError as error:
            raise PydanticCustomError("files", "{line}", {"line": str(error)}) from error
        if self.fingerprint not in (None, found):
            allowed = f"{found or 'null'}, what the images, labels and prompts have now"
            raise not_allowed("dataset.fingerprint", self.fingerprint, allowed)
        object.__setattr__(self, "fingerprint", found)  # known from here on; never changed again
        return self

    def _check_paths(self, kind: type[DatasetFacts]) -> None:
        if self.root is not None and not kind.reads_files:
            allowed = f"null, because dataset={self.name} is made of what ships with the package"
            raise not_allowed("dataset.root", self.root, allowed)
        for key in ("labels", "prompts"):
            value = getattr(self, key)
            if value is not None and not kind.is_own:
                allowed = f"null, because dataset={self.name} has its own; dataset=folder takes one"
                raise not_allowed(f"dataset.{key}", value, allowed)

    def _check_limit(self) -> None:
        last = self._available()
        if self.limit is not None and not 1 <= self.limit <= last:
            order = "of a fixed order" if self.index is None else "of dataset.index"
            allowed = f"null (all) or an integer from 1 to {last}, the first N {order}"
            raise not_allowed("dataset.limit", self.limit, allowed)

    def _available(self) -> int:
        return self.facts.split_size if self.index is None else len(read_index(self.index))

    def _find_fingerprint(self) -> str | None:
        """That of the images, together with the lines of the index if there is one."""
        if self.index is None:
            return self.facts.fingerprint
        names = map(self.kind.image_name, read_index(self.index))
        lines = [self.facts.fingerprint or "", *names]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def read_index(path: Path) -> tuple[str, ...]:
    """The lines of `dataset.index`, without blank ones; each names an image.

    Raises:
        UserError: The file cannot be read, has no lines, or repeats one.

    """
    try:
        lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no UTF-8"
        raise UserError(
            f"dataset.index={path}: cannot be read ({reason}); allowed: a text file with one image "
            "id a line"
        ) from error
    first: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if line in first:
            raise UserError(
                f"dataset.index={path}: line {number} ({line}) repeats line {first[line]}; "
                "allowed: each image once"
            )
        if line:
            first[line] = number
    if not first:
        raise UserError(f"dataset.index={path}: is empty; allowed: one image id a line")
    return tuple(first)


def datasets_with(*label_spaces: str) -> list[str]:
    """The names in `configs/dataset` whose classes come from one of `label_spaces`, sorted.

    Images of the user's own are left out: their classes may come from anywhere.
    """
    from omegaconf import OmegaConf  # noqa: PLC0415 -- needed for a mistake alone

    files = sorted((CONFIGS / "dataset").glob("*.yaml"))
    plain: dict[str, Any] = {f.stem: OmegaConf.to_container(OmegaConf.load(f)) for f in files}
    facts = {name: _class_of(settings["_target_"]) for name, settings in plain.items()}
    published = {name: known for name, known in facts.items() if not known.is_own}
    return [name for name, known in published.items() if known.label_space in label_spaces]


@cache
def _class_of(target: str) -> type[DatasetFacts]:
    found: Any = import_target(target)
    if not (isinstance(found, type) and issubclass(found, DatasetFacts)):
        raise TypeError(f"{target} is no bigain.data.base.PublishedDataset")
    missing = [fact for fact in _FACTS if not hasattr(found, fact)]
    if missing:
        raise TypeError(f"{target} does not say its {', '.join(missing)}")
    return found

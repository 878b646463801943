"""Settings of a dataset: the class that reads it, how many images, and where they lie.

What is known of a dataset without opening it (its size, its classes) is declared once, on the class
that its YAML names as `_target_`.  Such a class imports no torch at the top of its module, so that
settings are checked without it.
"""

from functools import cache
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from bigain.config.base import Folder, Integer, Settings, import_target, not_allowed
from bigain.locations import CONFIGS

__all__ = ["DatasetConfig", "DatasetFacts", "LabelSpace", "datasets_with"]

LabelSpace = Literal["fashion", "imagenet", "open"]
"""Where the classes come from: Fashion-MNIST's ten, ImageNet's 1,000, or classes of their own."""

_FACTS = ("num_classes", "split", "split_size", "label_space")


class DatasetFacts:
    """What is known of a dataset without opening it; the class of a dataset sets these attributes.

    Attributes:
        num_classes: Number of classes.
        split: Name of the split that is evaluated.
        split_size: Number of images of the published split.
        label_space: Where the classes come from, which decides what backbones can tell them apart.
        generates: Whether every image has one class, or a caption, to generate another from.
        reads_files: Whether it reads files of the user, so that `dataset.root` has a meaning.
        ships: Whether images of it come with the package, for runs without such files.
        references: What `task.reference` may be: `split`, `images`, perhaps `all`.
        extra: The optional dependency of this package that reads it; None if there is none.

    """

    num_classes: ClassVar[int]
    split: ClassVar[str]
    split_size: ClassVar[int]
    label_space: ClassVar[LabelSpace]
    generates: ClassVar[bool] = True
    reads_files: ClassVar[bool] = True
    ships: ClassVar[bool] = False
    references: ClassVar[tuple[str, ...]] = ("split", "images")
    extra: ClassVar[str | None] = None


class DatasetConfig(Settings):
    """Which dataset, and the first how many of its images in their fixed order."""

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

    @property
    def facts(self) -> type[DatasetFacts]:
        """The class of the dataset, with what is known of it without opening it."""
        return _class_of(self.target)

    @property
    def num_images(self) -> int:
        """Number of images of a run."""
        return self.facts.split_size if self.limit is None else self.limit

    @model_validator(mode="after")
    def _fits_the_facts(self) -> Self:
        try:
            facts = self.facts
        except (ImportError, AttributeError, TypeError) as error:
            allowed = f"the class of a dataset ({' '.join(str(error).split())})"
            raise not_allowed("dataset._target_", self.target, allowed) from error
        if self.limit is not None and not 1 <= self.limit <= facts.split_size:
            allowed = f"null (all) or an integer from 1 to {facts.split_size}, "
            raise not_allowed("dataset.limit", self.limit, f"{allowed}the first N of a fixed order")
        if self.root is not None and not facts.reads_files:
            allowed = f"null, because dataset={self.name} is made of what ships with the package"
            raise not_allowed("dataset.root", self.root, allowed)
        return self


def datasets_with(*label_spaces: str) -> list[str]:
    """The names in `configs/dataset` whose classes come from one of `label_spaces`, sorted."""
    from omegaconf import OmegaConf  # noqa: PLC0415 -- needed for a mistake alone

    files = sorted((CONFIGS / "dataset").glob("*.yaml"))
    plain: dict[str, Any] = {f.stem: OmegaConf.to_container(OmegaConf.load(f)) for f in files}
    facts = {name: _class_of(settings["_target_"]) for name, settings in plain.items()}
    return [name for name, known in facts.items() if known.label_space in label_spaces]


@cache
def _class_of(target: str) -> type[DatasetFacts]:
    found: Any = import_target(target)
    if not (isinstance(found, type) and issubclass(found, DatasetFacts)):
        raise TypeError(f"{target} is no bigain.data.base.PublishedDataset")
    missing = [fact for fact in _FACTS if not hasattr(found, fact)]
    if missing:
        raise TypeError(f"{target} does not say its {', '.join(missing)}")
    return found

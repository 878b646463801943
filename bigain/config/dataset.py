"""Settings of the datasets: how many images, and where they lie.

What is known of a dataset without opening it stands here too: its number of classes, the size of
its split, and whether its classes are ImageNet's, which a class-conditional DiT needs.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from bigain.config.base import Folder, Integer, Settings

__all__ = [
    "CocoConfig",
    "DatasetConfig",
    "DatasetSettings",
    "FashionMNISTConfig",
    "FashionMosaicConfig",
    "ImageNet1KConfig",
    "ImageNet100Config",
    "PetsConfig",
]

_LIMIT = "null (all) or an integer from 1 to {}, the first N of a fixed order"


class DatasetSettings(Settings):
    """What all datasets share.

    Attributes:
        num_classes: Number of classes.
        split: Name of the split that is evaluated.
        split_size: Number of images of the published split.
        imagenet_classes: Whether the classes are among ImageNet's 1,000.
        generates: Whether every image has a class or a caption of which another can be generated.

    """

    num_classes: ClassVar[int]
    split: ClassVar[str]
    split_size: ClassVar[int]
    imagenet_classes: ClassVar[bool] = False
    generates: ClassVar[bool] = True

    name: str
    limit: Integer | None
    root: Folder | None = Field(description="null (search the usual places) or a folder")

    @property
    def num_images(self) -> int:
        """Number of images of a run."""
        return self.split_size if self.limit is None else self.limit


class FashionMNISTConfig(DatasetSettings):
    """Fashion-MNIST's test split; 1,000 images come with the package."""

    num_classes: ClassVar[int] = 10
    split: ClassVar[str] = "test"
    split_size: ClassVar[int] = 10_000

    name: Literal["fashion_mnist"]
    limit: Annotated[Integer, Field(ge=1, le=split_size)] | None = Field(
        description=_LIMIT.format(split_size)
    )


class FashionMosaicConfig(DatasetSettings):
    """Mosaics of Fashion-MNIST, one to four classes per image; all of it comes with the package."""

    num_classes: ClassVar[int] = 10
    split_size: ClassVar[int] = 5000
    generates: ClassVar[bool] = False

    name: Literal["fashion_mosaic"]
    limit: Annotated[Integer, Field(ge=1, le=split_size)] | None = Field(
        description=_LIMIT.format(split_size)
    )
    root: None = Field(description="null, because mosaics are made of the images that ship")


class PetsConfig(DatasetSettings):
    """Oxford-IIIT Pets' test split."""

    num_classes: ClassVar[int] = 37
    split: ClassVar[str] = "test"
    split_size: ClassVar[int] = 3669

    name: Literal["pets"]
    limit: Annotated[Integer, Field(ge=1, le=split_size)] | None = Field(
        description=_LIMIT.format(split_size)
    )


class ImageNet100Config(DatasetSettings):
    """The validation images of the 100 classes of ImageNet-100 (CMC's list)."""

    num_classes: ClassVar[int] = 100
    split: ClassVar[str] = "val"
    split_size: ClassVar[int] = 5000
    imagenet_classes: ClassVar[bool] = True

    name: Literal["imagenet100"]
    limit: Annotated[Integer, Field(ge=1, le=split_size)] | None = Field(
        description=_LIMIT.format(split_size)
    )


class ImageNet1KConfig(DatasetSettings):
    """ImageNet-1K's validation split; the first 2,000 and 10,000 are published lists."""

    num_classes: ClassVar[int] = 1000
    split: ClassVar[str] = "val"
    split_size: ClassVar[int] = 50_000
    imagenet_classes: ClassVar[bool] = True

    name: Literal["imagenet1k"]
    limit: Annotated[Integer, Field(ge=1, le=split_size)] | None = Field(
        description=_LIMIT.format(split_size)
    )


class CocoConfig(DatasetSettings):
    """COCO 2017's validation split, any number of classes per image."""

    num_classes: ClassVar[int] = 80
    split: ClassVar[str] = "val2017"
    split_size: ClassVar[int] = 5000

    name: Literal["coco2017"]
    limit: Annotated[Integer, Field(ge=1, le=split_size)] | None = Field(
        description=_LIMIT.format(split_size)
    )


DatasetConfig = Annotated[
    FashionMNISTConfig
    | FashionMosaicConfig
    | PetsConfig
    | ImageNet100Config
    | ImageNet1KConfig
    | CocoConfig,
    Field(
        discriminator="name",
        description="fashion_mnist, fashion_mosaic, pets, imagenet100, imagenet1k or coco2017",
    ),
]

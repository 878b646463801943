"""Dataset name -> what opens it.  Torchvision is imported by the datasets that read with it."""

from collections.abc import Callable, Mapping

from bigain.config import DatasetSettings
from bigain.data.base import Dataset

__all__ = ["LOADERS", "load_dataset"]


def load_dataset(config: DatasetSettings) -> Dataset:
    """The dataset with its limit: every file in use is looked up, none is opened.

    Raises:
        UserError: data is missing or damaged.

    """
    return LOADERS[config.name](config)


def _fashion_mnist(config: DatasetSettings) -> Dataset:
    from bigain.data.fashion_mnist import FashionMNIST  # noqa: PLC0415

    return FashionMNIST(config.limit, config.root)


def _fashion_mosaic(config: DatasetSettings) -> Dataset:
    from bigain.data.fashion_mosaic import FashionMosaic  # noqa: PLC0415

    return FashionMosaic(config.limit)


def _pets(config: DatasetSettings) -> Dataset:
    from bigain.data.pets import load_pets  # noqa: PLC0415

    return load_pets(config.limit, config.root)


def _imagenet(config: DatasetSettings) -> Dataset:
    from bigain.data.imagenet import load_imagenet  # noqa: PLC0415

    return load_imagenet(config.name, config.limit, config.root)


def _coco(config: DatasetSettings) -> Dataset:
    from bigain.data.coco import load_coco  # noqa: PLC0415

    return load_coco(config.limit, config.root)


LOADERS: Mapping[str, Callable[[DatasetSettings], Dataset]] = {
    "fashion_mnist": _fashion_mnist,
    "fashion_mosaic": _fashion_mosaic,
    "pets": _pets,
    "imagenet100": _imagenet,
    "imagenet1k": _imagenet,
    "coco2017": _coco,
}
"""All datasets there are, by their name in `configs/dataset`."""

"""Every image of a dataset that is here, for what must not use the images of a run."""

from typing import cast

from bigain.config import DatasetConfig
from bigain.data.base import OpenedDataset, PublishedDataset, load_dataset
from bigain.data.layouts import pointing_to_the_doctor

__all__ = ["load_whole"]


def load_whole(config: DatasetConfig) -> OpenedDataset:
    """All images in the fixed order, whatever limit and index of `config` say.

    Raises:
        UserError: Data is missing or damaged.

    """
    if config.kind.is_own:
        return load_dataset(config.model_copy(update={"limit": None, "index": None}))
    with pointing_to_the_doctor(config):
        return cast(type[PublishedDataset], config.kind).open_all(config.root)

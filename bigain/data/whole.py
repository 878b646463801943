"""Images for what must not use those of a run: all of a dataset, or those of its training split."""

from pathlib import Path
from typing import Protocol, cast

from bigain.config import DatasetConfig
from bigain.data.base import Dataset, OpenedDataset, PublishedDataset, load_dataset
from bigain.data.layouts import pointing_to_the_doctor

__all__ = ["TrainingSplit", "load_training", "load_whole"]


class TrainingSplit(Protocol):
    """What the class of a dataset with a `training_split` has beside `PublishedDataset`."""

    @classmethod
    def open_training(cls, root: Path | None, count: int) -> Dataset:
        """The first `count` images of a fixed, class-balanced order, or all if there are fewer.

        Raises:
            UserError: They are not there.

        """
        ...


def load_whole(config: DatasetConfig) -> OpenedDataset:
    """All images in the fixed order, whatever limit and index of `config` say.

    Raises:
        UserError: Data is missing or damaged.

    """
    if config.kind.is_own:
        return load_dataset(config.model_copy(update={"limit": None, "index": None}))
    with pointing_to_the_doctor(config):
        return cast(type[PublishedDataset], config.kind).open_all(config.root)


def load_training(config: DatasetConfig, count: int) -> Dataset:
    """The first `count` images of the training split of a dataset that has one, see above.

    Raises:
        UserError: Data is missing or damaged.

    """
    assert config.kind.training_split is not None
    with pointing_to_the_doctor(config):
        return cast(type[TrainingSplit], config.kind).open_training(config.root, count)

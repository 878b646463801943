"""The folder that `dataset.root=null` stands for.

It is that of the environment variable `BIGAIN_DATA`, which may serve several datasets and is no
promise about each of them; without the variable it is `data` in the working directory.
"""

import logging
import os
from functools import cache
from pathlib import Path
from typing import cast

from bigain.config import DatasetConfig
from bigain.data.base import PublishedDataset
from bigain.errors import UserError
from bigain.locations import absolute_path

__all__ = ["VARIABLE", "has_files", "unused_variable", "warn_of_variable", "with_root"]

VARIABLE = "BIGAIN_DATA"
_DEFAULT = "data"
_LOG = logging.getLogger(__name__)


def with_root(config: DatasetConfig) -> DatasetConfig:
    """`config` with an absolute root, if its root is null and there is a folder to use.

    A dataset whose images ship with the package keeps null if no file of it is in the folder.  So
    does every dataset if the variable is not set and no file of it is in `data`, and images of the
    user's own do, which have no usual place.

    Raises:
        UserError: The variable has a user or variable that does not exist.

    """
    if config.root is not None or not config.kind.reads_files or config.kind.is_own:
        return config
    dataset, named = cast(type[PublishedDataset], config.kind), _named()
    folder = absolute_path(_DEFAULT) if named is None else named
    is_used = dataset.has_files_in(folder) or (named is not None and not dataset.ships)
    return config.model_copy(update={"root": folder}) if is_used else config


def has_files(config: DatasetConfig) -> bool:
    """Whether a part of the dataset of `config`, or all of it, is below its root."""
    if config.root is None or not config.kind.reads_files:
        return False
    return cast(type[PublishedDataset], config.kind).has_files_in(config.root)


def unused_variable(config: DatasetConfig) -> str | None:
    """Which images are used in place of those of the variable; None if this is not so."""
    named = _named()
    if named is None or config.root is not None or not config.kind.ships:
        return None
    return f"{VARIABLE}={named} has no file of {config.name}: the images that ship are used"


def warn_of_variable(config: DatasetConfig) -> None:
    """Say once that the images that ship are used in place of those of the variable."""
    note = unused_variable(config)
    if note is not None:
        _warn_once(note)


@cache
def _warn_once(note: str) -> None:
    _LOG.warning(note)


def _named() -> Path | None:
    """The folder of the variable; None if it is not set."""
    value = os.environ.get(VARIABLE)
    try:
        return absolute_path(value) if value else None
    except ValueError as error:
        raise UserError(f"{VARIABLE}={value}: {error}; allowed: a folder") from error

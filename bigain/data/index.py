"""`dataset.index`: which images of a dataset, and in what order."""

from collections.abc import Sequence

from bigain.config import DatasetConfig
from bigain.config.dataset import read_index
from bigain.errors import UserError

__all__ = ["find_positions"]


def find_positions(
    config: DatasetConfig, image_ids: Sequence[int], files: Sequence[str] = ()
) -> list[int]:
    """The positions of the images that `dataset.index` names, in its order, up to `dataset.limit`.

    Args:
        config: With an index.
        image_ids: Of all images of the dataset.
        files: Their files, by which an image may be named too; or none.

    Raises:
        UserError: A line names no image, or one that another line names already.

    """
    assert config.index is not None
    by_name = {name: i for names in (image_ids, files) for i, name in enumerate(map(str, names))}
    chosen: dict[int, str] = {}
    for line in read_index(config.index):
        position = by_name.get(line)
        if position is None:
            raise _none_of_them(config, line, image_ids, files)
        if position in chosen:
            raise UserError(
                f"dataset.index={config.index}: {chosen[position]} and {line} are the same image; "
                "allowed: each image once"
            )
        chosen[position] = line
    return [*chosen][: config.limit]


def _none_of_them(
    config: DatasetConfig, line: str, image_ids: Sequence[int], files: Sequence[str]
) -> UserError:
    """The error for a line that names no image that is here; of the split there may be more."""
    here, size = len(image_ids), config.facts.split_size
    example = " or ".join(str(names[0]) for names in (image_ids, files) if names)
    more = "" if here >= size else f"; for all {size} images of the split, {config.facts.rest}"
    return UserError(
        f"dataset.index={config.index}: {line} is none of the {here} images of "
        f"dataset={config.name} here; allowed: image ids, such as {example}{more}"
    )

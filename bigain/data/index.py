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
            example = " or ".join(str(names[0]) for names in (image_ids, files) if names)
            raise UserError(
                f"dataset.index={config.index}: {line} is none of the {len(image_ids)} images of "
                f"dataset={config.name} here; allowed: image ids, such as {example}"
            )
        if position in chosen:
            raise UserError(
                f"dataset.index={config.index}: {chosen[position]} and {line} are the same image; "
                "allowed: each image once"
            )
        chosen[position] = line
    return [*chosen][: config.limit]

"""Whether a finished run still has what it promises; looked at without loading anything."""

from bigain.config import GenerationConfig, RunConfig
from bigain.errors import UserError
from bigain.files import file_sha256
from bigain.runs.images import RunImages
from bigain.runs.store import RunStore

__all__ = ["is_complete"]


def is_complete(config: RunConfig, store: RunStore) -> bool:
    """Whether the finished run of `config` has the files of all its images.

    Looks at names alone: reading thousands of images again would make a finished run dear.

    Raises:
        UserError: `task.reference` names a file of other statistics than those of the run.

    """
    task = config.task
    if not isinstance(task, GenerationConfig):
        return True
    manifest = store.manifest()
    path, hashes = task.statistics, manifest.get("hashes") or {}
    judged_by = hashes.get(f"reference/{config.dataset.name}")
    if path is not None and path.is_file() and judged_by not in (None, file_sha256(path)):
        raise UserError(
            f"task.reference={path}: holds other statistics than those that run {store.run_id} was "
            "judged by; allowed: what it held then, another file name, or force=true"
        )
    images = RunImages(store.folder, manifest["n_images"], task.image_format)
    return all(images.path(index).is_file() for index in range(len(images)))

"""The weights files of the two shipped backbones, without loading them or torch."""

from pathlib import Path

from bigain.errors import UserError
from bigain.files import file_sha256
from bigain.locations import ASSETS

__all__ = ["check_revision", "weights_path"]


def weights_path(name: str) -> Path:
    """Where the shipped weights of `name` ("mini_unet" or "mini_dit") lie."""
    return ASSETS / name / "model.safetensors"


def check_revision(name: str, path: Path, revision: str) -> None:
    """Refuse weights that are not there, or are not those that `revision` names.

    Args:
        name: The backbone.
        path: Its weights file.
        revision: The beginning of the sha256 of the weights file, 12 hex digits.

    Raises:
        UserError: they are not.

    """
    if not path.is_file():
        raise UserError(
            f"backbone={name}: {path} is missing; allowed: a complete copy of the package, such "
            "as `git checkout -- bigain/assets` or a new installation gives"
        )
    actual = file_sha256(path)[:12]
    if actual != revision:
        raise UserError(
            f"backbone.revision={revision}: the weights of {name} in this package are {actual}; "
            f"set backbone.revision={actual} if you mean them"
        )

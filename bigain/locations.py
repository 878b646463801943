"""Folders of the package, and what a path in a setting or an argument means."""

import os
import re
from pathlib import Path

__all__ = ["ASSETS", "CONFIGS", "absolute_path"]

_PACKAGE = Path(__file__).resolve().parent

CONFIGS = _PACKAGE / "configs"
"""The YAML files: inside the package if it is installed, else at the top of the repository."""

if not CONFIGS.is_dir():
    CONFIGS = _PACKAGE.parent / "configs"

ASSETS = _PACKAGE / "assets"
"""Weights, test images and the paper's values, inside the package."""

_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")


def absolute_path(path: str | Path) -> Path:
    """`path` as it is meant: `~`, `~user`, `$NAME` and `${NAME}` replaced, and absolute.

    A relative path is relative to the working directory of now.  So a path of a setting means the
    same file in a process that works elsewhere.

    Raises:
        ValueError: There is no such user or variable.

    """
    text = str(path)
    for plain, braced in _VARIABLE.findall(text):
        if (plain or braced) not in os.environ:
            raise ValueError(f"there is no environment variable {plain or braced}")
    expanded = os.path.expanduser(os.path.expandvars(text))  # noqa: PTH111 -- Path drops `./`
    if expanded.startswith("~"):
        raise ValueError(f"there is no user {expanded.partition('/')[0]}")
    return Path(expanded).absolute()

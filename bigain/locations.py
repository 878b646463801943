"""Folders of the package's configuration and assets."""

from pathlib import Path

__all__ = ["ASSETS", "CONFIGS"]

_PACKAGE = Path(__file__).resolve().parent

CONFIGS = _PACKAGE / "configs"
"""The YAML files: inside the package if it is installed, else at the top of the repository."""

if not CONFIGS.is_dir():
    CONFIGS = _PACKAGE.parent / "configs"

ASSETS = _PACKAGE / "assets"
"""Weights, test images and the paper's values, inside the package."""

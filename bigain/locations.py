"""Where the package's configuration and assets are."""

from pathlib import Path

__all__ = ["ASSETS", "CONFIGS"]

_PACKAGE = Path(__file__).resolve().parent

CONFIGS = _PACKAGE / "configs"
"""The YAML files: inside an installed package, at the top of the repository otherwise."""

if not CONFIGS.is_dir():
    CONFIGS = _PACKAGE.parent / "configs"

ASSETS = _PACKAGE / "assets"
"""Weights, test images and the paper's values, inside the package."""

"""Where the files that come with the package lie."""

from pathlib import Path

__all__ = ["ASSETS", "CONFIGS"]

_PACKAGE = Path(__file__).resolve().parent

_IN_WHEEL = _PACKAGE / "configs"
CONFIGS = _IN_WHEEL if _IN_WHEEL.is_dir() else _PACKAGE.parent / "configs"
"""The YAML files: beside the package in the repository, inside it when installed from a wheel."""

ASSETS = _PACKAGE / "assets"
"""Weights, test images and the paper's values, inside the package."""

"""Where the files that come with the package lie."""

from pathlib import Path

__all__ = ["ASSETS", "CONFIGS"]

_PACKAGE = Path(__file__).resolve().parent

CONFIGS = _PACKAGE.parent / "configs"
"""The YAML files, beside the package in the repository (an editable install keeps them there)."""

ASSETS = _PACKAGE / "assets"
"""Weights, test images and the paper's values, inside the package."""

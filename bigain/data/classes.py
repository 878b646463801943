"""The classes of a dataset: names, prompts, and their indices among ImageNet's."""

import csv
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from bigain.locations import ASSETS

__all__ = ["CLASSES", "ClassList", "class_table"]

CLASSES = ASSETS / "classes"
"""Folder of the class lists, which `scripts/make_index_lists.py` takes from maintained packages."""


@dataclass(frozen=True)
class ClassList:
    """The classes of a dataset, by label 0..K-1.

    Attributes:
        names: Their names.
        prompts: The text that stands for each class in a text-conditioned backbone.
        condition_ids: Index of each among ImageNet's 1,000 classes; None if they are others.

    """

    names: tuple[str, ...]
    prompts: tuple[str, ...]
    condition_ids: tuple[int, ...] | None = None

    @classmethod
    def of(cls, names: Sequence[str], condition_ids: Sequence[int] | None = None) -> Self:
        """Classes with the prompts of the published protocol: "a photo of a {class}.".

        The article is "a" before vowels too.  Stable Diffusion's text encoders lower-case a prompt.
        """
        ids = None if condition_ids is None else tuple(condition_ids)
        return cls(tuple(names), tuple(f"a photo of a {name}." for name in names), ids)


@functools.cache
def class_table(name: str) -> tuple[dict[str, str], ...]:
    """The rows of `<name>.csv` among the class lists."""
    with (CLASSES / f"{name}.csv").open(newline="", encoding="utf-8") as handle:
        return tuple(csv.DictReader(handle))

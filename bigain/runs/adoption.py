"""Runs whose records another run may copy: they differ in limit or evaluation only.

An image has the same record in all runs of one family, whether they are finished or not.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from bigain.errors import UserError
from bigain.runs.files import Record, read_manifest
from bigain.runs.journal import iterate_journals
from bigain.runs.provenance import differing, weights_of

__all__ = ["manifest_or_none", "related_runs", "usable_records"]


def related_runs(folder: Path) -> list[Path]:
    """The folders of other runs of the family of the run in `folder`, sorted."""
    own = manifest_or_none(folder) or {}
    others = [path for path in sorted(folder.parent.iterdir()) if path != folder]
    return [path for path in others if _are_related(own, manifest_or_none(path))]


def usable_records(
    folder: Path, wanted: set[int], is_usable: Callable[[Mapping[str, Any]], bool]
) -> Iterator[Record]:
    """The first record of each image in `wanted` in the journals of `folder`.

    None at all if the run there is not usable; those of images that could not be read are left out.
    """
    asked = False
    for record in _intact(folder):
        if record["image_id"] not in wanted:
            continue
        wanted.remove(record["image_id"])
        if "failure" in record:
            continue
        if not (asked or is_usable(read_manifest(folder) or {})):
            return
        asked = True
        yield record


def _intact(folder: Path) -> Iterator[Record]:
    """The records of a run up to the first damaged line."""
    with suppress(UserError):
        yield from iterate_journals(folder)


def _are_related(own: Mapping[str, Any], other: Mapping[str, Any] | None) -> bool:
    """Whether both runs have the same family id and, where they state hashes, the same weights."""
    if other is None or other["family_id"] != own["family_id"]:
        return False
    mine, theirs = (weights_of(each.get("hashes") or {}) for each in (own, other))
    return not (mine and theirs) or not differing(mine, theirs)


def manifest_or_none(folder: Path) -> dict[str, Any] | None:
    """The manifest of the run in `folder`; None if there is none, or it is damaged."""
    try:
        return read_manifest(folder)
    except UserError:
        return None

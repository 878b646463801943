"""Manifests as they are published: without paths, mirrors or host names.

The software and hardware behind the numbers stay in them.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bigain.errors import UserError
from bigain.files import parse_json
from bigain.runs.identity import run_id as name_of

__all__ = ["Manifest", "check_name", "portable", "public_config", "read_published"]

Manifest = Mapping[str, Any]
"""A manifest, published or not."""

_PUBLISHED = (
    *("schema_version", "run_id", "family_id", "baseline_id", "status", "columns", "config"),
    *("seed", "device", "dtype", "threads", "git_commit", "git_dirty", "packages", "python"),
    *("platform", "cpu_model", "cores", "torch_threads", "attention_backend", "hashes", "source"),
    *("n_images", "started", "finished", "wall_seconds", "image_seconds", "adopted_from"),
    *("micro_batch", "images_per_forward", "peak_memory_bytes", "compiled"),
)
"""The parts of a manifest that are published."""

_NEEDED = {"run_id", "columns", "config", "n_images"}
"""Keys that every published manifest must have."""

_LEFT_OUT = {
    "config": ("paths", "tracking", "cache", "shard", "force", "on_error"),
    "config.dataset": ("root", "index", "labels", "prompts"),
    "config.backbone": ("mirrors",),
    "config.task": ("extractor_weights",),
    "source": ("folder",),
}
"""Part -> its keys that are not published: paths, and how work was shared; not in the run id."""

_HIDDEN = ("config.backbone.path",)
"""Paths that are part of the id of some runs; None is published instead."""

_PLACE = re.compile(r"^(?:[/~]|\.\.?/|[A-Za-z]:[\\/]|\\\\|\w+://)|(?<=[\s'\"=:(])(?:/\w|~/)\S*")
_KERNEL = re.compile(r"^(\w+-\d+(?:\.\d+)*)\S*?-(x86_64|aarch64|arm64|i686|ppc64le)\b")


def portable(manifest: Manifest) -> dict[str, Any]:
    """The manifest without folders, mirrors and the build of the kernel.

    If the run id depends on a place that is left out, such as a folder of weights without a
    fingerprint, `withheld` lists these settings.
    """
    kept = {key: _without_places(manifest[key], key) for key in _PUBLISHED if key in manifest}
    if isinstance(kept.get("platform"), str):
        kept["platform"] = _KERNEL.sub(r"\1-\2", kept["platform"])
    withheld = sorted(_withheld(manifest.get("config", {}), kept.get("config", {}), ""))
    if withheld and "run_id" in manifest and name_of(kept["config"]) != manifest["run_id"]:
        kept["withheld"] = withheld
    return kept


def public_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved configuration without paths and without what cannot change a result."""
    public: dict[str, Any] = _without_places(dict(config), "config")
    return public


def check_name(path: Path, manifest: Manifest) -> None:
    """Raise UserError if the configuration in a manifest is that of another run.

    A run id is a hash of the configuration, so a copy under another id would be a second run of
    the same cell.  A manifest with `withheld` settings cannot be checked.
    """
    if not isinstance(manifest.get("config"), dict):
        raise _damaged(path)
    name, other = manifest["run_id"], name_of(manifest["config"])
    if manifest.get("withheld") or other == name:
        return
    published, own = path.with_name(f"{other}.json"), path.parent.with_name(other) / path.name
    if published.is_file() or own.is_file():
        raise UserError(
            f"{path}: has the configuration of run {other}: two runs claim one cell; remove "
            f"run {name} here: this file, and its rows in runs.csv"
        )
    raise UserError(
        f"{path}: has the configuration of run {other}, not of {name}; restore the file, or do "
        "the run again with force=true"
    )


def read_published(path: Path, run_id: str) -> dict[str, Any]:
    """The published manifest of a run.

    Raises:
        UserError: The file is damaged, or has the configuration of another run.

    """
    try:
        manifest = parse_json(path.read_text(encoding="utf-8"))
    except ValueError:
        raise _damaged(path) from None
    if not isinstance(manifest, dict) or not manifest.keys() >= _NEEDED:
        raise _damaged(path)
    if manifest["run_id"] != run_id or not isinstance(manifest["columns"], dict):
        raise _damaged(path)
    check_name(path, manifest)
    return manifest


def _damaged(path: Path) -> UserError:
    return UserError(f"{path}: is damaged; delete it, or publish the run again")


def _withheld(node: Mapping[str, Any], kept: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """Dotted keys of the paths that are None in `kept`."""
    for key, value in node.items():
        if key not in kept or value == kept[key]:
            continue
        if isinstance(value, dict):
            yield from _withheld(value, kept[key], f"{prefix}{key}.")
        else:
            yield prefix + key


def _without_places(node: Any, part: str) -> Any:
    """`node` without the keys that are not published, and with None for texts that have a path."""
    if isinstance(node, dict):
        left_out = _LEFT_OUT.get(part, ())
        kept = {key: value for key, value in node.items() if key not in left_out}
        kept |= {key: None for key in kept if f"{part}.{key}" in _HIDDEN}
        return {key: _without_places(value, f"{part}.{key}") for key, value in kept.items()}
    if isinstance(node, list):
        return [_without_places(value, part) for value in node]
    return None if isinstance(node, str) and _PLACE.search(node) else node

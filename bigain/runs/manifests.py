"""What is known of the origin of a run, as a small committed file.

`<results>/<profile>/manifests/<run_id>.json` is the manifest of a finished run without what says
something of somebody's machine alone: folders, mirrors, the build of the kernel.  What software and
hardware the numbers come from stays.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bigain.errors import UserError
from bigain.files import replace_text
from bigain.runs.files import MANIFEST
from bigain.runs.identity import run_id as name_of
from bigain.runs.store import RunStore

__all__ = ["Origin", "check_name", "find_manifest", "manifest_path", "portable", "publish_manifest"]

Origin = Mapping[str, Any]
"""A manifest, published or not."""

_KEPT = (
    *("schema_version", "run_id", "family_id", "baseline_id", "status", "columns", "config"),
    *("seed", "device", "dtype", "threads", "git_commit", "git_dirty", "packages", "python"),
    *("platform", "cpu_model", "cores", "torch_threads", "attention_backend", "hashes", "source"),
    *("n_images", "started", "finished", "wall_seconds", "image_seconds", "adopted_from"),
    *("micro_batch", "images_per_forward", "peak_memory_bytes"),
)
"""What is told of a run; whatever else a manifest may hold stays at home."""

_NEEDED = ("run_id", "columns", "config", "n_images")
"""What whoever reads a published manifest relies on."""

_LEFT_OUT = {
    "config": ("paths", "tracking", "cache", "shard", "force"),
    "config.dataset": ("root",),
    "config.backbone": ("mirrors",),
    "config.task": ("extractor_weights",),
    "source": ("folder",),
}
"""Part -> keys of it that name places, or how the work was shared out; none is part of a name."""

_HIDDEN = ("config.backbone.path",)
"""Dotted keys of places that are part of the name of some runs: None stands for them."""

_PLACE = re.compile(r"^(?:[/~]|\.\.?/|[A-Za-z]:[\\/]|\\\\|\w+://)|(?<=[\s'\"=:(])(?:/\w|~/)\S*")
_KERNEL = re.compile(r"^(\w+-\d+(?:\.\d+)*)\S*?-(x86_64|aarch64|arm64|i686|ppc64le)\b")


def manifest_path(results: Path, profile: str, run_id: str) -> Path:
    """Where the committed manifest of a run lies."""
    return results / profile / "manifests" / f"{run_id}.json"


def publish_manifest(results: Path, profile: str, run_id: str) -> Path | None:
    """Write the manifest of a finished run beside the tables; None if its folder is not here.

    A file that would not change is left alone, so that nothing changes in git.
    """
    store = RunStore(results, run_id)
    if not store.is_finished():
        return None
    path = manifest_path(results, profile, run_id)
    text = json.dumps(portable(store.manifest()), indent=2, sort_keys=True) + "\n"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        replace_text(path, text)
    return path


def find_manifest(results: Path, profile: str, run_id: str) -> tuple[Path, Origin] | None:
    """File and content of the manifest of a run: the published one, else the one in its folder.

    Raises:
        UserError: The file is damaged.

    """
    published = manifest_path(results, profile, run_id)
    own = RunStore(results, run_id)
    if not published.is_file():
        path, manifest = own.folder / MANIFEST, own.manifest()
        if not manifest:
            return None
    else:
        path, manifest = published, _read(published, run_id)
    check_name(path, manifest)
    return path, manifest


def check_name(path: Path, manifest: Origin) -> None:
    """Raise UserError if the configuration of a manifest is that of a run of another name.

    A name is a hash of the configuration, so a copy under another one would be a second run of the
    same cell.  Where a published manifest withholds a place that is part of the name, such as that
    of weights without a fingerprint, nobody can tell.
    """
    if not isinstance(manifest.get("config"), dict):
        raise _damaged(path)
    name, other = manifest["run_id"], name_of(manifest["config"])
    if manifest.get("withheld") or other == name:
        return
    published, own = path.with_name(f"{other}.json"), path.parent.with_name(other) / path.name
    if published.is_file() or own.is_file():
        raise UserError(
            f"{path}: has the configuration of run {other}: two runs claim one cell; remove what "
            f"is here of run {name}: this, and its rows in runs.csv"
        )
    raise UserError(
        f"{path}: has the configuration of run {other}, not of {name}; put back the file, or do "
        "the run again with force=true"
    )


def portable(manifest: Origin) -> dict[str, Any]:
    """The manifest as anybody may read it; `withheld` if its name depends on places left out."""
    kept = {key: _without_places(manifest[key], key) for key in _KEPT if key in manifest}
    if isinstance(kept.get("platform"), str):
        kept["platform"] = _KERNEL.sub(r"\1-\2", kept["platform"])
    withheld = sorted(_withheld(manifest.get("config", {}), kept.get("config", {}), ""))
    if withheld and "run_id" in manifest and name_of(kept["config"]) != manifest["run_id"]:
        kept["withheld"] = withheld
    return kept


def _withheld(node: Mapping[str, Any], kept: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """Dotted keys of the places that stand as None in `kept`."""
    for key, value in node.items():
        if key not in kept or value == kept[key]:
            continue
        if isinstance(value, dict):
            yield from _withheld(value, kept[key], f"{prefix}{key}.")
        else:
            yield prefix + key


def _read(path: Path, run_id: str) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict) or not set(_NEEDED) <= set(manifest):
        raise _damaged(path)
    if manifest["run_id"] != run_id:
        raise _damaged(path)
    return manifest


def _damaged(path: Path) -> UserError:
    return UserError(f"{path}: is damaged; delete it, or publish the run again")


def _without_places(node: Any, part: str) -> Any:
    """`node` without the keys that are left out, and with None for texts that name a place."""
    if isinstance(node, dict):
        left_out = _LEFT_OUT.get(part, ())
        kept = {key: value for key, value in node.items() if key not in left_out}
        kept |= {key: None for key in kept if f"{part}.{key}" in _HIDDEN}
        return {key: _without_places(value, f"{part}.{key}") for key, value in kept.items()}
    if isinstance(node, list):
        return [_without_places(value, part) for value in node]
    return None if isinstance(node, str) and _PLACE.search(node) else node

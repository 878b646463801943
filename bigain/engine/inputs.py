"""What a finished run was made from, compared with what its configuration points at now.

A manifest has the hash of everything that a run read: weights, their settings, the images, and what
generated images were measured with.  Hashing gigabytes takes too long before a run is skipped, so
the manifest also has a stamp of each input: the sizes and times of its files.  An input whose stamp
is the same is taken as unchanged.  Otherwise its hash decides, and the new stamp is kept.

What is not there cannot be compared: results stay valid where the weights or images were deleted.
No weights are loaded here, and torch is not imported.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bigain.backbones.weight_files import components_of, weights_path
from bigain.config import GenerationConfig, HubBackboneConfig, RunConfig
from bigain.data.base import load_dataset, load_reference, stamp_files
from bigain.errors import UserError
from bigain.files import file_sha256
from bigain.runs.provenance import changed
from bigain.runs.store import RunStore

__all__ = ["INCEPTION_FILE", "check_inputs", "same_images", "stamps_of", "torch_hub"]

INCEPTION_FILE = "pt_inception-2015-12-05-6726825d.pth"
"""The name of Inception's published weights in torch hub's cache."""

_SHOWN = 3


@dataclass(frozen=True)
class _Input:
    """One thing that a run reads.

    Attributes:
        name: Its key in the manifest's `hashes`.
        setting: The setting that points at it, and its value.
        files: Files whose sizes and times change with it; () if only its hash tells.
        digest: Computes its hash; raises UserError or OSError if it is not there.

    """

    name: str
    setting: str
    files: Sequence[Path]
    digest: Callable[[], str]

    def stamp(self) -> str | None:
        """Hash of the sizes and times of its files; None without files."""
        try:
            stats = [(path.name, path.stat()) for path in self.files]
        except OSError:
            return None
        lines = [f"{name} {s.st_size} {s.st_mtime_ns} {s.st_ctime_ns}\n" for name, s in stats]
        return hashlib.sha256("".join(lines).encode()).hexdigest()[:16] if lines else None


def stamps_of(config: RunConfig) -> dict[str, str]:
    """The stamps of what the run reads, for its manifest; compute them before anything is read."""
    stamps = {each.name: each.stamp() for each in _inputs(config)}
    return {name: stamp for name, stamp in stamps.items() if stamp is not None}


def check_inputs(config: RunConfig, store: RunStore) -> None:
    """Raise UserError if the finished run of `config` was made from other weights or data.

    Inputs without a recorded hash, and those that are not there, are not compared.
    """
    manifest = store.manifest()
    recorded: Mapping[str, str] = manifest.get("hashes") or {}
    known: Mapping[str, str] = manifest.get("stamps") or {}
    found: dict[str, str] = {}
    stamps: dict[str, str] = {}
    settings: dict[str, str] = {}
    for each in _inputs(config) if recorded else ():
        stamp = each.stamp()
        settings[each.name] = each.setting
        try:
            is_known = stamp is not None and stamp == known.get(each.name)
            found[each.name] = recorded[each.name] if is_known else each.digest()
        except (UserError, OSError, KeyError):
            continue
        if stamp is not None:
            stamps[each.name] = stamp
    differ = changed(recorded, found)
    if differ:
        raise _changed(store.run_id, differ, settings)
    store.keep_stamps({**known, **stamps})


def same_images(config: RunConfig, manifest: Mapping[str, Any]) -> bool:
    """Whether a run with another limit had the images that are there now, for its own limit."""
    dataset = config.dataset
    recorded: str | None = (manifest.get("hashes") or {}).get(f"dataset/{dataset.name}")
    if recorded is None or not config.needs_images:
        return True
    try:
        own = load_dataset(dataset.model_copy(update={"limit": manifest["n_images"]}))
        return own.content_hash == recorded
    except (UserError, OSError):
        return False


def torch_hub() -> Path:
    """Folder of torch hub, as `torch.hub.get_dir()` says it without importing torch."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", os.path.join(cache, "torch"))  # noqa: PTH118
    return Path(home).expanduser() / "hub"


def _changed(run_id: str, differ: Sequence[str], settings: Mapping[str, str]) -> UserError:
    setting = next((settings[name] for name in differ if name in settings), "backbone")
    shown = " and another ".join(differ[:_SHOWN])
    more = f" (and {len(differ) - _SHOWN} more)" if len(differ) > _SHOWN else ""
    return UserError(
        f"{setting}: run {run_id} was made with another {shown}{more}; allowed: restore what it "
        "was made with, or force=true, which makes the run again"
    )


def _inputs(config: RunConfig) -> Iterator[_Input]:
    if not config.needs_images:
        return
    yield from _weights(config)
    dataset, files = config.dataset, stamp_files(config.dataset)
    place = f"dataset.root={'null' if dataset.root is None else dataset.root}"
    yield _Input(
        f"dataset/{dataset.name}", place, files, lambda: load_dataset(dataset).content_hash
    )
    task = config.task
    if isinstance(task, GenerationConfig):
        yield _extractor(task)
        yield _reference(config, task, files)


def _weights(config: RunConfig) -> Iterator[_Input]:
    backbone = config.backbone
    if not isinstance(backbone, HubBackboneConfig):
        path = weights_path(backbone.name)
        setting = f"backbone.revision={backbone.revision}"
        name = f"{backbone.name}/{path.name}"
        yield _Input(name, setting, (path,), partial(file_sha256, path))
        return
    from bigain.backbones.sources import find_source, names_read  # noqa: PLC0415 -- slow to import

    try:
        source = find_source(backbone, download=False)
    except UserError:
        return
    setting = f"backbone.path={source.folder}"
    if source.repository is not None:
        setting = f"backbone.revision={source.revision} of {source.repository}"
    for name in names_read(source.folder, components_of(backbone.name), backbone.variant):
        path = source.folder / name
        yield _Input(name, setting, (path,), partial(file_sha256, path))


def _extractor(task: GenerationConfig) -> _Input:
    if task.extractor == "mini":
        path, setting = weights_path("mini_extractor"), "task.extractor=mini"
    else:
        path = task.extractor_weights or torch_hub() / "checkpoints" / INCEPTION_FILE
        setting = f"task.extractor_weights={path}"
    return _Input(f"extractor/{task.extractor}", setting, (path,), lambda: file_sha256(path)[:12])


def _reference(config: RunConfig, task: GenerationConfig, files: Sequence[Path]) -> _Input:
    name, setting = f"reference/{config.dataset.name}", f"task.reference={task.reference}"
    path = task.statistics
    if path is not None:
        return _Input(name, setting, (path,), partial(file_sha256, path))
    return _Input(
        name,
        setting,
        files,
        lambda: load_reference(config.dataset, task.reference).content_hash,
    )

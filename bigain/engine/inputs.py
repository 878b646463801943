"""What a finished run was made from, compared with what its configuration points at now.

A manifest has the hash of everything that a run read: weights, their settings, the images, and what
generated images were measured with.  Hashing gigabytes takes too long before a run is skipped, so
the manifest also has a stamp of each input: the sizes and times of its files.  An input whose stamp
is the same is taken as unchanged.  Otherwise its hash decides, and the new stamp is kept.

A dataset of image files has two hashes: that of its ids, labels, names and sizes, and that of the
bytes of its files (`bigain.data.contents`).  Manifests of older versions lack the second, and then
it is not compared.

What is not there cannot be compared: results stay valid where the weights or images were deleted.
No weights are loaded here, and torch is not imported.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from bigain.backbones.weight_files import components_of, weights_path
from bigain.config import GenerationConfig, HubBackboneConfig, RunConfig
from bigain.data.base import Dataset, load_dataset, load_reference, stamp_files
from bigain.data.contents import files_hash, image_files
from bigain.data.files import ImageFiles
from bigain.data.layouts import IncompleteDataError
from bigain.data.places import has_files
from bigain.errors import UserError
from bigain.files import file_sha256
from bigain.runs.provenance import CONTENTS, changed
from bigain.runs.store import RunStore

__all__ = ["INCEPTION_FILE", "check_inputs", "contents_of", "same_images", "stamps_of"]
__all__ += ["torch_hub"]

INCEPTION_FILE = "pt_inception-2015-12-05-6726825d.pth"
"""The name of Inception's published weights in torch hub's cache."""

_SHOWN = 3


@dataclass(frozen=True)
class _Input:
    """One thing that a run reads.

    Attributes:
        name: Its key in the manifest's `hashes`.
        setting: The setting that points at it, and its value.
        files: Returns the files whose sizes and times change with it; () if only its hash tells.
        digest: Computes its hash; raises UserError or OSError if it is not there.
        is_there: Whether a part of it is there, so that it is damaged if `digest` fails.

    """

    name: str
    setting: str
    files: Callable[[], Sequence[Path]]
    digest: Callable[[], str]
    is_there: bool = False

    def stamp(self) -> str | None:
        """Hash of the sizes and times of its files; None without files."""
        try:
            stats = [(path.name, path.stat()) for path in self.files()]
        except (UserError, OSError):
            return None
        lines = [f"{name} {s.st_size} {s.st_mtime_ns} {s.st_ctime_ns}\n" for name, s in stats]
        return hashlib.sha256("".join(lines).encode()).hexdigest()[:16] if lines else None


def stamps_of(config: RunConfig) -> dict[str, str]:
    """The stamps of what the run reads, for its manifest; compute them before anything is read."""
    stamps = {each.name: each.stamp() for each in _inputs(config)}
    return {name: stamp for name, stamp in stamps.items() if stamp is not None}


def contents_of(config: RunConfig) -> dict[str, str]:
    """The hashes of the bytes of all image files that the run reads, for its manifest.

    Raises:
        UserError: A file is missing or cannot be read.

    """
    inputs = [each for each in _inputs(config) if each.name.endswith(CONTENTS)]
    return {each.name: each.digest() for each in inputs}


def check_inputs(config: RunConfig, store: RunStore) -> None:
    """Raise UserError if the finished run of `config` was made from other weights or data.

    Inputs without a recorded hash, and those that are not there, are not compared.  Data that is
    there but damaged is refused, as for a new run.
    """
    manifest = store.manifest()
    recorded: Mapping[str, str] = manifest.get("hashes") or {}
    known: Mapping[str, str] = manifest.get("stamps") or {}
    found: dict[str, str] = {}
    stamps: dict[str, str] = {}
    settings: dict[str, str] = {}
    for each in _inputs(config) if recorded else ():
        whole = each.name.removesuffix(CONTENTS)
        if whole != each.name and (each.name not in recorded or _differs(whole, recorded, found)):
            continue
        stamp = each.stamp()
        settings[each.name] = each.setting
        try:
            is_known = stamp is not None and stamp == known.get(each.name)
            found[each.name] = recorded[each.name] if is_known else each.digest()
        except (UserError, OSError, KeyError) as error:
            is_missing = isinstance(error, OSError | KeyError | IncompleteDataError)
            if each.is_there and not is_missing:
                raise
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
    hashes, name = manifest.get("hashes") or {}, f"dataset/{dataset.name}"
    if name not in hashes or not config.needs_images:
        return True
    try:
        own = load_dataset(dataset.model_copy(update={"limit": manifest["n_images"]}))
        if own.content_hash != hashes[name]:
            return False
        contents = hashes.get(f"{name}{CONTENTS}")
        return contents is None or files_hash(own, config.paths.cache) == contents
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
    dataset, task = config.dataset, config.task
    place = f"dataset.root={'null' if dataset.root is None else dataset.root}"
    yield from _images(config, f"dataset/{dataset.name}", place, lambda: load_dataset(dataset))
    if isinstance(task, GenerationConfig):
        yield _extractor(task)
        yield from _reference(config, task)


def _images(
    config: RunConfig, name: str, setting: str, load: Callable[[], Dataset]
) -> Iterator[_Input]:
    """The images that `load` returns, and where they are files also the bytes of these."""
    dataset, opened = config.dataset, cache(load)
    files = stamp_files(dataset)
    is_there = has_files(dataset)
    yield _Input(name, setting, lambda: files, lambda: opened().content_hash, is_there)
    if issubclass(dataset.kind, ImageFiles):
        yield _Input(
            f"{name}{CONTENTS}",
            setting,
            lambda: files or image_files(opened()),
            lambda: files_hash(opened(), config.paths.cache) or "",
        )


def _differs(name: str, recorded: Mapping[str, str], found: Mapping[str, str]) -> bool:
    return name in found and found[name] != recorded.get(name)


def _weights(config: RunConfig) -> Iterator[_Input]:
    backbone = config.backbone
    if not isinstance(backbone, HubBackboneConfig):
        path = weights_path(backbone.name)
        setting = f"backbone.revision={backbone.revision}"
        name = f"{backbone.name}/{path.name}"
        yield _file(name, setting, path)
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
        yield _file(name, setting, path)


def _extractor(task: GenerationConfig) -> _Input:
    if task.extractor == "mini":
        path, setting = weights_path("mini_extractor"), "task.extractor=mini"
    else:
        path = task.extractor_weights or torch_hub() / "checkpoints" / INCEPTION_FILE
        setting = f"task.extractor_weights={path}"
    return _Input(
        f"extractor/{task.extractor}", setting, lambda: (path,), lambda: file_sha256(path)[:12]
    )


def _reference(config: RunConfig, task: GenerationConfig) -> Iterator[_Input]:
    name, setting = f"reference/{config.dataset.name}", f"task.reference={task.reference}"
    if task.statistics is not None:
        yield _file(name, setting, task.statistics)
        return
    load = partial(load_reference, config.dataset, task.reference)
    yield from _images(config, name, setting, load)


def _file(name: str, setting: str, path: Path) -> _Input:
    return _Input(name, setting, lambda: (path,), partial(file_sha256, path))

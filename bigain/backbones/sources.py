"""Where a published model is read from: a folder, the hub's local cache, or the hub.

If `backbone.path` is set, only this folder is used.  Otherwise the hub's cache is searched for the
repository, then for each mirror; then the repository is downloaded, or else a mirror.  If no source
works, a one-line error gives the reason for each of them.  The manifest of a run records the
source, its commit and the sha256 of every file that is read.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from bigain.backbones.weight_files import (
    Component,
    components_of,
    files_of,
    list_files,
    missing_shards,
    problem,
    wanted,
)
from bigain.config import HubBackboneConfig
from bigain.errors import UserError
from bigain.files import file_sha256

_WEIGHTS = ".safetensors"
_PATIENCE = 20.0
"""Seconds that the hub may take to answer what a repository holds."""

__all__ = [
    "NoSourceError",
    "Source",
    "file_hashes",
    "find_source",
    "fingerprint",
    "names_read",
]


@dataclass(frozen=True)
class Source:
    """A folder that holds every component.

    Attributes:
        folder: The pipeline's folder.
        place: `path`, `cache` or `hub`.
        repository: OWNER/NAME; None for a folder of the user.
        revision: The branch, tag or commit that was asked for; None for a folder of the user.
        commit: The commit that the revision names; None for a folder of the user.

    """

    folder: Path
    place: str
    repository: str | None = None
    revision: str | None = None
    commit: str | None = None

    def describe(self) -> dict[str, Any]:
        """The source as the manifest records it; `folder` is None unless it is the user's."""
        named = {"repository": self.repository, "revision": self.revision, "commit": self.commit}
        folder = str(self.folder) if self.repository is None else None
        return {"place": self.place, **named, "folder": folder}


class NoSourceError(UserError):
    """Neither the repository nor any mirror can be used.

    Attributes:
        reasons: (`OWNER/NAME at REVISION`, why it cannot be used), in the order of the search.

    """

    def __init__(self, message: str, reasons: Sequence[tuple[str, str]]) -> None:
        super().__init__(message)
        self.reasons = tuple(reasons)


class _Unusable(Exception):  # noqa: N818 -- a state of a source, not a failure of the program
    """Why one source cannot be used, in a few words."""


def find_source(config: HubBackboneConfig, *, download: bool = True) -> Source:
    """The first usable source of the weights of `config`.

    Args:
        config: Which model, from where.
        download: Whether to download when this machine has no copy.

    Raises:
        UserError: the folder of `backbone.path` cannot be used.
        NoSourceError: no source can be used; its line gives every reason and what to do.

    """
    components = components_of(config.name)
    if config.path is not None:
        return _own_folder(config, components)
    reasons: list[tuple[str, str]] = []
    candidates = [_split(name, config.revision) for name in (config.repository, *config.mirrors)]
    offline = constants.is_offline_mode()
    for find in (_cached, _downloaded) if download and not offline else (_cached,):
        reasons = []
        for repository, revision in candidates:
            try:
                return find(repository, revision, components, config.variant)
            except _Unusable as error:
                reasons.append((f"{repository} at {revision}", str(error)))
    listed = "; ".join(f"{source}: {reason}" for source, reason in reasons)
    raise NoSourceError(
        f"backbone={config.name}: no weights found ({listed}); allowed: "
        "backbone.path=FOLDER with a copy in the hub's layout, or where there is a network "
        f"`hf download {config.repository} --revision {config.revision}` (or a mirror) into the "
        "hub's cache"
        + (" (this process is offline, HF_HUB_OFFLINE is set)" if offline else "")
        + f"; {_doctor(config)}",
        reasons,
    )


def names_read(folder: Path, components: tuple[Component, ...], variant: str | None) -> list[str]:
    """Names inside `folder` of all files that loading reads: weights, settings, vocabularies."""
    names = wanted(list_files(folder), components, variant)
    return [name for name in names if "/" in name and ".index." not in name]


def file_hashes(
    folder: Path, components: tuple[Component, ...], variant: str | None
) -> dict[str, str]:
    """sha256 of every file that loading reads, by its name inside `folder`."""
    return {name: file_sha256(folder / name) for name in names_read(folder, components, variant)}


def fingerprint(hashes: Mapping[str, str]) -> str:
    """First 12 hex digits of the sha256 over the names and hashes of the weight files alone."""
    weights = sorted(item for item in hashes.items() if item[0].endswith(_WEIGHTS))
    lines = "".join(f"{name} {digest}\n" for name, digest in weights)
    return hashlib.sha256(lines.encode()).hexdigest()[:12]


def _doctor(config: HubBackboneConfig) -> str:
    path = "" if config.path is None else f" backbone.path={config.path}"
    return f"`bigain doctor backbone={config.name}{path}` checks what is there"


def _own_folder(config: HubBackboneConfig, components: tuple[Component, ...]) -> Source:
    folder = config.path
    assert folder is not None
    if not folder.is_dir():
        raise UserError(
            f"backbone.path={folder}: is no folder; allowed: one in the hub's layout, with "
            f"{', '.join(component.folder for component in components)}; {_doctor(config)}"
        )
    try:
        _check(folder, components, config.variant)
    except _Unusable as error:
        raise UserError(
            f"backbone.path={folder}: {error}; allowed: a folder in the hub's layout, with "
            f"{', '.join(component.folder for component in components)}; {_doctor(config)}"
        ) from None
    return Source(folder, "path")


def _cached(
    repository: str, revision: str, components: tuple[Component, ...], variant: str | None
) -> Source:
    try:
        folder = Path(snapshot_download(repository, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        others = _cached_revisions(repository)
        raise _Unusable(
            f"the cache has no such revision of it, but {', '.join(others)}"
            if others
            else "not in the hub's cache"
        ) from None
    try:
        _check(folder, components, variant)
    except _Unusable as error:
        raise _Unusable(f"its copy in the hub's cache {error}") from None
    return Source(folder, "cache", repository, revision, folder.name)


def _downloaded(
    repository: str, revision: str, components: tuple[Component, ...], variant: str | None
) -> Source:
    try:
        info = HfApi().model_info(repository, revision=revision, timeout=_PATIENCE)
        listed = {sibling.rfilename for sibling in info.siblings or ()}
        for component in components:
            reason = problem(listed, component, variant)
            if reason is not None:
                raise _Unusable(reason)
        names = wanted(listed, components, variant)
        folder = Path(snapshot_download(repository, revision=revision, allow_patterns=names))
        _check(folder, components, variant)
    except GatedRepoError:
        raise _Unusable("its licence must be accepted on the hub first") from None
    except RevisionNotFoundError:
        raise _Unusable("has no such revision") from None
    except RepositoryNotFoundError:
        raise _Unusable("no such repository, or it is private") from None
    except _Unusable:
        raise
    except Exception as error:  # whatever HTTP library the hub's client uses in this version
        reason = next(iter(str(error).splitlines()), "")
        raise _Unusable(f"cannot be downloaded ({type(error).__name__}: {reason})") from error
    return Source(folder, "hub", repository, revision, folder.name)


def _check(folder: Path, components: tuple[Component, ...], variant: str | None) -> None:
    files = list_files(folder)
    for component in components:
        reason = problem(files, component, variant)
        if reason is not None:
            raise _Unusable(reason)
        try:
            missing = missing_shards(folder, files_of(files, component, variant))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _Unusable(f"has a damaged index of shards in {component.folder}") from error
        if missing:
            raise _Unusable(f"has no {component.folder}/{missing[0]}")


def _cached_revisions(repository: str) -> list[str]:
    """Branches, tags and unnamed commits of `repository` in the hub's cache."""
    place = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    refs = place / "refs"
    named = {
        path.relative_to(refs).as_posix(): path.read_text(encoding="utf-8").strip()
        for path in sorted(refs.rglob("*"))
        if path.is_file()
    }
    commits = {path.name for path in (place / "snapshots").glob("*")} - set(named.values())
    return [*named, *sorted(commits)]


def _split(mirror: str, revision: str) -> tuple[str, str]:
    """(repository, revision) of `OWNER/NAME` or `OWNER/NAME@REVISION`; default `revision`."""
    repository, _, own = mirror.partition("@")
    return repository, own or revision

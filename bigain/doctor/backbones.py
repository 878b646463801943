"""Whether the weights of a backbone are on this machine, whole, and those that are meant.

The search is the run's own (`bigain.backbones.sources`), without the hub; files are judged by their
names and headers.  A fingerprint is not computed here: that reads every byte, as a run does.
"""

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import constants

from bigain.backbones.sources import NoSourceError, Source, find_source
from bigain.backbones.weight_files import (
    check_revision,
    components_of,
    damage,
    download_bytes,
    files_of,
    list_files,
    weights_path,
)
from bigain.config import BackboneConfig, HubBackboneConfig, MiniBackboneConfig
from bigain.doctor.findings import REMEDY, Finding, Status, from_error
from bigain.errors import UserError

__all__ = ["check_backbone", "fetch"]


def check_backbone(config: BackboneConfig, *, needed: bool = True) -> Finding:
    """The state of the weights of `config`, without loading them and without a network."""
    if isinstance(config, MiniBackboneConfig):
        return _shipped(config, needed)
    try:
        source = find_source(config, download=False)
    except UserError as error:
        return _not_found(config, error, needed)
    broken = _first_damage(config, source.folder)
    if broken is not None:
        again = (
            f"copy {source.folder} again"
            if source.repository is None
            else (f"delete {source.folder} and download it again")
        )
        return Finding("backbones", config.name, "problem", broken, (again,), needed)
    return Finding("backbones", config.name, "ready", _describe(config, source), needed=needed)


def fetch(config: BackboneConfig) -> None:
    """Download the weights of `config`, if this machine has no copy; only the files that are read.

    Raises:
        UserError: neither the repository nor a mirror serves.

    """
    if isinstance(config, HubBackboneConfig):
        find_source(config)


def _shipped(config: MiniBackboneConfig, needed: bool) -> Finding:
    path = weights_path(config.name)
    try:
        check_revision(config.name, path, config.revision)
    except UserError as error:
        return from_error("backbones", config.name, error, needed=needed)
    what = f"ships with the package, revision {config.revision}"
    return Finding("backbones", config.name, "ready", what, needed=needed)


def _not_found(config: HubBackboneConfig, error: UserError, needed: bool) -> Finding:
    if isinstance(error, NoSourceError):
        what = _grouped(error.reasons)
        return Finding("backbones", config.name, "missing", what, _ways(config), needed)
    what = str(error).partition(REMEDY)[0]
    parts = ", ".join(component.folder for component in components_of(config.name))
    is_folder = config.path is not None and config.path.is_dir()
    advice = (f"a folder with {parts}", *(() if is_folder else _ways(config)))
    status: Status = "problem" if is_folder else "missing"
    return Finding("backbones", config.name, status, what, advice, needed)


def _grouped(reasons: Sequence[tuple[str, str]]) -> str:
    """`why not: source, source; ...`, each reason once."""
    sources: dict[str, list[str]] = {}
    for source, reason in reasons:
        sources.setdefault(reason, []).append(source)
    return "; ".join(f"{reason}: {', '.join(named)}" for reason, named in sources.items())


def _ways(config: HubBackboneConfig) -> tuple[str, ...]:
    """How to get the weights onto this machine; one of these is enough."""
    branch = f"--revision {config.revision}"
    size = f"about {download_bytes(config.name, config.variant) / 1e9:.1f} GB"
    online = ", without HF_HUB_OFFLINE" if constants.is_offline_mode() else ""
    return (
        f"bigain doctor backbone={config.name} --download    ({size}{online})",
        f"hf download {config.repository} {branch}    (all files, or a mirror's)",
        "backbone.path=FOLDER    (a copy; docs/backbones.md)",
    )


def _first_damage(config: HubBackboneConfig, folder: Path) -> str | None:
    for name in _weights(config, folder):
        reason = damage(folder / name)
        if reason is not None:
            return f"{folder / name} {reason}"
    return None


def _weights(config: HubBackboneConfig, folder: Path) -> list[str]:
    files = list_files(folder)
    names = [
        n for part in components_of(config.name) for n in files_of(files, part, config.variant)
    ]
    return [name for name in names if name.endswith(".safetensors")]


def _describe(config: HubBackboneConfig, source: Source) -> str:
    size = sum((source.folder / name).stat().st_size for name in _weights(config, source.folder))
    place = f"{source.folder}"
    if source.repository is not None:
        place = f"{source.repository} at {source.revision} ({(source.commit or '')[:12]}), cached"
    checked = "" if config.fingerprint is None else "; the fingerprint is checked by the run"
    return f"{place}, {size / 1e9:.2g} GB{checked}"

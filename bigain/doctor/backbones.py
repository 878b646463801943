"""Whether the weights that a run needs are on this machine, intact, and the right ones.

The search for a backbone is that of a run (`bigain.backbones.sources`), without the hub; files are
judged by their names and headers.  Fingerprints are not computed here: that reads every byte, and
the run does it.  A run that measures FID also needs the weights of Inception.
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
from bigain.config import (
    BackboneConfig,
    GenerationConfig,
    HubBackboneConfig,
    MiniBackboneConfig,
    RunConfig,
)
from bigain.doctor.findings import REMEDY, Finding, Status, from_error
from bigain.errors import UserError

__all__ = ["check_backbone", "check_extractor", "fetch", "fetch_extractor"]


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
        UserError: neither the repository nor any mirror can be used.

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
        f"hf download {config.repository} {branch}    (or a mirror's)",
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


def check_extractor(config: RunConfig, *, needed: bool = True) -> list[Finding]:
    """The state of Inception's weights, if the run measures with them; nothing is downloaded.

    The published file is known by its sha256; another is only ready if Inception can load it.
    """
    task = _of_inception(config)
    if task is None:
        return []
    path = task.extractor_weights or _in_torch_hub()
    if path.is_file():
        return [_there(path, needed)]
    copy = "task.extractor_weights=FILE    (a copy)"
    if task.extractor_weights is None:
        settings = f"backbone={config.backbone.name} dataset={config.dataset.name} task=generation"
        fetched = f"bigain doctor {settings} --download    (about 0.1 GB)"
        ways: tuple[str, ...] = (fetched, f"download {_url()} to there", copy)
    else:
        ways = (f"download {_url()} to there", "task.extractor_weights=null    (torch hub's cache)")
    return [Finding("backbones", "inception", "missing", f"no file {path}", ways, needed)]


def fetch_extractor(config: RunConfig) -> None:
    """Download Inception's weights, if the run measures with those of torch hub and has none.

    Raises:
        UserError: they cannot be downloaded.

    """
    task = _of_inception(config)
    if task is not None and task.extractor_weights is None:
        from bigain.features.inception import find_weights  # noqa: PLC0415 -- loads pytorch-fid

        find_weights()


def _of_inception(config: RunConfig) -> GenerationConfig | None:
    task = config.task
    if isinstance(task, GenerationConfig) and task.extractor == "inception":
        return task
    return None


def _there(path: Path, needed: bool) -> Finding:
    from bigain.features.inception import check_weights  # noqa: PLC0415 -- loads pytorch-fid

    what = f"{path}, {path.stat().st_size / 1e6:.0f} MB"
    try:
        is_published = check_weights(path)
    except UserError as error:
        return from_error("backbones", "inception", error, needed=needed)
    if is_published:
        return Finding("backbones", "inception", "ready", f"{what}, as published", needed=needed)
    what = f"{what}, other weights than the published: distances are no FID"
    return Finding("backbones", "inception", "ready", what, (f"the published: {_url()}",), needed)


def _in_torch_hub() -> Path:
    """Where a run looks for them, and would download them to."""
    import torch  # noqa: PLC0415 -- only runs that generate need to know

    return Path(torch.hub.get_dir()) / "checkpoints" / _url().rpartition("/")[2]


def _url() -> str:
    from bigain.features.inception import WEIGHTS_URL  # noqa: PLC0415 -- loads pytorch-fid

    return WEIGHTS_URL

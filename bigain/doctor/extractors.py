"""Whether the network behind a FID is on this machine, as `task=generation` needs it at its end."""

from pathlib import Path

from bigain.config import GenerationConfig, RunConfig
from bigain.doctor.findings import Finding, from_error
from bigain.errors import UserError

__all__ = ["check_extractor", "fetch_extractor"]


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

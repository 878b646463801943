"""Whether the network behind a FID is on this machine, as `task=generation` needs it at its end."""

from pathlib import Path

from bigain.config import GenerationConfig, RunConfig
from bigain.doctor.findings import Finding

__all__ = ["check_extractor"]


def check_extractor(config: RunConfig, *, needed: bool = True) -> list[Finding]:
    """The state of Inception's weights, if the run measures with them; nothing is downloaded."""
    task = config.task
    if not isinstance(task, GenerationConfig) or task.extractor != "inception":
        return []
    path = task.extractor_weights or _in_torch_hub()
    if path.is_file():
        what = f"{path}, {path.stat().st_size / 1e6:.0f} MB"
        return [Finding("backbones", "inception", "ready", what, needed=needed)]
    ways = (f"download {_url()} to there", "task.extractor_weights=FILE    (a copy)")
    return [Finding("backbones", "inception", "missing", f"no file {path}", ways, needed)]


def _in_torch_hub() -> Path:
    """Where a run looks for them, and would download them to."""
    import torch  # noqa: PLC0415 -- only runs that generate need to know

    return Path(torch.hub.get_dir()) / "checkpoints" / _url().rpartition("/")[2]


def _url() -> str:
    from bigain.features.inception import WEIGHTS_URL  # noqa: PLC0415 -- loads pytorch-fid

    return WEIGHTS_URL

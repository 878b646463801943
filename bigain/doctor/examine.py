"""All checks of a set of runs, or of every backbone and dataset."""

from collections.abc import Sequence
from dataclasses import dataclass

from bigain.backbones.weight_files import download_bytes
from bigain.config import BackboneConfig, DatasetConfig, HubBackboneConfig, RunConfig
from bigain.doctor.backbones import check_backbone, check_extractor
from bigain.doctor.datasets import check_dataset, check_reference
from bigain.doctor.environment import check_environment, check_extras
from bigain.doctor.findings import Finding
from bigain.doctor.hardware import check_device, check_disk, probe

__all__ = ["Request", "examine_everything", "examine_runs"]


@dataclass(frozen=True)
class Request:
    """What is to be checked.

    Attributes:
        configs: The runs.
        backbones: Whether to check their backbones; False if only a dataset was named.
        datasets: Whether to check their datasets; False if only a backbone was named.

    """

    configs: tuple[RunConfig, ...]
    backbones: bool = True
    datasets: bool = True


def examine_runs(request: Request) -> list[Finding]:
    """Everything that the runs need, and the optional packages."""
    reading = [config for config in request.configs if config.needs_images]
    backbones = list(dict.fromkeys(c.backbone for c in reading)) if request.backbones else []
    datasets = list(dict.fromkeys(c.dataset for c in reading)) if request.datasets else []
    weights = [check_backbone(each) for each in backbones]
    states = zip(backbones, weights, strict=True)
    writing = request.configs if request.backbones and request.datasets else ()
    return [
        *check_environment(),
        *_devices(request.configs),
        *weights,
        *_extractors(request),
        *(check_dataset(each) for each in datasets),
        *_references(request),
        *check_disk(writing, sum(_to_download(each, state) for each, state in states)),
        *check_extras({each.facts.extra for each in datasets if each.facts.extra}),
    ]


def examine_everything(
    default: RunConfig, backbones: Sequence[BackboneConfig], datasets: Sequence[DatasetConfig]
) -> list[Finding]:
    """Every backbone and dataset; only those of the default profile count as needed.

    Args:
        default: The run without any settings on the command line.
        backbones: Every backbone there is.
        datasets: Every dataset there is.

    """
    return [
        *check_environment(),
        *_devices([default]),
        *(check_backbone(each, needed=each.is_mini) for each in backbones),
        *(check_dataset(each, needed=each.name == default.dataset.name) for each in datasets),
        *check_disk([default]),
        *check_extras(()),
    ]


def _devices(configs: Sequence[RunConfig]) -> list[Finding]:
    """Each device and precision once; or why torch cannot be imported."""
    try:
        machine = probe()
    except (ImportError, OSError, RuntimeError) as error:
        what = f"cannot be imported ({' '.join(str(error).split())[:200]})"
        return [Finding("device", "torch", "problem", what, ("make setup",))]
    found = [finding for config in configs for finding in check_device(config, machine)]
    return list(dict.fromkeys(found))


def _extractors(request: Request) -> list[Finding]:
    """The networks that measure generated images; none if only a dataset is checked."""
    configs = request.configs if request.backbones else ()
    return list(dict.fromkeys(found for config in configs for found in check_extractor(config)))


def _references(request: Request) -> list[Finding]:
    """The references of generated images; none if only a backbone is checked."""
    configs = request.configs if request.datasets else ()
    return list(dict.fromkeys(found for config in configs for found in check_reference(config)))


def _to_download(config: BackboneConfig, state: Finding) -> float:
    if state.status != "missing" or not isinstance(config, HubBackboneConfig):
        return 0.0
    return download_bytes(config.name, config.variant) if config.path is None else 0.0

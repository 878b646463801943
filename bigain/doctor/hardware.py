"""Whether the device, the memory and the disks of this machine suffice for the runs.

What a run writes is estimated from its settings.  Results: one record per image with a score, a
number of trials and five errors for each class, or a generated image.  Cache:
the latents of each image and the embedding of each prompt.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants

from bigain.backbones.weight_files import DENOISER_MILLIONS, OTHER_MILLIONS
from bigain.config import RunConfig
from bigain.doctor.findings import Finding
from bigain.errors import UserError
from bigain.runs.files import check_results

__all__ = [
    "Accelerator",
    "Machine",
    "cache_bytes",
    "check_device",
    "check_disk",
    "probe",
    "result_bytes",
]


_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_BFLOAT16_SINCE = (8, 0)
"""CUDA's compute capability from which bfloat16 is computed by the hardware."""


@dataclass(frozen=True)
class Accelerator:
    """A device beside the CPU.

    Attributes:
        device: Its name in the configuration, such as `cuda:0`.
        title: The name that its driver reports.
        gigabytes: Its memory; None if it shares the machine's.
        has_bfloat16: Whether it computes bfloat16 in hardware.

    """

    device: str
    title: str
    gigabytes: float | None
    has_bfloat16: bool


@dataclass(frozen=True)
class Machine:
    """The processors, the memory and the accelerators of this machine.

    Attributes:
        processor: Name of the CPU.
        cores: Number of logical cores.
        gigabytes: Memory; None if the system does not say.
        accelerators: Further devices.

    """

    processor: str
    cores: int
    gigabytes: float | None
    accelerators: tuple[Accelerator, ...] = ()


def probe() -> Machine:
    """Describe this machine.  Imports torch, and raises what that import raises."""
    import torch  # noqa: PLC0415 -- the one check that needs it

    from bigain.machine import cpu_model  # noqa: PLC0415

    found = []
    for index in range(torch.cuda.device_count()):
        known = torch.cuda.get_device_properties(index)
        has_bfloat16 = (known.major, known.minor) >= _BFLOAT16_SINCE
        name = f"cuda:{index}"
        found.append(Accelerator(name, known.name, known.total_memory / 1e9, has_bfloat16))
    if torch.backends.mps.is_available():
        found.append(Accelerator("mps", "Apple Metal", None, has_bfloat16=True))
    name, cores = cpu_model() or "CPU", os.cpu_count() or 1
    return Machine(name, cores, _memory(), tuple(found))


def check_device(config: RunConfig, machine: Machine, *, needed: bool = True) -> list[Finding]:
    """Whether the device of a run exists, has enough memory and suits the precision."""
    subject = f"device={config.device}"
    chosen = _chosen(config.device, machine)
    others = ", ".join(each.device for each in machine.accelerators) or "none"
    if chosen is None and config.device not in ("auto", "cpu"):
        what = f"there is no such device here; accelerators: {others}"
        return [Finding("device", subject, "missing", what, ("device=auto", "device=cpu"), needed)]
    advice = tuple(_advice(config, machine, chosen))
    found = Finding("device", subject, "ready", _describe(config, machine, chosen), advice, needed)
    return [found, *_memory_finding(config, machine, chosen, needed)]


def _chosen(device: str, machine: Machine) -> Accelerator | None:
    """The accelerator that `device` names; None for the CPU or a device that does not exist."""
    if device == "auto":
        return next(iter(machine.accelerators), None)
    wanted = "cuda:0" if device == "cuda" else device
    return next((each for each in machine.accelerators if each.device == wanted), None)


def _describe(config: RunConfig, machine: Machine, chosen: Accelerator | None) -> str:
    if chosen is None:
        from bigain.devices import choose_threads  # noqa: PLC0415 -- loads torch

        threads = choose_threads(config.threads, is_mini=config.backbone.is_mini)
        uses = f"threads of torch: {threads.count} ({threads.why})"
        size = "" if machine.gigabytes is None else f", {machine.gigabytes:.0f} GB"
        what = f"{machine.processor}, {machine.cores} cores{size}; {uses}"
    else:
        size = "" if chosen.gigabytes is None else f", {chosen.gigabytes:.0f} GB"
        what = f"{chosen.device} {chosen.title}{size}"
    return f"{what}; dtype={config.dtype}"


def _advice(config: RunConfig, machine: Machine, chosen: Accelerator | None) -> Iterator[str]:
    is_half = config.dtype != "float32"
    if chosen is None and machine.accelerators:
        yield f"{machine.accelerators[0].title} is here too: device=auto"
    elif chosen is None and not config.backbone.is_mini and config.needs_images:
        yield "an image of a published model takes many minutes on a CPU"
    if chosen is None and is_half:
        yield "half precision is slow on a CPU: dtype=float32"
    if chosen is not None and not is_half and not config.backbone.is_mini:
        yield "half precision is faster here, and what the paper used: dtype=float16"
    if chosen is not None and config.dtype == "bfloat16" and not chosen.has_bfloat16:
        yield f"{chosen.title} computes bfloat16 slowly: dtype=float16"


def _memory_finding(
    config: RunConfig, machine: Machine, chosen: Accelerator | None, needed: bool
) -> Iterator[Finding]:
    """A published model whose weights alone are larger than the memory."""
    has = machine.gigabytes if chosen is None or chosen.gigabytes is None else chosen.gigabytes
    name = config.backbone.name
    if has is None or name not in DENOISER_MILLIONS:
        return
    # VAE and text encoders are in full precision, whatever the dtype of the denoiser.
    needs = DENOISER_MILLIONS[name] * _BYTES[config.dtype] / 1e3 + OTHER_MILLIONS[name] * 4 / 1e3
    if needs > has:
        what = f"{has:.1f} GB, but the weights of {name} alone take {needs:.1f} GB"
        half = () if config.dtype != "float32" else ("dtype=float16",)
        advice = (*half, "a device with more memory")
        yield Finding("device", "memory", "problem", what, advice, needed)


def _memory() -> float | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    except (AttributeError, ValueError, OSError):
        return None


_RECORD, _CLASS = 1_000, 100
"""Bytes of the record of one image, and of one class in it with its errors, in all files."""
_PIXEL = 2
"""Bytes of a pixel of a generated image as PNG."""
_TOKENS, _FLOAT = 77, 4
_MINI_SIDE, _LATENT_PIXELS = 28, 8
"""Side of a mini backbone's images, and of the square of pixels behind a latent of the others."""


@dataclass(frozen=True)
class _Place:
    subject: str
    folder: Path
    needs: float
    holds: str = ""


def check_disk(
    configs: Sequence[RunConfig], downloads: float = 0.0, *, needed: bool = True
) -> list[Finding]:
    """The folders that `configs` write to, and the hub's cache for `downloads` bytes."""
    places = _places(configs, downloads)
    needs: dict[int, float] = {}
    for place in places:
        disk = _nearest(place.folder).stat().st_dev
        needs[disk] = needs.get(disk, 0.0) + place.needs
    return [
        _finding(place, needs[_nearest(place.folder).stat().st_dev], needed) for place in places
    ]


def result_bytes(config: RunConfig) -> float:
    """Approximate size in bytes of the results of a run."""
    if not config.needs_images:
        return _RECORD
    if config.task.name == "generation":
        return config.dataset.num_images * (_RECORD + _PIXEL * _side(config) ** 2)
    return config.dataset.num_images * (_RECORD + _CLASS * config.dataset.facts.num_classes)


def cache_bytes(config: RunConfig) -> float:
    """Approximate size in bytes of the cached latents and prompts; at most the cache's limit."""
    if config.backbone.is_mini or not config.needs_images:
        return 0.0
    settings, bound = config.backbone.architecture.settings, config.cache.gigabytes * 1e9
    latent = int(settings["in_channels"]) * int(settings["sample_size"]) ** 2 * _FLOAT
    width = int(settings.get("cross_attention_dim", 0))
    encoded = config.dataset.num_images if config.task.name == "classification" else 0
    latents = encoded * latent * config.cache.latents
    prompts = config.dataset.facts.num_classes * _TOKENS * width * _FLOAT * config.cache.prompts
    return min(float(latents), bound) + min(float(prompts), bound)


def _side(config: RunConfig) -> int:
    """Pixels along a generated image."""
    if config.backbone.is_mini:
        return _MINI_SIDE
    return int(config.backbone.architecture.settings["sample_size"]) * _LATENT_PIXELS


def _places(configs: Sequence[RunConfig], downloads: float) -> list[_Place]:
    results = dict.fromkeys(config.paths.results for config in configs)
    caches = dict.fromkeys(config.paths.cache for config in configs if not config.backbone.is_mini)
    places = [
        _Place(
            "results", folder, sum(result_bytes(c) for c in configs if c.paths.results == folder)
        )
        for folder in results
    ]
    for folder in caches:
        # Runs of one backbone and dataset share their entries.
        shared = {
            (c.backbone.name, c.dataset.name): cache_bytes(c)
            for c in configs
            if c.paths.cache == folder
        }
        bound = max(c.cache.gigabytes for c in configs if c.paths.cache == folder)
        held = f"holds {_size(_held(folder))}, at most {bound:g} GB of latents and of prompts"
        places.append(_Place("cache", folder, max(sum(shared.values()) - _held(folder), 0.0), held))
    if downloads:
        places.append(_Place("hub's cache", Path(constants.HF_HUB_CACHE), downloads))
    return places


def _finding(place: _Place, all_needs: float, needed: bool) -> Finding:
    free = shutil.disk_usage(_nearest(place.folder)).free
    state = f"{place.folder}: {_size(free)} free, needs about {_size(place.needs)}"
    what = f"{state}; {place.holds}" if place.holds else state
    try:
        check_results(place.folder)
    except UserError:
        what = f"{place.folder}: cannot be written to"
        other = (f"another folder: {_SETTING[place.subject]}",)
        return Finding("disk", place.subject, "problem", what, other, needed)
    if free < all_needs:
        advice = (
            f"free {_size(all_needs - free)} there",
            f"another disk: {_SETTING[place.subject]}",
        )
        return Finding("disk", place.subject, "problem", what, advice, needed)
    return Finding("disk", place.subject, "ready", what, needed=needed)


_SETTING = {
    "results": "paths.results=DIR or BIGAIN_RESULTS",
    "cache": "paths.cache=DIR or BIGAIN_CACHE",
    "hub's cache": "HF_HOME",
}


def _nearest(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())


def _held(folder: Path) -> float:
    """Bytes of all files below `folder`."""
    return float(sum(_sizes(folder)))


def _sizes(folder: Path) -> Iterable[int]:
    for above, _, names in os.walk(folder):
        for name in names:
            try:
                yield (Path(above) / name).stat().st_size
            except OSError:  # another process may delete it now
                continue


def _size(count: float) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:,.1f} {unit}"
    return f"{count / 1e3:,.0f} kB"

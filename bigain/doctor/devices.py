"""The devices of this machine, and whether a run's `device` and `dtype` are a good choice here."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from bigain.backbones.weight_files import DENOISER_MILLIONS, OTHER_MILLIONS
from bigain.config import RunConfig
from bigain.doctor.findings import Finding

__all__ = ["Accelerator", "Machine", "check_device", "probe"]

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_BFLOAT16_SINCE = (8, 0)
"""CUDA's compute capability from which bfloat16 is computed by the hardware."""


@dataclass(frozen=True)
class Accelerator:
    """A device beside the CPU.

    Attributes:
        device: Its name in the configuration, such as `cuda:0`.
        title: What it calls itself.
        gigabytes: Its memory; None if it shares the machine's.
        has_bfloat16: Whether it computes bfloat16 in hardware.

    """

    device: str
    title: str
    gigabytes: float | None
    has_bfloat16: bool


@dataclass(frozen=True)
class Machine:
    """What there is to compute with.

    Attributes:
        processor: What the CPU calls itself.
        cores: Number of logical cores.
        threads: Threads that torch would use.
        gigabytes: Memory; None if the system does not say.
        accelerators: Further devices.

    """

    processor: str
    cores: int
    threads: int
    gigabytes: float | None
    accelerators: tuple[Accelerator, ...] = ()


def probe() -> Machine:
    """What there is here.  Imports torch, and raises what that import raises."""
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
    return Machine(name, cores, torch.get_num_threads(), _memory(), tuple(found))


def check_device(config: RunConfig, machine: Machine, *, needed: bool = True) -> list[Finding]:
    """Whether the device of a run is there, and whether its memory and precision suit."""
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
    """The accelerator that `device` stands for; None for the CPU, or if it is not there."""
    if device == "auto":
        return next(iter(machine.accelerators), None)
    wanted = "cuda:0" if device == "cuda" else device
    return next((each for each in machine.accelerators if each.device == wanted), None)


def _describe(config: RunConfig, machine: Machine, chosen: Accelerator | None) -> str:
    if chosen is None:
        threads = config.threads or machine.threads
        size = "" if machine.gigabytes is None else f", {machine.gigabytes:.0f} GB"
        what = f"{machine.processor}, {machine.cores} cores{size}; torch uses {threads} threads"
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
    # Prompts are encoded before the denoiser computes; VAE and encoders are of full precision.
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

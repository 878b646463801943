"""Where a network computes, how precisely, and on how many threads."""

import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from bigain.errors import UserError
from bigain.machine import cpu_model, thread_variable, usable_cores

__all__ = [
    "DTYPES",
    "Fetched",
    "Threads",
    "attention_backend",
    "choose_threads",
    "cpu_capability",
    "device_name",
    "limited_threads",
    "machine_name",
    "on_own_stream",
    "peak_memory",
    "reset_peak_memory",
    "resolve_device",
    "set_attention",
    "synchronize",
    "to_device",
]

_A = TypeVar("_A")
_B = TypeVar("_B")

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
"""Precisions of the network, by the name they have in the configuration."""


def resolve_device(name: str) -> torch.device:
    """The device that `name` (auto, cpu, cuda, cuda:N, mps) stands for on this machine.

    Convolutions in fp32 are fp32 from now on: torch would let an NVIDIA GPU round their inputs to
    ten bits (TF32), and errors would differ from those of a CPU by 1e-3.

    Raises:
        UserError: there is no such device here.

    """
    torch.backends.cudnn.allow_tf32 = False
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator() if _accelerated() else None
        return accelerator or torch.device("cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"device={name}: {torch.cuda.device_count()} CUDA devices here; allowed: auto, cpu"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError(f"device={name}: no Metal device here; allowed: auto, cpu")
    return device


@dataclass(frozen=True)
class Threads:
    """A number of threads of torch, and why it was chosen."""

    count: int
    why: str


def choose_threads(setting: int | None, *, is_mini: bool) -> Threads:
    """The threads of torch for a network.

    `setting` wins, then `OMP_NUM_THREADS` if it is a number.  Without them a mini network gets one
    thread: it is not faster with more, and much slower on cores that other processes use, too.  A
    larger one gets what torch takes, but not more than the process may run at the same time.

    Args:
        setting: The number that the user wants; None leaves the choice to this function.
        is_mini: Whether the network is one of those that ship with the package.

    """
    if setting is not None:
        return Threads(setting, f"threads={setting}")
    own, default = thread_variable("OMP_NUM_THREADS"), torch.get_num_threads()
    if own is not None:
        return Threads(default, f"OMP_NUM_THREADS={own}")
    if is_mini:
        return Threads(1, "a mini network is not faster with more")
    cores = usable_cores()
    if default <= cores.usable:
        return Threads(default, f"torch's choice on {cores.online} cores")
    limit = f"affinity allows {cores.allowed} of {cores.online} cores"
    if cores.usable < cores.allowed:
        limit = f"the cgroup has {cores.quota:g} of {cores.online} cores"
    return Threads(cores.usable, limit)


@contextmanager
def limited_threads(count: int) -> Iterator[None]:
    """Let torch use `count` threads inside, and what it had before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def attention_backend(model: nn.Module) -> str:
    """How `model` computes attention: diffusers' processors, and the kernels torch may choose from.

    E.g. `AttnProcessor2_0; sdpa: flash, mem_efficient, math`.
    """
    processors = {
        type(module.processor).__name__
        for module in model.modules()
        if getattr(module, "processor", None) is not None
    }
    cuda = torch.backends.cuda
    enabled = {
        "flash": cuda.flash_sdp_enabled(),
        "mem_efficient": cuda.mem_efficient_sdp_enabled(),
        "math": cuda.math_sdp_enabled(),
    }
    kernels = ", ".join(name for name, is_on in enabled.items() if is_on)
    return f"{', '.join(sorted(processors)) or 'no attention'}; sdpa: {kernels}"


def set_attention(model: nn.Module, name: str) -> None:
    """Let a diffusers model compute attention by torch's fused kernels, or in plain steps.

    Args:
        model: The model; its attentions get a new processor.
        name: `sdpa`: fused, as torch sees fit; `eager`: the attention matrix is materialised.
            Joint attention (SD3, FLUX) is always fused and keeps its processor.

    """
    from diffusers.models import attention_processor  # noqa: PLC0415 - slow to import

    kinds = {"sdpa": "AttnProcessor2_0", "eager": "AttnProcessor"}
    kind = getattr(attention_processor, kinds[name])
    joint = attention_processor.JointAttnProcessor2_0
    for module in model.modules():
        is_joint = isinstance(getattr(module, "processor", None), joint)
        if isinstance(module, attention_processor.Attention) and not is_joint:
            module.set_processor(kind())


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`; the CPU does not wait until it is there."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


class Fetched:
    """A tensor on its way to the CPU; what is computed after it does not delay it.

    Args:
        tensor: On any device.

    """

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor
        self._arrived: torch.cuda.Event | None = None
        if tensor.is_cuda:
            host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._tensor = host.copy_(tensor, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record(torch.cuda.current_stream(tensor.device))

    def wait(self) -> Tensor:
        """The tensor on the CPU."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._tensor.cpu()


def on_own_stream(device: torch.device, function: Callable[[_A], _B]) -> Callable[[_A], _B]:
    """`function`, whose results on a CUDA device do not wait for what others launch there.

    Args:
        device: A CUDA device.  What was launched on it so far is done before the first call.
        function: Returns when its result is on the CPU.

    """
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))

    def call(argument: _A) -> _B:
        with torch.cuda.stream(stream):
            return function(argument)

    return call


def synchronize(device: torch.device) -> None:
    """Wait until `device` has done all that was asked of it; the CPU always has."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def device_name(device: torch.device) -> str | None:
    """What the processor or the graphics card calls itself; None if it does not say."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return cpu_model()


def machine_name(device: torch.device) -> str | None:
    """`device_name`, for a processor with the widest instructions that torch uses.

    Processors of one name have several kinds.
    """
    name = device_name(device)
    return f"{name}, {cpu_capability()}" if name and device.type == "cpu" else name


def cpu_capability() -> str:
    """The widest instructions that torch uses on this processor, such as AVX512."""
    return str(torch.backends.cpu.get_cpu_capability())


def reset_peak_memory(device: torch.device) -> None:
    """Begin to count `peak_memory` anew; the peak of a process cannot be reset."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> int:
    """Most bytes held at once: by tensors on a CUDA device since the last reset, by the process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _accelerated() -> bool:
    return torch.accelerator.is_available()

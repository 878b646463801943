"""One component from safetensors, strictly: every weight is there, none is left over.

diffusers and transformers initialise what a checkpoint lacks with random numbers and a warning,
after which a model seems to work.  Here any difference between a checkpoint and its architecture is
an error of one line.  Names that older versions of both libraries wrote are still understood.
"""

import contextlib
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from safetensors import SafetensorError
from torch import nn

from bigain.errors import UserError

__all__ = ["load_component", "quiet_libraries", "read_settings"]


def load_component(
    cls: Any, folder: Path, part: str, *, variant: str | None, dtype: torch.dtype
) -> Any:
    """`cls` with the weights of `folder/part`, in eval mode, on the CPU.

    Args:
        cls: A model class of diffusers or transformers.
        folder: A pipeline's folder.
        part: The component, e.g. "vae".
        variant: None or "fp16", see `bigain.backbones.layout`.
        dtype: Precision of the weights.

    Raises:
        UserError: the files cannot be read, or hold the weights of another architecture.

    """
    extra: dict[str, Any] = {"torch_dtype": dtype, "low_cpu_mem_usage": False}
    if issubclass(cls, transformers.PreTrainedModel):
        extra = {"dtype": dtype}
    try:
        with quiet_libraries():
            model, report = cls.from_pretrained(
                folder,
                subfolder=part,
                variant=variant,
                use_safetensors=True,
                local_files_only=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **extra,
            )
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        raise UserError(f"{folder / part}: cannot be loaded ({reason.strip()})") from error
    _check(report, cls.__name__, folder / part)
    loaded: nn.Module = model.eval().requires_grad_(False)
    return loaded


def read_settings(file: Path) -> dict[str, Any]:
    """A `config.json`.  Raises UserError if it is not one."""
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: is no JSON file of settings") from error
    if not isinstance(settings, dict):
        raise UserError(f"{file}: is no JSON file of settings")
    return settings


def _check(report: dict[str, Collection[Any]], name: str, place: Path) -> None:
    """Refuse a checkpoint that is not exactly the architecture's."""
    missing = sorted(map(str, report["missing_keys"]))
    unexpected = sorted(map(str, report["unexpected_keys"]))
    reshaped = sorted(
        str(key if isinstance(key, str) else key[0]) for key in report["mismatched_keys"]
    )
    wrong = [*missing, *unexpected, *reshaped]
    if wrong:
        raise UserError(
            f"{place}: holds no {name} of its config.json; {len(missing)} weights are missing, "
            f"{len(unexpected)} not wanted and {len(reshaped)} of another shape, such as {wrong[0]}"
        )


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Without the bars and warnings of diffusers and transformers, and as before afterwards."""
    libraries: list[Any] = [diffusers.utils.logging, transformers.utils.logging]
    before = [library.get_verbosity() for library in libraries]
    bars = [library.is_progress_bar_enabled() for library in libraries]
    for library in libraries:
        library.set_verbosity(library.CRITICAL)
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, level, bar in zip(libraries, before, bars, strict=True):
            library.set_verbosity(level)
            if bar:
                library.enable_progress_bar()

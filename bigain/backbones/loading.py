"""Weights of one component, loaded strictly, and pickled weights converted to safetensors.

diffusers and transformers fill what a checkpoint lacks with random numbers and only warn, after
which a model seems to work.  Here every weight must be there and none may be left over; any
difference between a checkpoint and its architecture is an error of one line.  Weight names written
by older versions of both libraries are understood.

Some published models (DiT-XL/2-512 among them) have pickled weights only.  `convert_folder` opens
them with torch's restricted unpickler, which builds tensors and nothing else, and writes
safetensors files beside them under the names that the hub uses.
"""

import contextlib
import pickle
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from bigain.errors import UserError
from bigain.files import parse_json, replace_file

__all__ = ["convert_folder", "load_component", "quiet_libraries", "read_settings"]


def load_component(
    cls: Any, folder: Path, part: str, *, variant: str | None, dtype: torch.dtype
) -> Any:
    """`cls` with the weights of `folder/part`, in eval mode, on the CPU.

    Args:
        cls: A model class of diffusers or transformers.
        folder: A pipeline's folder.
        part: The component, e.g. "vae".
        variant: None or "fp16", see `bigain.backbones.weight_files`.
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
    # diffusers leaves a model in the file's precision where it keeps the first weight in fp32,
    # and warns of every cast.
    with quiet_libraries():
        loaded: nn.Module = model.to(dtype).eval().requires_grad_(False)
    return loaded


def read_settings(file: Path) -> dict[str, Any]:
    """A `config.json`.  Raises UserError if it is not one."""
    try:
        settings = parse_json(file.read_text(encoding="utf-8"))
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
    """Silence progress bars and warnings of diffusers and transformers inside a `with` block."""
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


_STEMS = {"diffusion_pytorch_model": "diffusion_pytorch_model", "pytorch_model": "model"}


def convert_folder(folder: Path) -> list[Path]:
    """Convert every pickled weight file of the pipeline in `folder` that has no safetensors yet.

    Returns:
        The files that were written.

    Raises:
        UserError: there is no weight file to convert or converted, or one holds no plain tensors.

    """
    pickled = sorted(path for path in folder.glob("*/*.bin") if path.name.split(".")[0] in _STEMS)
    if not pickled:
        raise UserError(
            f"{folder}: has no pickled weights; allowed: a folder with a pipeline, such as "
            f"{folder}/unet/diffusion_pytorch_model.bin"
        )
    targets = {path: path.with_name(_target_name(path)) for path in pickled}
    wanted = {path: target for path, target in targets.items() if not target.exists()}
    for path, target in wanted.items():
        replace_file(target, partial(_save, _tensors(path)))
    return list(wanted.values())


def _save(tensors: dict[str, Tensor], file: Path) -> None:
    save_file(tensors, file, {"format": "pt"})


def _target_name(path: Path) -> str:
    stem, *variant, _ = path.name.split(".")
    return ".".join([_STEMS[stem], *variant, "safetensors"])


def _tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a pickled checkpoint, each with memory of its own."""
    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        raise UserError(f"{path}: holds more than tensors, or is damaged ({reason})") from error
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else None
    if not state or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise UserError(f"{path}: is no checkpoint; allowed: names and tensors")
    return {str(name): tensor.clone().contiguous() for name, tensor in state.items()}

"""Pickled weights of a local pipeline to safetensors, once, by the user's own decision.

Some published models (DiT-XL/2-512 among them) have pickled weights only.  They are opened with
torch's restricted unpickler, which builds tensors and nothing else, and written beside the
originals under the names that the hub gives to safetensors.
"""

import pickle
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from bigain.errors import UserError
from bigain.files import replace_file

__all__ = ["convert_folder"]

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

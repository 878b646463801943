"""What a model folder of the hub must hold, judged by file names alone.

A pipeline of diffusers is a folder per component: weights as `diffusion_pytorch_model.safetensors`
(or `model.safetensors` of transformers), perhaps in shards with an index, perhaps as a variant of
half precision (`.fp16.safetensors`), beside a `config.json`.  The same functions judge a local
folder and the listing of a repository, so nothing is downloaded that could not be used.

Only safetensors are read: a `.bin` file is a pickle, which can run code when it is opened.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from bigain.config.architectures import ARCHITECTURES

__all__ = [
    "Component",
    "components_of",
    "files_of",
    "list_files",
    "missing_shards",
    "problem",
    "wanted",
]


@dataclass(frozen=True)
class Component:
    """One folder of a pipeline.

    Attributes:
        folder: Its name.
        stem: How its weight files begin; empty for a component without weights.
        needed: Other files that it cannot do without; a tuple inside means any of these.

    """

    folder: str
    stem: str = ""
    needed: tuple[str | tuple[str, ...], ...] = ("config.json",)


_DIFFUSERS, _TRANSFORMERS = "diffusion_pytorch_model", "model"
_VAE = Component("vae", _DIFFUSERS)
_SCHEDULER = Component("scheduler", needed=("scheduler_config.json",))
_VOCABULARY = ("vocab.json", "tokenizer.json")


def components_of(name: str) -> tuple[Component, ...]:
    """The components that backbone `name` is loaded from; the denoiser comes first."""
    architecture = ARCHITECTURES[name]
    if architecture.conditioning != "prompts":
        return (Component("transformer", _DIFFUSERS), _VAE, _SCHEDULER)
    encoders = [Component("text_encoder", _TRANSFORMERS)]
    tokenizers = [Component("tokenizer", needed=(_VOCABULARY,))]
    if architecture.settings.get("addition_embed_type") == "text_time":
        encoders.append(Component("text_encoder_2", _TRANSFORMERS))
        tokenizers.append(Component("tokenizer_2", needed=(_VOCABULARY,)))
    return (Component("unet", _DIFFUSERS), _VAE, *encoders, *tokenizers, _SCHEDULER)


def list_files(folder: Path) -> set[str]:
    """Names of all files below `folder`, as a repository's listing gives them."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def problem(files: Collection[str], component: Component, variant: str | None) -> str | None:
    """Why `component` cannot be loaded from a folder with `files`; None if it can."""
    folder = component.folder
    if not any(name.startswith(f"{folder}/") for name in files):
        return f"has no folder {folder}/"
    for needed in component.needed:
        choices = (needed,) if isinstance(needed, str) else needed
        if not any(f"{folder}/{choice}" in files for choice in choices):
            return f"has no {folder}/{' or '.join(choices)}"
    if not component.stem or files_of(files, component, variant):
        return None
    return _no_weights(files, component, variant)


def files_of(files: Collection[str], component: Component, variant: str | None) -> list[str]:
    """The weight files of `component`: one, or an index and its shards; empty if there are none."""
    start = f"{component.folder}/{component.stem}"
    dotted = f".{variant}" if variant else ""
    whole = f"{start}{dotted}.safetensors"
    if whole in files:
        return [whole]
    index = f"{start}.safetensors.index{dotted}.json"
    shards = sorted(
        name
        for name in files
        if name.startswith((f"{start}{dotted}-", f"{start}-"))
        and name.endswith(".safetensors")
        and (f".{variant}" in name) == bool(variant)
    )
    return [index, *shards] if index in files and shards else []


def wanted(
    files: Collection[str], components: Collection[Component], variant: str | None
) -> list[str]:
    """Of a repository's `files`, those that loading reads: weights, settings, vocabularies."""
    chosen = {name for part in components for name in files_of(files, part, variant)}
    folders = tuple(f"{component.folder}/" for component in components)
    texts = (".json", ".txt")
    for name in files:
        is_text = name.endswith(texts) and ".index" not in name
        if name == "model_index.json" or (is_text and name.startswith(folders)):
            chosen.add(name)
    return sorted(chosen)


def missing_shards(folder: Path, names: Collection[str]) -> list[str]:
    """Shards that an index among `names` lists and `folder` lacks."""
    missing = []
    for name in names:
        if name.endswith(".json"):
            index = json.loads((folder / name).read_text(encoding="utf-8"))
            shards = {str(shard) for shard in index["weight_map"].values()}
            place = (folder / name).parent
            missing += [shard for shard in sorted(shards) if not (place / shard).is_file()]
    return missing


def _no_weights(files: Collection[str], component: Component, variant: str | None) -> str:
    folder, dotted = component.folder, f".{variant}" if variant else ""
    name = f"{folder}/{component.stem}{dotted}.safetensors"
    if variant and files_of(files, component, None):
        return f"has no {name}, but full precision; set backbone.variant=null"
    if not variant and files_of(files, component, "fp16"):
        return f"has no {name}, but half precision; set backbone.variant=fp16"
    own = [file for file in files if file.startswith(f"{folder}/")]
    pickled = sorted(file for file in own if file.endswith((".bin", ".ckpt", ".pt")))
    if pickled:
        return (
            f"has {pickled[0]} but no {name}; pickled weights are not opened here, convert a "
            "local copy with `python scripts/to_safetensors.py FOLDER`"
        )
    return f"has no {name}"

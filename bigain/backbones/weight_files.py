"""Weight files of every model: which ones it needs, how large they are, whether they are intact.

Nothing here loads weights or imports torch, so `bigain doctor` can use it anywhere.

A published model is a folder of diffusers with one folder per component: weights as
`diffusion_pytorch_model.safetensors` (or `model.safetensors` of transformers), possibly split into
shards with an index, possibly in a half-precision variant (`.fp16.safetensors`), beside a
`config.json`.  File names alone decide whether a folder can be loaded, so the same functions judge
a local folder and the file list of a repository before anything is downloaded.

Only safetensors files are read: a `.bin` file is a pickle, which can run code when it is opened.

Sizes are in millions of parameters.  Those of the denoisers are counted from their architectures (a
test counts them again); the others are those of OpenCLIP ViT-H's text encoder (340), CLIP ViT-L's
(123), OpenCLIP bigG's (695), T5-XXL's encoder (4762) and Stable Diffusion's VAE (84).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from bigain.config.architectures import ARCHITECTURES, Architecture
from bigain.errors import UserError
from bigain.files import file_sha256, parse_json
from bigain.locations import ASSETS

__all__ = [
    "DENOISER_MILLIONS",
    "OTHER_MILLIONS",
    "Component",
    "check_revision",
    "components_of",
    "damage",
    "download_bytes",
    "files_of",
    "list_files",
    "missing_shards",
    "problem",
    "wanted",
    "weights_path",
]


@dataclass(frozen=True)
class Component:
    """One folder of a pipeline.

    Attributes:
        folder: Its name.
        stem: How the names of its weight files begin; empty for a component without weights.
        needed: Other files that must be there; a tuple stands for any one of its names.

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
    denoiser = Component("transformer" if architecture.is_joint else "unet", _DIFFUSERS)
    ends = ["", "_2", "_3"][: _number_of_encoders(architecture)]
    encoders = [Component(f"text_encoder{end}", _TRANSFORMERS) for end in ends]
    tokenizers = [Component(f"tokenizer{end}", needed=(_VOCABULARY,)) for end in ends]
    if architecture.is_joint:
        tokenizers[-1] = Component(f"tokenizer{ends[-1]}", needed=("tokenizer.json",))
    return (denoiser, _VAE, *encoders, *tokenizers, _SCHEDULER)


def _number_of_encoders(architecture: Architecture) -> int:
    """SD3: two of CLIP and T5; FLUX: CLIP and T5; SDXL: two of CLIP."""
    if architecture.is_joint:
        return 2 if architecture.is_packed else 3
    return 2 if architecture.settings.get("addition_embed_type") == "text_time" else 1


def list_files(folder: Path) -> set[str]:
    """Names of all files below `folder`, relative to it, with forward slashes."""
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
    """The names in `files` that loading reads: weights, settings and vocabularies."""
    chosen = {name for part in components for name in files_of(files, part, variant)}
    folders = tuple(f"{component.folder}/" for component in components)
    texts = (".json", ".txt")
    for name in files:
        is_text = name.endswith(texts) and ".index" not in name
        if name == "model_index.json" or (is_text and name.startswith(folders)):
            chosen.add(name)
    return sorted(chosen)


def missing_shards(folder: Path, names: Collection[str]) -> list[str]:
    """Shards that are listed in an index among `names` but missing in `folder`."""
    missing = []
    for name in names:
        if name.endswith(".json"):
            index = parse_json((folder / name).read_text(encoding="utf-8"))
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


_LONGEST_HEADER = 100_000_000
"""The format's own limit."""


def damage(path: Path) -> str | None:
    """What is wrong with a safetensors file, judged by its header; None if it looks intact.

    The format: 8 bytes with the length N of the header, N bytes of JSON that give the
    `data_offsets` of each tensor, then the data.
    """
    with path.open("rb") as handle:
        size = path.stat().st_size
        start = handle.read(8)
        if start == b"version ":
            return "is a pointer of Git LFS; `git lfs pull` in its folder fetches the weights"
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > min(size - 8, _LONGEST_HEADER):
            return "is cut short, or no safetensors file"
        try:
            header = parse_json(handle.read(length))
            ends = [entry["data_offsets"][1] for key, entry in header.items() if key[:2] != "__"]
        except (ValueError, KeyError, TypeError, AttributeError):
            return "is no safetensors file"
    expected = 8 + length + max(ends, default=0)
    return None if size == expected else f"has {size} bytes instead of {expected}"


DENOISER_MILLIONS: Mapping[str, int] = {
    "sd20": 866,
    "sd21": 866,
    "sd15": 860,
    "sdxl": 2567,
    "dit_xl2_512": 750,
    "sd3_medium": 2028,
    "sd35_medium": 2243,
    "flux_dev": 11901,
}
_VAE_MILLIONS = 84
_T5_MILLIONS = 4762
OTHER_MILLIONS: Mapping[str, int] = {
    "sd20": 340 + _VAE_MILLIONS,
    "sd21": 340 + _VAE_MILLIONS,
    "sd15": 123 + _VAE_MILLIONS,
    "sdxl": 123 + 695 + _VAE_MILLIONS,
    "dit_xl2_512": _VAE_MILLIONS,
    "sd3_medium": 123 + 695 + _T5_MILLIONS + _VAE_MILLIONS,
    "sd35_medium": 123 + 695 + _T5_MILLIONS + _VAE_MILLIONS,
    "flux_dev": 123 + _T5_MILLIONS + _VAE_MILLIONS,
}
"""VAE and text encoders."""


def download_bytes(name: str, variant: str | None) -> float:
    """Approximate size in bytes of the weight files of a published backbone."""
    is_half = variant is not None or ARCHITECTURES[name].is_joint  # published in half precision
    return (DENOISER_MILLIONS[name] + OTHER_MILLIONS[name]) * 1e6 * (2 if is_half else 4)


def weights_path(name: str) -> Path:
    """The file with the shipped weights of `name` ("mini_unet" or "mini_dit")."""
    return ASSETS / name / "model.safetensors"


def check_revision(name: str, path: Path, revision: str) -> None:
    """Refuse weights that are missing or of another revision.

    Args:
        name: The backbone.
        path: Its weights file.
        revision: The first 12 hex digits of the sha256 of the weights file.

    Raises:
        UserError: the file is missing, or its sha256 begins with other digits.

    """
    if not path.is_file():
        raise UserError(
            f"backbone={name}: {path} is missing; allowed: a complete copy of the package, such "
            "as `git checkout -- bigain/assets` or a new installation gives"
        )
    actual = file_sha256(path)[:12]
    if actual != revision:
        raise UserError(
            f"backbone.revision={revision}: the weights of {name} in this package are {actual}; "
            f"set backbone.revision={actual} if you mean them"
        )

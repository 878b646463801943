import json
from pathlib import Path

import pytest

from bigain.backbones.weight_files import (
    components_of,
    files_of,
    list_files,
    missing_shards,
    problem,
    wanted,
)

UNET, VAE = components_of("sd20")[:2]
CONFIG = "unet/config.json"
WHOLE = "unet/diffusion_pytorch_model.safetensors"
HALF = "unet/diffusion_pytorch_model.fp16.safetensors"
SHARDS = [f"unet/diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (1, 2)]
HALF_SHARDS = [f"unet/diffusion_pytorch_model.fp16-0000{i}-of-00002.safetensors" for i in (1, 2)]
INDEX = "unet/diffusion_pytorch_model.safetensors.index.json"
HALF_INDEX = "unet/diffusion_pytorch_model.safetensors.index.fp16.json"
PICKLED = "unet/diffusion_pytorch_model.bin"


@pytest.mark.parametrize(
    ("name", "folders"),
    [
        ("sd20", "unet vae text_encoder tokenizer scheduler"),
        ("sd15", "unet vae text_encoder tokenizer scheduler"),
        ("sdxl", "unet vae text_encoder text_encoder_2 tokenizer tokenizer_2 scheduler"),
        ("dit_xl2_512", "transformer vae scheduler"),
    ],
)
def test_components_of_every_backbone(name: str, folders: str) -> None:
    assert [component.folder for component in components_of(name)] == folders.split()


def test_tiny_pipelines_have_all_and_nothing_that_is_not_loaded(
    pipelines: dict[str, Path],
) -> None:
    for name, folder in pipelines.items():
        files = list_files(folder)
        assert all(problem(files, part, None) is None for part in components_of(name))
        assert set(wanted(files, components_of(name), None)) == files


@pytest.mark.parametrize(
    ("files", "variant", "weights"),
    [
        ([WHOLE, HALF, PICKLED], None, [WHOLE]),
        ([WHOLE, HALF, PICKLED], "fp16", [HALF]),
        ([INDEX, *SHARDS, HALF_INDEX, *HALF_SHARDS], None, [INDEX, *SHARDS]),
        ([INDEX, *SHARDS, HALF_INDEX, *HALF_SHARDS], "fp16", [HALF_INDEX, *HALF_SHARDS]),
        (SHARDS, None, []),
        ([WHOLE], "fp16", []),
        ([PICKLED], None, []),
    ],
)
def test_weight_files(files: list[str], variant: str | None, weights: list[str]) -> None:
    assert files_of(files, UNET, variant) == weights
    assert (problem([CONFIG, *files], UNET, variant) is None) == bool(weights)


@pytest.mark.parametrize(
    ("files", "variant", "told"),
    [
        ([], None, "has no folder unet/"),
        (["vae/config.json"], None, "has no folder unet/"),
        ([WHOLE], None, "has no unet/config.json"),
        ([CONFIG], None, f"has no {WHOLE}"),
        ([CONFIG, WHOLE], "fp16", f"has no {HALF}, but full precision; set backbone.variant=null"),
        ([CONFIG, HALF], None, f"has no {WHOLE}, but half precision; set backbone.variant=fp16"),
        ([CONFIG, PICKLED], None, f"has {PICKLED} but no {WHOLE}; pickled weights are not opened"),
        ([CONFIG, PICKLED], None, "scripts/to_safetensors.py"),
    ],
)
def test_what_is_missing_is_named(files: list[str], variant: str | None, told: str) -> None:
    found = problem(files, UNET, variant)
    assert found is not None
    assert told in found


def test_pickled_weights_of_a_text_encoder_are_recognised_too() -> None:
    encoder = components_of("sd20")[2]
    files = ["text_encoder/config.json", "text_encoder/pytorch_model.bin"]
    assert "has text_encoder/pytorch_model.bin" in str(problem(files, encoder, None))


def test_a_tokenizer_is_a_vocabulary_of_either_form() -> None:
    tokenizer = components_of("sd20")[3]
    assert problem(["tokenizer/vocab.json"], tokenizer, None) is None
    assert problem(["tokenizer/tokenizer.json"], tokenizer, None) is None
    told = "has no tokenizer/vocab.json or tokenizer.json"
    assert problem(["tokenizer/merges.txt"], tokenizer, None) == told


def test_only_what_is_read_is_downloaded() -> None:
    files = [
        *("model_index.json", "README.md", "v2.ckpt", "safety_checker/model.safetensors"),
        *(CONFIG, WHOLE, HALF, PICKLED, INDEX, *SHARDS),
        *("vae/config.json", "vae/diffusion_pytorch_model.safetensors"),
    ]
    assert wanted(files, [UNET, VAE], None) == sorted(
        ["model_index.json", CONFIG, WHOLE, "vae/config.json", files[-1]]
    )


def test_shards_that_an_index_lists_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    names = [Path(shard).name for shard in SHARDS]
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a": names[0], "b": names[1]}}))
    (tmp_path / SHARDS[0]).touch()
    assert missing_shards(tmp_path, [INDEX, SHARDS[0]]) == [names[1]]
    (tmp_path / SHARDS[1]).touch()
    assert missing_shards(tmp_path, [INDEX, *SHARDS]) == []

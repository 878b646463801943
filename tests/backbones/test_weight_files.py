import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bigain.backbones.denoisers import build_denoiser
from bigain.backbones.weight_files import (
    DENOISER_MILLIONS,
    OTHER_MILLIONS,
    check_revision,
    components_of,
    damage,
    download_bytes,
    files_of,
    list_files,
    missing_shards,
    problem,
    wanted,
)
from bigain.config.architectures import ARCHITECTURES
from bigain.errors import UserError

UNET, VAE = components_of("sd20")[:2]
CONFIG = "unet/config.json"
WHOLE = "unet/diffusion_pytorch_model.safetensors"
HALF = "unet/diffusion_pytorch_model.fp16.safetensors"
SHARDS = [f"unet/diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (1, 2)]
HALF_SHARDS = [f"unet/diffusion_pytorch_model.fp16-0000{i}-of-00002.safetensors" for i in (1, 2)]
INDEX = "unet/diffusion_pytorch_model.safetensors.index.json"
HALF_INDEX = "unet/diffusion_pytorch_model.safetensors.index.fp16.json"
SDXL_TEXTS = "text_encoder text_encoder_2 tokenizer tokenizer_2"
SD3_TEXTS = "text_encoder text_encoder_2 text_encoder_3 tokenizer tokenizer_2 tokenizer_3"
PICKLED = "unet/diffusion_pytorch_model.bin"


@pytest.mark.parametrize(
    ("name", "folders"),
    [
        ("sd20", "unet vae text_encoder tokenizer scheduler"),
        ("sd21", "unet vae text_encoder tokenizer scheduler"),
        ("sd15", "unet vae text_encoder tokenizer scheduler"),
        ("sdxl", f"unet vae {SDXL_TEXTS} scheduler"),
        ("dit_xl2_512", "transformer vae scheduler"),
        ("sd3_medium", f"transformer vae {SD3_TEXTS} scheduler"),
        ("sd35_medium", f"transformer vae {SD3_TEXTS} scheduler"),
        ("flux_dev", f"transformer vae {SDXL_TEXTS} scheduler"),
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


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(3, 4), "b": torch.ones(5)}, path, metadata={"format": "pt"})
    return path


def test_an_intact_file_has_no_damage(weights: Path, tmp_path: Path) -> None:
    assert damage(weights) is None
    save_file({}, tmp_path / "empty.safetensors")
    assert damage(tmp_path / "empty.safetensors") is None


@pytest.mark.parametrize("change", [-1, -40, 4])
def test_a_file_of_the_wrong_length_is_named_with_both_sizes(weights: Path, change: int) -> None:
    content = weights.read_bytes()
    weights.write_bytes((content + bytes(4))[: len(content) + change])
    assert damage(weights) == f"has {len(content) + change} bytes instead of {len(content)}"


@pytest.mark.parametrize("kept", [0, 5, 8, 30])
def test_a_file_without_its_whole_header_is_cut_short(weights: Path, kept: int) -> None:
    weights.write_bytes(weights.read_bytes()[:kept])
    assert "cut short" in str(damage(weights))


def test_a_pointer_of_git_lfs_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert "git lfs pull" in str(damage(path))


@pytest.mark.parametrize(
    "header",
    [b"no json", b"[]", json.dumps({"a": {"dtype": "F32"}}).encode(), b'{"a": 1}', b"\xff\xfe"],
)
def test_another_format_is_recognised(header: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(20))
    assert "safetensors" in str(damage(path))


def test_every_published_model_has_a_size() -> None:
    published = {name for name in ARCHITECTURES if not name.startswith("mini_")}
    assert set(DENOISER_MILLIONS) == set(OTHER_MILLIONS) == published


@pytest.mark.parametrize("name", sorted(DENOISER_MILLIONS))
def test_denoisers_are_as_large_as_their_architectures(name: str) -> None:
    denoiser = build_denoiser(name, device="meta")
    counted = sum(parameter.numel() for parameter in denoiser.parameters())
    assert DENOISER_MILLIONS[name] == pytest.approx(counted / 1e6, abs=1)


def test_half_precision_files_are_half_as_large() -> None:
    assert download_bytes("sd20", None) == pytest.approx(5.2e9, rel=0.01)
    assert download_bytes("sd20", "fp16") == download_bytes("sd20", None) / 2


def test_other_weights_are_refused_by_their_own_revision(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"other")
    actual = hashlib.sha256(b"other").hexdigest()[:12]
    with pytest.raises(UserError, match=f"revision=000000000000: .* are {actual}; set"):
        check_revision("mini_dit", file, "000000000000")


def test_a_package_without_its_weights_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mini_dit: .*none\.safetensors is missing; allowed: a"):
        check_revision("mini_dit", tmp_path / "none.safetensors", "0" * 12)

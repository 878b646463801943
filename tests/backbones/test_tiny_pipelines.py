import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from safetensors.torch import load_file
from transformers import CLIPTokenizer

from bigain.config.architectures import ARCHITECTURES
from bigain.errors import UserError
from bigain.testing.backbones import LAYOUTS, byte_pair_vocabulary, save_tiny_pipeline

PIPELINES: dict[str, Any] = {
    "sd20": diffusers.StableDiffusionPipeline,
    "sd21": diffusers.StableDiffusionPipeline,
    "sd15": diffusers.StableDiffusionPipeline,
    "sdxl": diffusers.StableDiffusionXLPipeline,
    "dit_xl2_512": diffusers.DiTPipeline,
    "sd3_medium": diffusers.StableDiffusion3Pipeline,
    "sd35_medium": diffusers.StableDiffusion3Pipeline,
    "flux_dev": diffusers.FluxPipeline,
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_diffusers_own_pipeline_loads_it_and_makes_an_image(
    pipelines: dict[str, Path], name: str
) -> None:
    pipeline = PIPELINES[name].from_pretrained(pipelines[name], use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    wanted: dict[str, Any] = {"prompt": "a photo of a dog"}
    wanted = {"class_labels": [3]} if name == "dit_xl2_512" else wanted
    side = 64 if ARCHITECTURES[name].is_flow else 16
    wanted |= {"height": side, "width": side} if side == 64 else {}
    image = pipeline(**wanted, num_inference_steps=2, output_type="np").images[0]
    assert image.shape == (side, side, 3)


@pytest.mark.parametrize("name", LAYOUTS)
def test_it_is_tiny(pipelines: dict[str, Path], name: str) -> None:
    assert sum(path.stat().st_size for path in pipelines[name].rglob("*")) < 1_000_000


def test_the_same_seed_gives_the_same_weights_and_leaves_torchs_generator_alone(
    tmp_path: Path,
) -> None:
    state = torch.get_rng_state()
    for seed, folder in ((0, "a"), (0, "b"), (1, "c")):
        save_tiny_pipeline("dit_xl2_512", tmp_path / folder, seed=seed)
    assert torch.equal(state, torch.get_rng_state())
    file = "transformer/diffusion_pytorch_model.safetensors"
    a, b, c = ((tmp_path / folder / file).read_bytes() for folder in "abc")
    assert a == b != c


def test_half_precision_files_have_the_names_of_the_hub(tmp_path: Path) -> None:
    save_tiny_pipeline("sd20", tmp_path, variant="fp16")
    weights = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.safetensors")}
    assert weights == {
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "vae/diffusion_pytorch_model.fp16.safetensors",
        "text_encoder/model.fp16.safetensors",
    }
    half = load_file(tmp_path / "unet" / "diffusion_pytorch_model.fp16.safetensors")
    assert {tensor.dtype for tensor in half.values()} == {torch.float16}


def test_the_index_names_every_component(pipelines: dict[str, Path]) -> None:
    index = json.loads((pipelines["sdxl"] / "model_index.json").read_text())
    folders = {path.name for path in pipelines["sdxl"].iterdir() if path.is_dir()}
    assert {key for key in index if not key.startswith("_")} == folders
    assert index["text_encoder_2"] == ["transformers", "CLIPTextModelWithProjection"]


def test_frequent_neighbours_are_merged_first() -> None:
    vocabulary, rules = byte_pair_vocabulary("aab aab aab ab b", 3)
    assert rules == ["a b</w>", "a ab</w>"]
    assert {"aab</w>", "ab</w>", "a", "b</w>", "<|startoftext|>"} <= set(vocabulary)
    assert sorted(vocabulary.values()) == list(range(len(vocabulary)))


def test_the_tokenizer_reads_every_text_and_gives_it_back(pipelines: dict[str, Path]) -> None:
    tokenizer: Any = CLIPTokenizer.from_pretrained(pipelines["sd20"], subfolder="tokenizer")
    for text in ("a photo of a beagle, a type of pet.", "x-ray of 3 zebras?"):
        ids = tokenizer(text).input_ids
        assert tokenizer.unk_token_id not in ids[1:-1]
        assert tokenizer.decode(ids, skip_special_tokens=True).replace(" ", "") == text.replace(
            " ", ""
        )
    common, rare = (len(tokenizer(text).input_ids) for text in ("photo of", "zxqjk"))
    assert common == 4
    assert rare == 7


def test_padding_is_that_of_the_published_tokenizers(pipelines: dict[str, Path]) -> None:
    pads = {}
    for name, part in (("sd20", ""), ("sd15", ""), ("sdxl", ""), ("sdxl", "_2")):
        loaded: Any = CLIPTokenizer.from_pretrained(pipelines[name], subfolder=f"tokenizer{part}")
        pads[name + part] = loaded.pad_token
        assert loaded.model_max_length == 77
    end = "<|endoftext|>"
    assert pads == {"sd20": "!", "sd15": end, "sdxl": end, "sdxl_2": "!"}


def test_ids_follow_the_order_of_the_rules() -> None:
    vocabulary, rules = byte_pair_vocabulary("the cat sat on the mat", 20)
    ids = [vocabulary[rule.replace(" ", "")] for rule in rules]
    assert all(before < after for before, after in pairwise(ids))


def test_an_unknown_name_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^backbone=mini_dit: no tiny version; allowed: sd20"):
        save_tiny_pipeline("mini_dit", tmp_path)

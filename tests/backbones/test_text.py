import shutil
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from bigain.backbones import text
from bigain.backbones.text import encode_prompts
from bigain.errors import UserError

PROMPTS = (
    "a photo of a beagle, a type of pet.",
    "a photo of a dog.",
    "x",
    " ".join(["a cat"] * 60),
)
CPU = torch.device("cpu")


def of_the_pipeline(folder: Path, name: str) -> Any:
    cls: Any = (
        diffusers.StableDiffusionXLPipeline if name == "sdxl" else diffusers.StableDiffusionPipeline
    )
    return cls.from_pretrained(folder, use_safetensors=True)


@pytest.mark.parametrize("name", ["sd20", "sd15"])
def test_equals_the_pipelines_own_embeddings(pipelines: dict[str, Path], name: str) -> None:
    pipeline = of_the_pipeline(pipelines[name], name)
    expected, _ = pipeline.encode_prompt(
        list(PROMPTS), CPU, num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    found = encode_prompts(pipelines[name], PROMPTS, variant=None, device=CPU)
    assert found.pooled is None
    assert found.context.shape == (4, 77, 16)
    assert torch.allclose(found.context, expected, atol=1e-6)


def test_equals_the_embeddings_of_sdxls_pipeline(pipelines: dict[str, Path]) -> None:
    pipeline = of_the_pipeline(pipelines["sdxl"], "sdxl")
    expected, _, pooled, _ = pipeline.encode_prompt(
        list(PROMPTS), device=CPU, num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    found = encode_prompts(pipelines["sdxl"], PROMPTS, variant=None, device=CPU)
    assert found.pooled is not None
    assert found.context.shape == (4, 77, 32)
    assert torch.allclose(found.context, expected, atol=1e-6)
    assert torch.allclose(found.pooled, pooled, atol=1e-6)


@pytest.mark.parametrize("name", ["sd20", "sdxl"])
def test_no_prompt_depends_on_the_others(
    pipelines: dict[str, Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = encode_prompts(pipelines[name], PROMPTS, variant=None, device=CPU)
    monkeypatch.setattr(text, "_BATCH", 3)
    apart = encode_prompts(pipelines[name], PROMPTS[::-1], variant=None, device=CPU)
    assert torch.allclose(together.context, apart.context.flip(0), atol=1e-6)
    if together.pooled is not None:
        assert apart.pooled is not None
        assert torch.allclose(together.pooled, apart.pooled.flip(0), atol=1e-6)


def test_different_prompts_have_different_embeddings(pipelines: dict[str, Path]) -> None:
    context = encode_prompts(pipelines["sd20"], PROMPTS, variant=None, device=CPU).context
    assert len({tuple(row.flatten().tolist()) for row in context}) == len(PROMPTS)
    assert context.dtype == torch.float32


@pytest.mark.parametrize("part", ["tokenizer", "tokenizer_2"])
def test_a_damaged_vocabulary_is_one_line(
    tmp_path: Path, pipelines: dict[str, Path], part: str
) -> None:
    folder = tmp_path / "pipeline"
    shutil.copytree(pipelines["sdxl"], folder)
    (folder / part / "vocab.json").write_text("{")
    with pytest.raises(UserError, match=f"{part}: is no tokenizer of CLIP") as caught:
        encode_prompts(folder, PROMPTS, variant=None, device=CPU)
    assert "\n" not in str(caught.value)

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bigain.errors import UserError
from bigain.figures import importance, masks
from bigain.figures.request import FigureRequest
from bigain.figures.scene import Scene, scenes
from bigain.testing.backbones import save_tiny_pipeline
from bigain.testing.datasets import write_tiny


def test_a_scene_is_a_real_image_as_the_model_sees_it(scene: Scene) -> None:
    assert scene.title == "mini U-Net"
    assert scene.image.shape == (32, 32)
    assert scene.latents.shape == (1, 4, 16, 16)
    assert np.array_equal(scene.backbone.decode(scene.latents), scene.image[2:-2, 2:-2])


def test_torch_keeps_to_one_thread_inside(asked: FigureRequest) -> None:
    before = torch.get_num_threads()
    with scenes(replace(asked, backbone="mini_dit", extra=("seed=3",))) as (one,):
        assert torch.get_num_threads() == 1
        assert (one.title, one.seed) == ("mini DiT", 3)
    assert torch.get_num_threads() == before


def test_a_limit_that_cuts_the_image_off_is_named(asked: FigureRequest) -> None:
    few = replace(asked, extra=("dataset.limit=5",))
    with pytest.raises(UserError, match=r"^dataset.limit=5: allowed: 18 or more"), scenes(few):
        pass


def test_without_the_papers_weights_or_data_there_is_one_line(
    asked: FigureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    paper = replace(asked, profile="paper", extra=(f"paths.data={asked.results}",))
    with pytest.raises(UserError, match="pets") as caught, scenes(paper):
        pass
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_figures_5_and_6_of_a_published_backbone_with_tiny_weights(
    asked: FigureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading, prompts, a colour image and its latents, as they will be with the real weights."""
    save_tiny_pipeline("sd20", asked.results / "model")
    write_tiny("pets", asked.results / "data")
    monkeypatch.setattr(importance, "DRAWS", 2)
    extra: tuple[str, ...] = ("dataset.limit=18", "device=cpu", "dtype=float32")
    places = ("backbone.path=", asked.results / "model"), ("dataset.root=", asked.results / "data")
    extra += tuple(f"{key}{folder}" for key, folder in places)
    paper = replace(asked, profile="paper", extra=extra)
    written = [*importance.produce(paper), *masks.produce(paper)]
    assert [Path(path).name for path in written if path.endswith("png")] == [
        *("figure5.png", "figure6.png"),
    ]
    with scenes(paper) as (one,):
        assert one.title == "SD-2.0"
        assert one.image.shape[2] == 3

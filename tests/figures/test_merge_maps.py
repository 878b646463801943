from pathlib import Path

import numpy as np
import pytest
import torch

from bigain import build
from bigain.backbones.base import Backbone
from bigain.compose import compose_config
from bigain.figures.merge_maps import MergeMap, draw_merge_maps, merge_map
from bigain.operators import LGTM, Identity, ToMe


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return build.build_backbone(compose_config([]).backbone, torch.device("cpu"), "float32")


@pytest.fixture(scope="module")
def latents(backbone: Backbone) -> torch.Tensor:
    return backbone.encode(build.build_dataset(compose_config([]).dataset)[0].image)


def test_map_owns_every_token_and_keeps_what_the_operator_keeps(
    backbone: Backbone, latents: torch.Tensor
) -> None:
    each = merge_map("L-GTM", LGTM(0.7), backbone, latents, label=0, timestep=325)
    assert each.owner.shape == each.score.shape == (16, 16)
    assert len(np.unique(each.owner)) == 256 - int(256 * 0.7)
    assert len(each.destinations) == 64
    for token in each.destinations:
        row, column = divmod(int(token), 16)
        cell = each.score[row // 2 * 2 : row // 2 * 2 + 2, column // 2 * 2 : column // 2 * 2 + 2]
        assert each.score[row, column] == cell.min()


def test_the_denoiser_is_left_as_it_was(backbone: Backbone, latents: torch.Tensor) -> None:
    times, labels = torch.tensor([325]), torch.tensor([0])
    with torch.inference_mode():
        before = backbone.predict_noise(latents, times, labels)
        merge_map("ToMe", ToMe(0.5), backbone, latents, label=0, timestep=325)
        assert torch.equal(before, backbone.predict_noise(latents, times, labels))


def test_an_operator_that_does_not_merge_has_no_map(
    backbone: Backbone, latents: torch.Tensor
) -> None:
    with pytest.raises(TypeError, match="not a merge"):
        merge_map("none", Identity(), backbone, latents, label=0, timestep=325)


def test_picture_has_a_row_per_image(tmp_path: Path) -> None:
    owner = np.arange(16).reshape(4, 4) // 2
    each = MergeMap("toy", owner, np.array([0, 2]), np.zeros((4, 4), dtype=np.float32))
    image = np.zeros((8, 8), dtype=np.uint8)
    heights = []
    for rows in (1, 2):
        path = tmp_path / f"{rows}.png"
        draw_merge_maps(path, [("image", image, [each, each])] * rows)
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG")
        heights.append(int.from_bytes(content[20:24], "big"))
    assert heights[1] > 1.5 * heights[0]

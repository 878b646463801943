"""Figures 5 and 6, and the image and backbone that they show."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bigain.errors import UserError
from bigain.figures import one_image
from bigain.figures.one_image import (
    CELL,
    RATIO,
    MaskRow,
    Scene,
    draw_importance,
    draw_masks,
    importance_maps,
    produce_importance,
    produce_masks,
    scenes,
    token_kinds,
)
from bigain.figures.request import FigureRequest
from bigain.operators import LGTM, ToMe
from bigain.tasks.token_maps import TokenMap
from bigain.testing.backbones import save_tiny_pipeline
from bigain.testing.datasets import write_tiny

Plan = Callable[..., tuple[TokenMap, ...]]


def test_a_scene_holds_the_image_as_the_model_sees_it(scene: Scene) -> None:
    assert scene.title == "mini U-Net"
    assert scene.image.shape == (32, 32)
    assert scene.latents.shape == (1, 4, 16, 16)
    assert np.array_equal(scene.backbone.decode(scene.latents), scene.image[2:-2, 2:-2])


def test_torch_uses_one_thread_inside(call: FigureRequest) -> None:
    before = torch.get_num_threads()
    with scenes(replace(call, backbone="mini_dit", extra=("seed=3",))) as (one,):
        assert torch.get_num_threads() == 1
        assert (one.title, one.seed) == ("mini DiT", 3)
    assert torch.get_num_threads() == before


def test_a_limit_below_the_image_is_refused(call: FigureRequest) -> None:
    few = replace(call, extra=("dataset.limit=5",))
    with pytest.raises(UserError, match=r"^dataset.limit=5: allowed: 18 or more"), scenes(few):
        pass


def test_maps_are_functions_of_seed_image_and_timestep(scene: Scene) -> None:
    maps = importance_maps(scene, 200, 3)
    assert maps.shape == (3, 16, 16)
    assert np.array_equal(maps, importance_maps(scene, 200, 3))
    assert not np.array_equal(maps[0], maps[1])
    assert not np.array_equal(maps, importance_maps(scene, 300, 3))
    assert not np.array_equal(maps, importance_maps(replace(scene, seed=1), 200, 3))


def test_more_draws_do_not_change_the_first_ones(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = importance_maps(scene, 200, 2)
    monkeypatch.setattr(one_image, "_DRAWS_AT_ONCE", 2)
    assert np.allclose(importance_maps(scene, 200, 5)[:2], few, rtol=1e-4, atol=1e-5)


def test_without_noise_the_map_shows_the_edges_of_the_image(scene: Scene) -> None:
    """At t = 0 tokens on the contour score higher than those of flat background."""
    mean = importance_maps(scene, 0, 4).mean(axis=0)
    tokens = scene.image.reshape(16, 2, 16, 2).mean(axis=(1, 3))
    up, down = np.roll(tokens, 1, 0), np.roll(tokens, -1, 0)
    left, right = np.roll(tokens, 1, 1), np.roll(tokens, -1, 1)
    contrast = np.abs(4 * tokens - up - down - left - right)
    inner = np.s_[2:-2, 2:-2]
    edge, flat = contrast[inner] > 100, contrast[inner] == 0
    assert mean[inner][edge].mean() > 1.5 * mean[inner][flat].mean()


def test_figure_5_shows_one_draw_and_the_mean_of_all_per_timestep(scene: Scene) -> None:
    maps = np.arange(2 * 4, dtype=np.float32).reshape(2, 2, 2)
    axes = draw_importance([(scene, {20: maps, 100: maps + 1})]).axes
    assert [axis.get_title() for axis in axes] == ["mini U-Net", "t = 20", "t = 100", "", "", ""]
    shown = [axis.images[0].get_array() for axis in (axes[2], axes[5])]
    assert np.array_equal(shown[0], maps[0] + 1)  # type: ignore[arg-type]
    assert np.array_equal(shown[1], maps.mean(axis=0) + 1)  # type: ignore[arg-type]


def test_every_token_is_merged_a_destination_or_left_alone(plan: Plan) -> None:
    for operator in (ToMe(RATIO, cell=CELL), LGTM(RATIO, cell=CELL)):
        each = plan(operator)[0]
        kinds = token_kinds(each)
        assert np.bincount(kinds.ravel()).tolist() == [230, 16, 10]
        cells = (kinds == 1).reshape(4, 4, 4, 4).sum(axis=(1, 3))
        assert (cells == 1).all(), "one destination in each cell"
        alone = np.flatnonzero(kinds.ravel() == 2)
        outputs, sizes = np.unique(each.sources, return_counts=True)
        assert {each.sources.ravel()[token] for token in alone} <= set(outputs[sizes == 1])
    few = plan(LGTM(0.1, cell=CELL))[0]
    assert (token_kinds(few) == 1).sum() == 16, "also destinations that no token joins"


def test_figure_6_shows_image_score_and_both_masks(scene: Scene, plan: Plan) -> None:
    tome, lgtm = (plan(kind(RATIO, cell=CELL))[0] for kind in (ToMe, LGTM))
    axes = draw_masks([MaskRow(scene, tome, lgtm)]).axes
    assert len(axes) == 5
    assert {axis.get_xlabel() for axis in axes[2:4]} == {
        "230 merged, 16 destinations, 10 left alone"
    }
    scores, bar = np.asarray(axes[1].images[0].get_array()), axes[4].get_ylim()
    assert bar == pytest.approx((scores.min(), scores.max()))
    first, second = (np.asarray(axis.images[-1].get_array()) for axis in axes[2:4])
    assert not np.array_equal(first, second)


@pytest.mark.usefixtures("only_svg")
def test_the_figures_are_the_same_every_time(
    call: FigureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_image, "DRAWS", 2)
    monkeypatch.setattr(one_image, "TIMESTEPS", (100,))
    one = replace(call, backbone="mini_dit")
    files = [str(one.folder / f"figure{number}.svg") for number in (5, 6)]
    written = []
    for _ in range(2):
        assert [*produce_importance(one), *produce_masks(one)] == files
        written.append([Path(path).read_bytes() for path in files])
    assert written[0] == written[1]


@pytest.mark.slow
def test_figures_5_and_6_of_a_published_backbone_with_tiny_weights(
    call: FigureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading, prompts, a colour image and its latents, as they will be with the real weights."""
    save_tiny_pipeline("sd20", call.results / "model")
    write_tiny("pets", call.results / "data")
    monkeypatch.setattr(one_image, "DRAWS", 2)
    extra: tuple[str, ...] = ("dataset.limit=18", "device=cpu", "dtype=float32")
    places = (
        ("backbone.path=", call.results / "model"),
        ("dataset.root=", call.results / "data"),
    )
    extra += tuple(f"{key}{folder}" for key, folder in places)
    paper = replace(call, profile="paper", extra=extra)
    written = [*produce_importance(paper), *produce_masks(paper)]
    assert [Path(path).name for path in written if path.endswith("png")] == [
        *("figure5.png", "figure6.png"),
    ]
    with scenes(paper) as (one,):
        assert one.title == "SD-2.0"
        assert one.image.shape[2] == 3

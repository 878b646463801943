from dataclasses import replace

import numpy as np
import pytest

from bigain.figures import importance
from bigain.figures.importance import ImportanceRow, draw_importance, draws, produce
from bigain.figures.request import FigureRequest
from bigain.figures.scene import Scene


def test_maps_are_functions_of_seed_image_and_timestep(scene: Scene) -> None:
    maps = draws(scene, 200, 3)
    assert maps.shape == (3, 16, 16)
    assert np.array_equal(maps, draws(scene, 200, 3))
    assert not np.array_equal(maps[0], maps[1])
    assert not np.array_equal(maps, draws(scene, 300, 3))
    assert not np.array_equal(maps, draws(replace(scene, seed=1), 200, 3))


def test_more_draws_leave_the_first_ones_as_they_are(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = draws(scene, 200, 2)
    monkeypatch.setattr(importance, "_AT_ONCE", 2)
    assert np.allclose(draws(scene, 200, 5)[:2], few, rtol=1e-4, atol=1e-5)


def test_without_noise_the_map_shows_the_edges_of_the_image(scene: Scene) -> None:
    """At t = 0 tokens on the contour score higher than those of flat background."""
    mean = draws(scene, 0, 4).mean(axis=0)
    tokens = scene.image.reshape(16, 2, 16, 2).mean(axis=(1, 3))
    up, down = np.roll(tokens, 1, 0), np.roll(tokens, -1, 0)
    left, right = np.roll(tokens, 1, 1), np.roll(tokens, -1, 1)
    contrast = np.abs(4 * tokens - up - down - left - right)
    inner = np.s_[2:-2, 2:-2]
    edge, flat = contrast[inner] > 100, contrast[inner] == 0
    assert mean[inner][edge].mean() > 1.5 * mean[inner][flat].mean()


def test_one_draw_and_the_mean_of_all_per_timestep(scene: Scene) -> None:
    maps = np.arange(2 * 4, dtype=np.float32).reshape(2, 2, 2)
    axes = draw_importance([ImportanceRow(scene, {20: maps, 100: maps + 1})]).axes
    assert [axis.get_title() for axis in axes] == ["mini U-Net", "t = 20", "t = 100", "", "", ""]
    assert [axis.get_ylabel() for axis in (axes[1], axes[4])] == ["one draw", "mean of 2"]
    shown = [axis.images[0].get_array() for axis in (axes[2], axes[5])]
    assert np.array_equal(shown[0], maps[0] + 1)  # type: ignore[arg-type]
    assert np.array_equal(shown[1], maps.mean(axis=0) + 1)  # type: ignore[arg-type]


@pytest.mark.usefixtures("only_svg")
def test_the_figure_is_the_same_every_time(
    asked: FigureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importance, "DRAWS", 2)
    monkeypatch.setattr(importance, "TIMESTEPS", (100,))
    told = list(produce(asked))
    first = [path.read_bytes() for path in sorted(asked.folder.iterdir())]
    assert told == [str(asked.folder / "figure5.svg")]
    list(produce(asked))
    assert first == [path.read_bytes() for path in sorted(asked.folder.iterdir())]

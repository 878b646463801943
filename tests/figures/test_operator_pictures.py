from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.figure import Figure
from torch import Tensor

from bigain.operators import (
    ABM,
    IEKVD,
    LGTM,
    SCORES,
    AvgPool,
    ByStage,
    CachedAssignment,
    Compression,
    Identity,
    KeyValueReducer,
    KVSelect,
    RandomKey,
    Reduction,
    SiTo,
    ToDo,
    ToMe,
    score_formula,
)
from bigain.operators.selection import SelectReduction
from bigain.tasks.operator_pictures import (
    Subplot,
    draw_rows,
    operator_subplots,
    score_subplots,
)
from bigain.tasks.token_maps import TokenMap

Plan = Callable[..., tuple[TokenMap, ...]]
Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class FirstHalf(KeyValueReducer):
    """Somebody's own operator."""

    def plan(
        self, metric: Tensor, grid: tuple[int, int], draw: RandomKey | None = None
    ) -> Reduction:
        del draw
        numbers = metric.new_tensor(range(self.num_kept(grid))).long()
        return SelectReduction(numbers.expand(len(metric), -1))

    def num_kept(self, grid: tuple[int, int]) -> int:
        return grid[0] * grid[1] // 2


@pytest.mark.parametrize(
    ("operator", "titles", "expected"),
    [
        (ToMe(0.5), ["64 random", "256 -> 128 tokens", "reduced and restored"], "2x2 cell"),
        (LGTM(0.5), ["laplacian_l1", "256 -> 128", "reduced"], "destination (ring)"),
        (LGTM(0.5, score="l2_norm"), ["l2_norm", "256 -> 128", "reduced"], "destination (ring)"),
        (ABM(0.5), ["laplacian_l1", "256 -> 130", "reduced"], "42 smooth tiles"),
        (SiTo(0.7), ["256 -> 77", "whose output", "reduced"], "the 77 that stay"),
        (ToDo(2), ["factor 2", "nearest (alpha 1)"], "8x8 = 64 keys and values"),
        (IEKVD(3, 0.9), ["factor 3, align=reference", "alpha = 0.9"], "3x3 window"),
        (AvgPool(6), ["factor 6", "average (alpha 0)"], "8x8 window"),
        (IEKVD(6, 0.9, "window"), ["factor 6, align=window", "alpha = 0.9"], "6x6 window"),
        (KVSelect(), ["laplacian_l1", "256 -> 64", "keys and values: 64"], "the 64 that stay"),
        (FirstHalf(), ["256 -> 128", "keys and values: 128"], "the 128 that stay"),
        (Identity(), ["256 -> 256", "reduced"], "bare: 256 alone"),
        (
            CachedAssignment(0.5),
            ["encoder: CachedAssignment", "decoder: CachedAssignment"],
            "one map for 2 sites:\nup_blocks.1.attentions.0\nup_blocks.1.attentions.1",
        ),
        (
            ByStage(LGTM(0.5), IEKVD(2, 0.9)),
            ["encoder: LGTM\n256 -> 128 tokens", "decoder: IEKVD\n256 -> 64 keys/values"],
            "2x2 window",
        ),
    ],
)
def test_subplots_show_what_the_operator_did(
    plan: Plan, image: Image, operator: Compression, titles: list[str], expected: str
) -> None:
    subplots = operator_subplots(plan(operator), image)
    assert subplots[0].note == "16x16 = 256 tokens, timestep 325"
    assert len(subplots) == 1 + len(titles)
    for subplot, title in zip(subplots[1:], titles, strict=True):
        assert subplot.title.startswith(title)
        subplot.draw(Figure().add_subplot())
    assert any(expected in subplot.note for subplot in subplots)


def test_a_panel_per_score_with_its_map_and_formula(plan: Plan, image: Image) -> None:
    each = plan(LGTM(0.5))[0]
    subplots = score_subplots(each, image)[1:]
    assert [subplot.title for subplot in subplots] == list(SCORES)
    assert len(subplots) == 10
    for subplot in subplots:
        axis = Figure().add_subplot()
        subplot.draw(axis)
        expected = SCORES[subplot.title](each.metric, each.grid)[0].numpy()
        assert np.array_equal(np.asarray(axis.images[0].get_array()).ravel(), expected)
        assert subplot.note.startswith(score_formula(subplot.title))


def test_rows_become_one_file_with_the_same_bytes(tmp_path: Path) -> None:
    def subplot(title: str) -> Subplot:
        return Subplot(title, "seen " * 20, lambda axis: axis.set_aspect(1))

    rows = [[subplot("a"), subplot("b")], [subplot("c")]]
    figure = draw_rows(tmp_path / "1.png", rows)
    assert [axis.get_title() for axis in figure.axes] == ["a", "b", "c", ""]
    assert figure.axes[0].get_xlabel().count("\n") == 2
    draw_rows(tmp_path / "2.png", rows)
    first, second = ((tmp_path / name).read_bytes() for name in ("1.png", "2.png"))
    assert first.startswith(b"\x89PNG")
    assert first == second

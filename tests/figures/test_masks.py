from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from bigain.figures.masks import CELL, RATIO, MaskRow, draw_masks, produce, token_kinds
from bigain.figures.request import FigureRequest
from bigain.figures.scene import Scene
from bigain.figures.token_maps import TokenMap
from bigain.operators import LGTM, ToMe

Plan = Callable[..., tuple[TokenMap, ...]]


def test_every_token_is_merged_a_destination_or_left_alone(plan: Plan) -> None:
    for operator in (ToMe(RATIO, cell=CELL), LGTM(RATIO, cell=CELL)):
        each = plan(operator)[0]
        kinds = token_kinds(each)
        assert kinds.shape == (16, 16)
        assert np.bincount(kinds.ravel()).tolist() == [230, 16, 10]
        cells = (kinds == 1).reshape(4, 4, 4, 4).sum(axis=(1, 3))
        assert (cells == 1).all(), "one destination in each cell"
        alone = np.flatnonzero(kinds.ravel() == 2)
        owners, sizes = np.unique(each.sources, return_counts=True)
        single = set(owners[sizes == 1])
        assert {each.sources.ravel()[token] for token in alone} <= single


def test_a_destination_that_nobody_joins_is_a_destination(plan: Plan) -> None:
    each = plan(LGTM(0.1, cell=CELL))[0]
    assert (token_kinds(each) == 1).sum() == 16


def test_image_score_and_both_masks_in_a_row(scene: Scene, plan: Plan) -> None:
    tome, lgtm = (plan(kind(RATIO, cell=CELL))[0] for kind in (ToMe, LGTM))
    axes = draw_masks([MaskRow(scene, tome, lgtm)]).axes
    assert [axis.get_title() for axis in axes] == [
        *("image", "Laplacian score, t = 200", "ToMe", "L-GTM (BiGain)"),
    ]
    assert {axis.get_xlabel() for axis in axes[2:]} == {
        "230 merged, 16 destinations, 10 left alone"
    }
    first, second = (np.asarray(axis.images[-1].get_array()) for axis in axes[2:])
    assert not np.array_equal(first, second)


@pytest.mark.usefixtures("only_svg")
def test_the_figure_is_the_same_every_time(asked: FigureRequest) -> None:
    one = replace(asked, backbone="mini_dit")
    told = list(produce(one))
    first = [path.read_bytes() for path in sorted(one.folder.iterdir())]
    assert told == [str(one.folder / "figure6.svg")]
    list(produce(one))
    assert first == [path.read_bytes() for path in sorted(one.folder.iterdir())]

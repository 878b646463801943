from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from bigain.operators import ABM, IEKVD, LGTM, AvgPool, KVSelect, SiTo, ToDo
from bigain.tasks import token_drawings as show
from bigain.tasks.token_maps import TokenMap

Plan = Callable[..., tuple[TokenMap, ...]]
Image = npt.NDArray[np.uint8]


@pytest.fixture
def axis() -> Axes:
    return Figure().add_subplot()


def rings(axis: Axes) -> set[tuple[int, int]]:
    """(row, column) of every ringed token."""
    (line,) = axis.get_lines()
    return {(int(row), int(column)) for column, row in np.asarray(line.get_xydata())}


def boxes(axis: Axes) -> int:
    found = [each for each in axis.collections if isinstance(each, PatchCollection)]
    return sum(len(each.get_paths()) for each in found)


def filled(axis: Axes, colour: str) -> npt.NDArray[np.int64]:
    """Numbers of the tokens covered with `colour`."""
    rgb = np.array(to_rgba(colour)[:3])
    layers = [np.asarray(each.get_array()) for each in axis.images]
    masks = [
        np.isclose(layer[..., :3], rgb).all(axis=-1) & (layer[..., 3] > 0)
        for layer in layers
        if layer.ndim == 3
    ]
    return np.flatnonzero(np.any(masks, axis=0)) if masks else np.empty(0, dtype=np.int64)


def numbers(tokens: npt.NDArray[np.int64]) -> set[tuple[int, int]]:
    return {divmod(int(token), 16) for token in tokens}


def test_the_largest_groups_of_a_merge_are_coloured_and_tied(
    axis: Axes, plan: Plan, image: Image
) -> None:
    each = plan(LGTM(0.7))[0]
    show.show_groups(axis, image, each)
    assert rings(axis) == numbers(each.destinations)
    groups = each.groups()
    for group, colour in zip(groups, show.PALETTE, strict=False):
        assert np.array_equal(filled(axis, colour), group)
    ties = [c for c in axis.collections if isinstance(c, LineCollection)]
    assert [len(tie.get_segments()) for tie in ties] == [len(group) for group in groups[:5]]
    smaller = np.sort(np.concatenate(groups[5:]))
    assert np.array_equal(filled(axis, "#8899BB"), smaller)


def test_rings_of_a_pruning_are_the_kept_tokens_that_others_copy(
    axis: Axes, plan: Plan, image: Image
) -> None:
    each = plan(SiTo(0.7))[0]
    show.show_groups(axis, image, each)
    kept = numbers(np.flatnonzero(each.read))
    assert rings(axis) < kept
    assert len(rings(axis)) == len(each.groups())


def test_tiles_kept_tokens_and_windows_are_counted(plan: Plan, image: Image) -> None:
    def drawn(operator: object, draw: Callable[[Axes, Image, TokenMap], None]) -> Axes:
        axis = Figure().add_subplot()
        draw(axis, image, plan(operator)[0])
        return axis

    assert boxes(drawn(ABM(0.5), show.show_tiles)) == 42
    assert boxes(drawn(KVSelect(0.75), show.show_kept)) == 64
    assert boxes(drawn(IEKVD(2, 0.9), show.show_windows)) == 64
    assert boxes(drawn(ToDo(2), show.show_windows)) == 0
    picked = filled(drawn(ToDo(2), show.show_windows), show.PALETTE[4])
    assert numbers(picked) == {(i, j) for i in range(1, 16, 2) for j in range(1, 16, 2)}
    assert not len(filled(drawn(AvgPool(2), show.show_windows), show.PALETTE[4]))


def test_alignment_moves_the_picks(plan: Plan, image: Image) -> None:
    picks = {}
    for align in ("reference", "window"):
        axis = Figure().add_subplot()
        show.show_windows(axis, image, plan(IEKVD(3, 0.9, align=align))[0])
        picks[align] = {row for row, _ in numbers(filled(axis, show.PALETTE[4]))}
    assert picks == {"reference": {1, 4, 8, 11, 14}, "window": {1, 4, 7, 10, 13}}


def test_scores_and_images_are_shown_as_they_are(axis: Axes, plan: Plan, image: Image) -> None:
    scores = np.arange(6, dtype=np.float32).reshape(2, 3)
    show.show_scores(axis, scores, (1, 1))
    assert np.array_equal(np.asarray(axis.images[0].get_array()), scores)
    assert (axis.get_xlim(), axis.get_ylim()) == ((0, 3), (2, 0))
    other = Figure().add_subplot()
    show.show_through(other, image, plan(KVSelect(0.75))[0])
    seen = other.images[0].get_array()
    assert isinstance(seen, np.ma.MaskedArray)
    assert seen.mask.sum() == 192 * 4

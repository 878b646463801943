from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch

from bigain.backbones.base import Backbone
from bigain.errors import UserError
from bigain.operators import (
    ABM,
    IEKVD,
    LGTM,
    UNCHANGED,
    AvgPool,
    ByStage,
    CachedAssignment,
    Compression,
    Identity,
    KVSelect,
    LinearAlpha,
    MergeReduction,
    SiTo,
    ToDo,
    ToMe,
    score_map,
)
from bigain.operators.scores import PADDINGS
from bigain.patching.selection import SiteSelection
from bigain.tasks.token_maps import TokenMap, first_of_each_stage, token_maps

Plan = Callable[..., tuple[TokenMap, ...]]
ENCODER = "down_blocks.0.attentions.0.transformer_blocks.0"
DECODER = [f"up_blocks.1.attentions.{i}.transformer_blocks.0" for i in (0, 1)]


@pytest.mark.parametrize(
    ("operator", "kept", "shared", "read"),
    [
        (Identity(), 256, 0, 256),
        (ToMe(0.7), 77, None, 256),
        (LGTM(0.7), 77, None, 256),
        (ABM(0.5), 130, 42 * 4, 256),
        (SiTo(0.7), 77, None, 77),
        (ToDo(2), 64, 0, 64),
        (AvgPool(3), 25, 0, 225),
        (IEKVD(2, 0.9), 64, 0, 256),
        (KVSelect(0.75), 64, 0, 64),
    ],
)
def test_every_operator_s_plan_is_read_off(
    plan: Plan, operator: Compression, kept: int, shared: int | None, read: int
) -> None:
    first = plan(operator)[0]
    assert (first.num_kept, first.tokens, first.grid) == (kept, 256, (16, 16))
    assert (first.operator, first.stage, first.sites) == (operator, "encoder", (ENCODER,))
    assert np.allclose(first.weights.sum(axis=1), 1, atol=1e-6)
    assert int(first.read.sum()) == read
    groups = first.groups()
    if shared is not None:
        assert sum(map(len, groups)) == shared
    else:  # every removed token is in a group, each with one token that stays
        assert sum(map(len, groups)) - len(groups) == 256 - kept
    assert [len(group) for group in groups] == sorted(map(len, groups), reverse=True)


@pytest.mark.parametrize("padding", PADDINGS)
def test_groups_of_a_merge_are_its_owners(plan: Plan, padding: str) -> None:
    first = plan(LGTM(0.7, padding=padding))[0]
    assert isinstance(first.reduction, MergeReduction)
    owner = first.reduction.assignment[0].numpy()
    for group in first.groups():
        assert set(owner[group]) == {owner[group[0]]}
        assert np.isclose(first.weights[owner[group[0]], group], 1 / len(group)).all()
    assert len(first.destinations) == 64
    score = score_map("laplacian_l1", first.metric, first.grid, padding)[0].numpy()
    assert np.array_equal(first.scores("laplacian_l1"), score)
    assert np.array_equal(
        first.scores("l1_norm"), score_map("l1_norm", first.metric, first.grid)[0]
    )
    for token in first.destinations:
        row, column = divmod(int(token), 16)
        assert score[row, column] == score[row // 2 * 2 :, column // 2 * 2 :][:2, :2].min()


def test_what_sito_drops_copies_what_it_keeps(plan: Plan) -> None:
    first = plan(SiTo(0.5))[0]
    kept = first.weights.argmax(axis=1)
    assert np.array_equal(np.flatnonzero(first.read), kept)
    assert np.array_equal(first.sources.ravel()[kept], np.arange(128))
    assert not len(first.destinations)


def test_weights_of_a_blend_and_its_alpha(plan: Plan) -> None:
    first = plan(IEKVD(2, 0.6))[0]
    assert first.alpha == pytest.approx(0.6)
    assert sorted(first.weights[0][first.weights[0] > 0]) == pytest.approx([0.1, 0.1, 0.1, 0.7])
    assert first.weights[0].argmax() == 17  # the bottom-right token of the first window
    assert plan(IEKVD(2, LinearAlpha(0.8, 1.2)))[0].alpha == pytest.approx(1.2 - 0.4 * 325 / 999)
    assert plan(ToMe(0.5))[0].alpha is None


def test_a_shared_map_names_the_sites_that_it_serves(plan: Plan) -> None:
    maps = plan(CachedAssignment(0.5))
    assert [list(each.sites) for each in maps] == [[ENCODER], DECODER]
    alone = plan(LGTM(0.5))
    assert [list(each.sites) for each in alone] == [[ENCODER], *([site] for site in DECODER)]
    assert np.array_equal(maps[1].sources, alone[1].sources)


def test_a_hybrid_has_an_operator_per_stage(plan: Plan) -> None:
    stages = first_of_each_stage(plan(ByStage(LGTM(0.5), IEKVD(2, 0.9))))
    assert [(each.stage, each.operator, each.num_kept) for each in stages] == [
        ("encoder", LGTM(0.5), 128),
        ("decoder", IEKVD(2, 0.9), 64),
    ]


def test_the_image_through_an_operator(plan: Plan, image: npt.NDArray[np.uint8]) -> None:
    assert plan(Identity())[0].reduction is UNCHANGED
    assert np.array_equal(plan(Identity())[0].seen_through(image), image)
    tokens = image.reshape(16, 2, 16, 2).transpose(0, 2, 1, 3)
    nearest = plan(ToDo(2))[0].seen_through(image)
    assert np.array_equal(nearest[:2, :2], tokens[1, 1])
    assert nearest.shape == (16, 16)
    average = plan(AvgPool(2))[0].seen_through(image)
    assert np.allclose(average[4:6, 6:8], tokens[4:6, 6:8].mean(axis=(0, 1)))
    pooled = plan(ABM(0.5))[0]
    tile = np.unravel_index(pooled.groups()[0], pooled.grid)
    seen = pooled.seen_through(image).reshape(16, 2, 16, 2).transpose(0, 2, 1, 3)
    assert np.allclose(seen[tile], tokens[tile].mean(axis=0))
    selected = plan(KVSelect(0.75))[0]
    blank = np.isnan(selected.seen_through(image)).reshape(16, 2, 16, 2).all(axis=(1, 3))
    assert np.array_equal(blank, ~selected.read)


def test_a_selection_without_a_site_is_refused(backbone: Backbone, latents: torch.Tensor) -> None:
    with pytest.raises(UserError, match="levels=7"):
        token_maps(
            *(LGTM(0.5), backbone, latents), label=0, timestep=5, sites=SiteSelection(levels=(7,))
        )

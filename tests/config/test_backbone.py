from typing import Any, get_args

import pytest
from pydantic import ValidationError

from bigain.backbones.mini_models import build_mini
from bigain.compose import compose_config
from bigain.config.backbone import BLOCKS, GRIDS, BackboneConfig
from bigain.errors import UserError
from bigain.site_selection import STAGES, SiteSelection
from bigain.sites import find_sites

NAMES = ["mini_unet", "mini_dit"]
LATENTS = {"mini_unet": 16, "mini_dit": 32}


def settings(name: str, **sites: object) -> dict[str, Any]:
    default = {"stages": ["encoder", "decoder"], "levels": [0], "blocks": None}
    return {"name": name, "revision": "0123456789ab", "sites": {**default, **sites}}


def test_every_backbone_is_known_in_size() -> None:
    assert set(GRIDS) == set(get_args(BackboneConfig.model_fields["name"].annotation))
    assert set(BLOCKS) <= set(GRIDS)


@pytest.mark.parametrize("name", NAMES)
def test_sizes_are_those_of_the_model(name: str) -> None:
    model = build_mini(name).denoiser
    if name in BLOCKS:
        assert len(model.transformer_blocks) == BLOCKS[name]
        selection = SiteSelection(blocks=tuple(range(BLOCKS[name])))
    else:
        selection = SiteSelection(stages=STAGES, levels=tuple(range(len(GRIDS[name]) + 3)))
    sites = find_sites(model, selection)
    sides = {site.level: site.grid(LATENTS[name], LATENTS[name]) for site in sites}
    assert sides == {level: (side, side) for level, side in enumerate(GRIDS[name])}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_accepted_is_what_the_model_has(name: str) -> None:
    """Every choice of stages and levels or blocks, held against the model itself."""
    model = build_mini(name).denoiser
    stages = [["encoder"], ["mid"], ["decoder"], ["encoder", "decoder"], ["mid", "encoder"]]
    levels = [[0], [1], [0, 1], [2]]
    blocks: list[object] = [None, "first12", [0], [3, 1], [4], [0, 5]]
    choices = [
        {"stages": s, "levels": n, "blocks": b} for s in stages for n in levels for b in blocks
    ]
    agreed = {True: 0, False: 0}
    for choice in choices:
        try:
            config = BackboneConfig.model_validate(settings(name, **choice))
        except ValidationError:
            with pytest.raises(UserError):
                find_sites(model, SiteSelection(**choice))  # type: ignore[arg-type]
            agreed[False] += 1
        else:
            sites = config.sites
            selection = SiteSelection(sites.stages, sites.levels, sites.blocks)
            found = find_sites(model, selection)
            grids = [site.grid(LATENTS[name], LATENTS[name])[0] for site in found]
            assert config.smallest_grid() == min(grids)
            agreed[True] += 1
    assert min(agreed.values()) >= 4


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["backbone=mini_unet", "backbone.sites.levels=[5]"],
            "backbone.sites.levels=[5]: allowed: a list of distinct integers from 0 to 1, "
            "the levels of backbone=mini_unet",
        ),
        (
            ["backbone=mini_unet", "backbone.sites.levels=[0,0]"],
            "backbone.sites.levels=[0,0]: allowed: a list of distinct integers from 0 to 1, "
            "the levels of backbone=mini_unet",
        ),
        (
            ["backbone=mini_unet", "backbone.sites.blocks=first12"],
            "backbone.sites.blocks=first12: allowed: null, because backbone=mini_unet is selected "
            "by stages and levels",
        ),
        (
            ["backbone=mini_unet", "backbone.sites.stages=[mid]"],
            "backbone.sites.levels=[0]: allowed: a list with 1, because the middle of "
            "backbone=mini_unet is there",
        ),
        (
            ["backbone=mini_dit", "backbone.sites.blocks=[0,4]"],
            "backbone.sites.blocks=[0,4]: allowed: null, first12 or a list of distinct integers "
            "from 0 to 3, the blocks of backbone=mini_dit",
        ),
        (
            ["backbone=mini_dit", "backbone.sites.blocks=[]"],
            "backbone.sites.blocks=[]: allowed: null, first12 or a list of distinct integers "
            "from 0 to 3, the blocks of backbone=mini_dit",
        ),
        (
            ["backbone=mini_dit", "backbone.sites.stages=[encoder]"],
            "backbone.sites.stages=[encoder]: allowed: [encoder, decoder], because "
            "backbone=mini_dit is selected by blocks",
        ),
        (
            ["backbone=mini_dit", "backbone.sites.levels=[1]"],
            "backbone.sites.levels=[1]: allowed: [0], because backbone=mini_dit is selected by "
            "blocks",
        ),
    ],
)
def test_sites_that_do_not_exist_are_one_line(overrides: list[str], expected: str) -> None:
    with pytest.raises(UserError) as caught:
        compose_config(overrides)
    assert str(caught.value) == expected

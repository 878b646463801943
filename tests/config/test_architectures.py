from typing import Any

import pytest

from bigain.backbones.denoisers import build_denoiser
from bigain.config.architectures import ARCHITECTURES
from bigain.patching.selection import STAGES, SiteSelection
from bigain.patching.sites import find_sites

UNETS = ["mini_unet", "sd20", "sd21", "sd15", "sdxl"]
DITS = ["mini_dit", "dit_xl2_512"]
JOINT = ["sd3_medium", "sd35_medium", "flux_dev"]
GRIDS = {
    "mini_unet": (16, 8),
    "mini_dit": (16,),
    "sd20": (64, 32, 16, 8),
    "sd21": (96, 48, 24, 12),
    "sd15": (64, 32, 16, 8),
    "sdxl": (128, 64, 32),
    "dit_xl2_512": (32,),
    **dict.fromkeys(JOINT, (32,)),
}
PARAMETERS = {
    "sd20": 865_910_724,
    "sd21": 865_910_724,
    "sd15": 859_520_964,
    "sdxl": 2_567_463_684,
    "sd3_medium": 2_028_328_000,
    "sd35_medium": 2_243_171_520,
    "flux_dev": 11_901_408_320,
}


def test_the_tables_of_this_file_cover_all() -> None:
    assert set(ARCHITECTURES) == set(GRIDS) == {*UNETS, *DITS, *JOINT}


@pytest.mark.parametrize("name", list(GRIDS))
def test_token_grids(name: str) -> None:
    assert ARCHITECTURES[name].grids == GRIDS[name]


@pytest.mark.parametrize("name", UNETS)
def test_sites_are_the_self_attentions_of_the_model_in_their_order(name: str) -> None:
    architecture = ARCHITECTURES[name]
    side = architecture.settings["sample_size"]
    everywhere = SiteSelection(stages=STAGES, levels=tuple(range(9)))
    sites = find_sites(build_denoiser(name, "meta"), everywhere)
    assert tuple((site.stage, site.level) for site in sites) == architecture.sites
    assert architecture.has_cross_attention
    grids = {site.level: site.grid(side, side) for site in sites}
    assert all(grids[level] == (GRIDS[name][level],) * 2 for level in grids)
    assert architecture.blocks is None


@pytest.mark.parametrize("name", DITS)
def test_blocks_are_those_of_the_model(name: str) -> None:
    architecture = ARCHITECTURES[name]
    assert architecture.blocks is not None
    all_blocks = SiteSelection(blocks=tuple(range(architecture.blocks)))
    model: Any = build_denoiser(name, "meta")
    assert len(model.transformer_blocks) == architecture.blocks
    side = architecture.settings["sample_size"]
    sites = find_sites(model, all_blocks)
    assert {site.grid(side, side) for site in sites} == {(GRIDS[name][0],) * 2}
    assert architecture.sites == ()
    assert not architecture.has_cross_attention


@pytest.mark.parametrize("name", JOINT)
def test_joint_transformers_at_512_pixels(name: str) -> None:
    architecture = ARCHITECTURES[name]
    model: Any = build_denoiser(name, "meta")
    single = getattr(model, "single_transformer_blocks", ())
    assert len(model.transformer_blocks) + len(single) == architecture.blocks
    assert (architecture.latent_channels, architecture.latent_side) == (16, 64)
    assert architecture.is_joint
    assert architecture.is_flow
    assert architecture.sites == ()
    assert not architecture.has_cross_attention


def test_sdxl_has_no_attention_where_it_has_most_tokens() -> None:
    assert {level for _, level in ARCHITECTURES["sdxl"].sites} == {1, 2}
    assert {level for _, level in ARCHITECTURES["sd20"].sites} == {0, 1, 2, 3}


@pytest.mark.parametrize("name", list(PARAMETERS))
def test_number_of_parameters_is_the_published_one(name: str) -> None:
    model = build_denoiser(name, "meta")
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]


def test_the_dit_has_675_million_parameters_and_a_label_table_in_every_block() -> None:
    """diffusers gives each block its own embedding of time and label; the original shares one."""
    model: Any = build_denoiser("dit_xl2_512", "meta")
    total = sum(p.numel() for p in model.parameters())
    embedding = sum(p.numel() for p in model.transformer_blocks[0].norm1.emb.parameters())
    assert total == 749_826_464
    assert total - 27 * embedding == 674_834_720

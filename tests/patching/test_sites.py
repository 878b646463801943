from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from bigain.errors import UserError
from bigain.patching.selection import SCOPES, STAGES, SiteSelection
from bigain.patching.sites import Site, find_sites


def names(model: nn.Module, **settings: object) -> list[str]:
    return [site.name for site in find_sites(model, SiteSelection(**settings))]  # type: ignore[arg-type]


class Block(nn.Module):
    """What a site needs of a transformer block."""

    def __init__(self, *, only_cross_attention: bool = False) -> None:
        super().__init__()
        self.attn1 = nn.Identity()
        self.only_cross_attention = only_cross_attention


class Transformer(nn.Module):
    """A flat transformer of any depth."""

    def __init__(self, depth: int, patch: int = 2, **block: bool) -> None:
        super().__init__()
        self.config = SimpleNamespace(patch_size=patch, sample_size=None)
        self.transformer_blocks = nn.ModuleList([Block(**block) for _ in range(depth)])


@pytest.mark.parametrize(
    ("depth", "settings", "chosen"),
    [
        (28, {}, [1, 2, 3, 4, 5, 7, 8, 9, 10, 11]),
        (28, {"blocks": "first12"}, list(range(12))),
        (7, {}, [0, 1, 2]),
        (7, {"blocks": "first12"}, [0, 1, 2]),
        (1, {}, [0]),
        (5, {"blocks": [3, 0]}, [0, 3]),
    ],
)
def test_blocks_of_a_transformer(
    depth: int, settings: dict[str, object], chosen: list[int]
) -> None:
    assert names(Transformer(depth), **settings) == [f"transformer_blocks.{i}" for i in chosen]


def test_names_lead_to_the_blocks(tiny_model: nn.Module) -> None:
    for site in find_sites(tiny_model):
        assert tiny_model.get_submodule(site.name) is site.block
        assert tiny_model.get_submodule(f"{site.name}.attn1") is site.block.attn1


def test_where_the_metric_is_taken(tiny_unet: nn.Module, tiny_dit: nn.Module) -> None:
    assert {site.metric for site in find_sites(tiny_unet)} == {"block"}
    assert {site.metric for site in find_sites(tiny_dit)} == {"attention"}


def test_patches_divide_the_grid() -> None:
    (site,) = find_sites(Transformer(1, patch=2))
    assert site.grid(32, 18) == (16, 9)


def test_cross_attention_only_is_no_site() -> None:
    with pytest.raises(UserError, match=r"^model=Transformer: .* no self-attention `attn1`"):
        find_sites(Transformer(3, only_cross_attention=True))


@pytest.mark.parametrize("settings", [{}, {"blocks": (0,)}, {"blocks": "first12"}])
def test_joint_attention_is_no_site_whatever_is_selected(settings: dict[str, object]) -> None:
    model = Transformer(3)
    for block in model.transformer_blocks:
        block.attn = block.attn1
        del block.attn1
    with pytest.raises(UserError, match=r"^model=Transformer: .* no self-attention `attn1`"):
        find_sites(model, SiteSelection(**settings))  # type: ignore[arg-type]


def test_a_selection_that_matches_nothing_says_what_there_is(tiny_unet: nn.Module) -> None:
    with pytest.raises(UserError, match=r"levels=5 match no .* decoder 0, decoder 1, encoder 0"):
        find_sites(tiny_unet, SiteSelection(levels=(5,)))
    with pytest.raises(UserError, match="match no self-attention"):
        find_sites(tiny_unet, SiteSelection(stages=()))


@pytest.mark.parametrize("blocks", [(4,), (-1, 0), ()])
def test_blocks_outside_of_the_depth_are_refused(
    tiny_unet: nn.Module, tiny_dit: nn.Module, blocks: tuple[int, ...]
) -> None:
    with pytest.raises(UserError, match=r"^sites\.blocks=.* 0\.\.3, at least one"):
        find_sites(tiny_dit, SiteSelection(blocks=blocks))
    with pytest.raises(UserError, match=r"^sites\.blocks=.* 0\.\.2, at least one"):
        find_sites(tiny_unet, SiteSelection(blocks=blocks))


def test_settings_of_the_other_kind_of_model_are_refused(
    tiny_unet: nn.Module, tiny_dit: nn.Module
) -> None:
    with pytest.raises(UserError, match=r"^sites\.blocks=first12: .* positions in 0\.\.2 of"):
        find_sites(tiny_unet, SiteSelection(blocks="first12"))
    with pytest.raises(UserError, match=r"stages=encoder .*select by blocks"):
        find_sites(tiny_dit, SiteSelection(stages=("encoder",)))
    with pytest.raises(UserError, match=r"levels=1 .*select by blocks"):
        find_sites(tiny_dit, SiteSelection(levels=(1,)))
    assert len(find_sites(tiny_dit, SiteSelection(levels=(0,)))) == 2


def test_a_model_without_attention_has_no_site() -> None:
    with pytest.raises(UserError, match=r"^model=Linear: has no site"):
        find_sites(nn.Linear(2, 2))


ENCODER, DECODER = "down_blocks.0.attentions.0", "up_blocks.1.attentions"


@pytest.mark.parametrize(
    ("settings", "positions"),
    [
        ({"blocks": (0, 2)}, [0, 2]),
        ({"blocks": [2, 0]}, [0, 2]),
        ({"blocks": (1,), "stages": ("decoder",)}, [2]),
        ({"blocks": (0,), "levels": (0, 1), "stages": ("decoder", "encoder")}, [0]),
    ],
)
def test_blocks_of_a_unet_are_positions_among_its_selected_sites(
    tiny_unet: nn.Module, settings: dict[str, object], positions: list[int]
) -> None:
    default = names(tiny_unet)
    assert default == [f"{ENCODER}.transformer_blocks.0"] + [
        f"{DECODER}.{i}.transformer_blocks.0" for i in range(2)
    ]
    assert names(tiny_unet, **settings) == [default[position] for position in positions]
    assert [site.index for site in find_sites(tiny_unet)] == [0, 0, 1]


MODULES = {"self": "attn1", "cross": "attn2", "mlp": "ff"}


@pytest.mark.parametrize("scope", SCOPES)
def test_a_scope_names_the_modules_of_a_block(tiny_unet: nn.Module, scope: str) -> None:
    for site in find_sites(tiny_unet, SiteSelection(scope=scope)):
        parts = scope.split("+")
        assert [part for part, _, _ in site.modules] == parts == list(site.parts)
        for part, path, module in site.modules:
            assert path == f"{site.name}.{MODULES[part]}"
            assert tiny_unet.get_submodule(path) is module


@pytest.mark.parametrize("scope", ["self+cross", "self+cross+mlp"])
def test_a_scope_with_a_module_that_the_blocks_lack_is_refused(
    tiny_dit: nn.Module, scope: str
) -> None:
    message = rf"^scope={scope.replace('+', '.')}: transformer_blocks.0 has no cross module `attn2`"
    with pytest.raises(UserError, match=message) as caught:
        find_sites(tiny_dit, SiteSelection(scope=scope))
    assert "\n" not in str(caught.value)
    assert find_sites(tiny_dit, SiteSelection(scope="self+mlp"))


# Models built as the large ones are, with a forward through each.

FAMILIES: dict[str, dict[str, Any]] = {
    "sd15": {
        "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        "block_out_channels": (8, 8, 16, 16),
        "layers_per_block": 2,
        "attention_head_dim": 4,
        "use_linear_projection": False,
    },
    "sd20": {
        "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        "block_out_channels": (8, 8, 16, 16),
        "layers_per_block": 2,
        "attention_head_dim": (1, 2, 4, 4),
        "use_linear_projection": True,
    },
    "sdxl": {
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "block_out_channels": (8, 8, 16),
        "layers_per_block": 2,
        "attention_head_dim": (1, 2, 4),
        "transformer_layers_per_block": (1, 2, 3),
        "use_linear_projection": True,
    },
}


def unet(family: str) -> Any:
    from diffusers import UNet2DConditionModel  # noqa: PLC0415 - most tests need no diffusers

    torch.manual_seed(0)
    channels = {"in_channels": 2, "out_channels": 2, "norm_num_groups": 4, "cross_attention_dim": 6}
    return UNet2DConditionModel(sample_size=16, **channels, **FAMILIES[family]).eval()


def sites_of(places: list[str], transformers: int) -> list[str]:
    return [f"{place}.transformer_blocks.{i}" for place in places for i in range(transformers)]


@pytest.mark.parametrize("family", ["sd15", "sd20"])
def test_stable_diffusion_has_five_default_sites(family: str) -> None:
    places = [f"down_blocks.0.attentions.{i}" for i in range(2)]
    places += [f"up_blocks.3.attentions.{i}" for i in range(3)]
    model = unet(family)
    assert names(model) == sites_of(places, 1)
    assert {site.level for site in find_sites(model)} == {0}
    assert {site.grid(64, 64) for site in find_sites(model)} == {(64, 64)}


def test_sdxl_begins_at_its_second_level_with_every_block_of_an_attention() -> None:
    """Its highest resolution has no attention; the next has two blocks in each."""
    places = [f"down_blocks.1.attentions.{i}" for i in range(2)]
    places += [f"up_blocks.1.attentions.{i}" for i in range(3)]
    model = unet("sdxl")
    assert names(model) == sites_of(places, 2)
    assert {site.level for site in find_sites(model)} == {1}
    assert {site.grid(128, 128) for site in find_sites(model)} == {(64, 64)}
    lower = [site.index for site in find_sites(model, SiteSelection(("encoder",), (2,)))]
    assert lower == list(range(6))
    with pytest.raises(UserError, match=r"levels=0 match no .* decoder 1, decoder 2, encoder 1"):
        find_sites(model, SiteSelection(levels=(0,)))


@pytest.mark.parametrize("family", list(FAMILIES))
@pytest.mark.parametrize("size", [(16, 16), (11, 21)], ids=str)
def test_grids_of_all_families_are_those_of_the_forward(family: str, size: tuple[int, int]) -> None:
    model = unet(family)
    sites = find_sites(model, SiteSelection(STAGES, (0, 1, 2, 3)))
    seen = tokens_of_a_forward(model, sites, size)
    assert len(seen) == len(sites)
    for site in sites:
        height, width = site.grid(*size)
        assert seen[site.name] == height * width


def tokens_of_a_forward(
    model: Any, sites: tuple[Site, ...], size: tuple[int, int]
) -> dict[str, int]:
    seen: dict[str, int] = {}
    for site in sites:
        site.block.get_submodule("attn1").register_forward_pre_hook(
            lambda _, args, name=site.name: seen.update({name: args[0].shape[1]})
        )
    with torch.no_grad():
        model(torch.randn(1, 2, *size), 5, encoder_hidden_states=torch.randn(1, 3, 6))
    return seen

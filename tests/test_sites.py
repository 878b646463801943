from types import SimpleNamespace

import pytest
import torch
from torch import nn

from bigain.errors import UserError
from bigain.site_selection import SiteSelection, default_blocks
from bigain.sites import find_sites


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


class Stage(nn.Module):
    """One level of a U-Net: `attentions` blocks, each in its own container."""

    def __init__(self, attentions: int, *, halves: bool) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([nn.Module() for _ in range(attentions)])
        for attention in self.attentions:
            attention.transformer_blocks = nn.ModuleList([Block()])
        self.downsamplers = nn.ModuleList([nn.Identity()]) if halves else None


class StableDiffusion(nn.Module):
    """The skeleton of SD-2.0's U-Net: 2 + 3 blocks per level, none of them at the lowest level."""

    def __init__(self) -> None:
        super().__init__()
        self.down_blocks = nn.ModuleList([Stage(n, halves=n > 0) for n in (2, 2, 2, 0)])
        self.mid_block = Stage(1, halves=False)
        self.up_blocks = nn.ModuleList([Stage(n, halves=False) for n in (0, 3, 3, 3)])


def test_sd2_has_the_five_default_sites_of_the_paper() -> None:
    assert names(StableDiffusion()) == [
        "down_blocks.0.attentions.0.transformer_blocks.0",
        "down_blocks.0.attentions.1.transformer_blocks.0",
        "up_blocks.3.attentions.0.transformer_blocks.0",
        "up_blocks.3.attentions.1.transformer_blocks.0",
        "up_blocks.3.attentions.2.transformer_blocks.0",
    ]
    assert {site.grid(64, 64) for site in find_sites(StableDiffusion())} == {(64, 64)}


def test_up_blocks_mirror_down_blocks() -> None:
    sites = find_sites(StableDiffusion(), SiteSelection(levels=(0, 1, 2)))
    seen = {(site.stage, site.level, site.grid(64, 96)) for site in sites}
    assert seen == {
        (stage, level, (64 >> level, 96 >> level))
        for stage in ("encoder", "decoder")
        for level in range(3)
    }


def test_the_middle_is_chosen_by_name_only() -> None:
    (site,) = find_sites(StableDiffusion(), SiteSelection(stages=("mid",), levels=(3,)))
    assert (site.name, site.grid(64, 64)) == (
        "mid_block.attentions.0.transformer_blocks.0",
        (8, 8),
    )


def test_odd_sizes_are_halved_upwards_as_strided_convolutions_do() -> None:
    sites = find_sites(StableDiffusion(), SiteSelection(levels=(1, 2)))
    grids = {site.level: site.grid(9, 13) for site in sites}
    assert grids == {1: (5, 7), 2: (3, 4)}


def test_one_stage_alone(tiny_unet: nn.Module) -> None:
    assert names(tiny_unet, stages=("encoder",)) == [
        "down_blocks.0.attentions.0.transformer_blocks.0"
    ]
    assert len(names(tiny_unet, stages=("decoder",))) == 2


def test_blocks_are_numbered_within_their_stage(tiny_unet: nn.Module) -> None:
    decoder = find_sites(tiny_unet, SiteSelection(stages=("decoder",)))
    assert [site.index for site in decoder] == [0, 1]


def test_names_lead_to_the_blocks(tiny_model: nn.Module) -> None:
    for site in find_sites(tiny_model):
        assert tiny_model.get_submodule(site.name) is site.block
        assert tiny_model.get_submodule(f"{site.name}.attn1") is site.attention


def test_where_the_metric_is_taken(tiny_unet: nn.Module, tiny_dit: nn.Module) -> None:
    assert {site.metric for site in find_sites(tiny_unet)} == {"block"}
    assert {site.metric for site in find_sites(tiny_dit)} == {"attention"}


def test_dit_has_the_blocks_of_the_reference() -> None:
    assert default_blocks(28) == (1, 2, 3, 4, 5, 7, 8, 9, 10, 11)
    assert [site.index for site in find_sites(Transformer(28))] == list(default_blocks(28))


@pytest.mark.parametrize(("depth", "count"), [(1, 1), (2, 1), (4, 2), (7, 3), (14, 6), (56, 24)])
def test_other_depths_take_the_first_twelve_of_28(depth: int, count: int) -> None:
    assert default_blocks(depth) == tuple(range(count))
    assert len(names(Transformer(depth), blocks="first12")) == count


def test_first12_takes_twelve_of_28() -> None:
    chosen = find_sites(Transformer(28), SiteSelection(blocks="first12"))
    assert [site.index for site in chosen] == list(range(12))


def test_blocks_by_index_come_in_the_order_of_the_forward() -> None:
    assert names(Transformer(5), blocks=[3, 0]) == ["transformer_blocks.0", "transformer_blocks.3"]


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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stages": ("encoder", "middle")}, r"^sites\.stages='middle': .*encoder, mid, decoder"),
        ({"levels": (0, -1)}, r"^sites\.levels=\(0, -1\): "),
        ({"blocks": "all"}, r"^sites\.blocks='all': .*first12"),
        ({"scope": "cross"}, r"^sites\.scope='cross': must be 'self'"),
    ],
)
def test_wrong_selections_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SiteSelection(**settings)  # type: ignore[arg-type]


def test_a_selection_that_matches_nothing_says_what_there_is(tiny_unet: nn.Module) -> None:
    with pytest.raises(UserError, match=r"levels=5 match no .* decoder 0, decoder 1, encoder 0"):
        find_sites(tiny_unet, SiteSelection(levels=(5,)))
    with pytest.raises(UserError, match="match no self-attention"):
        find_sites(tiny_unet, SiteSelection(stages=()))


@pytest.mark.parametrize("blocks", [(4,), (-1, 0), ()])
def test_blocks_outside_of_the_depth_are_refused(
    tiny_dit: nn.Module, blocks: tuple[int, ...]
) -> None:
    with pytest.raises(UserError, match=r"^sites\.blocks=.* 0\.\.3"):
        find_sites(tiny_dit, SiteSelection(blocks=blocks))


def test_settings_of_the_other_kind_of_model_are_refused(
    tiny_unet: nn.Module, tiny_dit: nn.Module
) -> None:
    with pytest.raises(UserError, match=r"^sites\.blocks=\(0,\): a U-Net has stages"):
        find_sites(tiny_unet, SiteSelection(blocks=(0,)))
    with pytest.raises(UserError, match=r"stages=encoder .*select by blocks"):
        find_sites(tiny_dit, SiteSelection(stages=("encoder",)))
    with pytest.raises(UserError, match=r"levels=1 .*select by blocks"):
        find_sites(tiny_dit, SiteSelection(levels=(1,)))


def test_a_model_without_attention_has_no_site() -> None:
    with pytest.raises(UserError, match=r"^model=Linear: has no site"):
        find_sites(nn.Linear(2, 2))


def test_lists_from_a_configuration_file_become_tuples() -> None:
    selection = SiteSelection(stages=["mid"], levels=[1], blocks=[2])  # type: ignore[arg-type]
    assert selection == SiteSelection(("mid",), (1,), (2,))


def test_grids_are_those_of_the_forward(tiny_unet: nn.Module) -> None:
    seen: dict[str, int] = {}
    sites = find_sites(tiny_unet, SiteSelection(("encoder", "mid", "decoder"), (0, 1)))
    for site in sites:
        site.attention.register_forward_pre_hook(
            lambda _, args, name=site.name: seen.update({name: args[0].shape[1]})
        )
    with torch.no_grad():
        tiny_unet(torch.randn(1, 2, 7, 10), 5, encoder_hidden_states=torch.randn(1, 3, 6))
    assert len(sites) == 7
    for site in sites:
        height, width = site.grid(7, 10)
        assert seen[site.name] == height * width

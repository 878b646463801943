from typing import Any, get_args

import pytest
from omegaconf import OmegaConf
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from bigain.backbones.denoisers import build_denoiser
from bigain.config.architectures import ARCHITECTURES
from bigain.config.backbone import BackboneConfig
from bigain.errors import UserError
from bigain.launch.compose import compose_config
from bigain.locations import CONFIGS
from bigain.patching.selection import SiteSelection
from bigain.patching.sites import find_sites

HUB = ["sd20", "sd21", "sd15", "sdxl", "dit_xl2_512"]
FLOW = ["sd3_medium", "sd35_medium", "flux_dev"]
PLACE: dict[str, Any] = {
    "repository": "owner/name",
    "revision": "main",
    "mirrors": [],
    "path": None,
    "variant": None,
    "fingerprint": None,
    "attention": "sdpa",
}
VALIDATE: Any = TypeAdapter(BackboneConfig)


def settings(name: str, **sites: object) -> dict[str, Any]:
    default = {"stages": ["encoder", "decoder"], "levels": [0], "blocks": None}
    weights = PLACE if name in (*HUB, *FLOW) else {"revision": "0123456789ab"}
    weights = {**weights, "image_side": 512, "schedule": "shifted"} if name in FLOW else weights
    weights = {**weights, "guidance": 1.0} if name == "flux_dev" else weights
    return {"name": name, **weights, "sites": {**default, **sites}}


def test_every_backbone_has_an_architecture_and_a_file() -> None:
    models = get_args(get_args(BackboneConfig)[0])
    names = [get_args(model.model_fields["name"].annotation)[0] for model in models]
    assert sorted(names) == sorted(ARCHITECTURES)
    assert sorted(names) == sorted(file.stem for file in (CONFIGS / "backbone").glob("*.yaml"))


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name not in FLOW])
def test_what_is_accepted_is_what_the_model_has(name: str) -> None:
    """Every choice of stages and levels or blocks, held against the model itself."""
    model, side = build_denoiser(name, "meta"), ARCHITECTURES[name].settings["sample_size"]
    stages = [["encoder"], ["mid"], ["decoder"], ["encoder", "decoder"], ["mid", "encoder"]]
    levels = [[0], [1], [2], [3], [0, 1], [1, 2], [0, 3], [4]]
    blocks: list[object] = [None, "first12", [0], [3, 1], [4], [0, 5], [27], [28]]
    choices: list[dict[str, Any]] = [
        {"stages": s, "levels": n, "blocks": b} for s in stages for n in levels for b in blocks
    ]
    agreed = {True: 0, False: 0}
    for choice in choices:
        try:
            config = VALIDATE.validate_python(settings(name, **choice))
        except ValidationError:
            if set(choice["levels"]) <= set(range(len(ARCHITECTURES[name].grids))):
                with pytest.raises(UserError):
                    find_sites(model, SiteSelection(**choice))
            agreed[False] += 1
        else:
            sites = config.sites
            selection = SiteSelection(sites.stages, sites.levels, sites.blocks)
            grids = [site.grid(side, side)[0] for site in find_sites(model, selection)]
            assert config.smallest_grid() == min(grids)
            agreed[True] += 1
    assert min(agreed.values()) >= 4


@pytest.mark.parametrize("name", FLOW)
def test_flow_backbones_have_an_image_side_and_a_schedule(name: str) -> None:
    plain: Any = OmegaConf.to_container(OmegaConf.load(CONFIGS / "backbone" / f"{name}.yaml"))
    config = VALIDATE.validate_python(plain)
    assert (config.image_side, config.latent_side, config.grids) == (512, 64, (32,))
    assert VALIDATE.validate_python({**plain, "image_side": 1024}).grids == (64,)
    for change in ({"image_side": 520}, {"schedule": "cosine"}, {"attention": "eager"}):
        with pytest.raises(ValidationError):
            VALIDATE.validate_python({**plain, **change})


@pytest.mark.parametrize("name", HUB)
def test_files_of_the_hub_backbones_name_a_source(name: str) -> None:
    plain = OmegaConf.to_container(OmegaConf.load(CONFIGS / "backbone" / f"{name}.yaml"))
    config = VALIDATE.validate_python(plain)
    assert not config.is_mini
    assert "/" in config.repository
    assert config.path is None
    assert config.repository not in config.mirrors
    found = find_sites(build_denoiser(name, "meta"), selection(config))
    assert len(found) == {"sd20": 5, "sd21": 5, "sd15": 5, "sdxl": 10, "dit_xl2_512": 10}[name]


def selection(config: Any) -> SiteSelection:
    return SiteSelection(config.sites.stages, config.sites.levels, config.sites.blocks)


@pytest.mark.parametrize(
    ("name", "dataset", "allowed"),
    [
        ("mini_unet", "pets", "fashion_mnist or fashion_mosaic, because backbone=mini_unet knows"),
        ("mini_dit", "imagenet100", "fashion_mnist or fashion_mosaic, because"),
        ("sd20", "fashion_mnist", "coco2017, imagenet100, imagenet1k or pets, because"),
        ("sd20", "fashion_mosaic", "coco2017, imagenet100, imagenet1k or pets, because"),
        ("dit_xl2_512", "fashion_mosaic", "imagenet100 or imagenet1k, because"),
        ("sdxl", "fashion_mnist", "coco2017, imagenet100, imagenet1k or pets, because"),
        ("dit_xl2_512", "fashion_mnist", "imagenet100 or imagenet1k, because"),
        ("dit_xl2_512", "pets", "it knows ImageNet's classes and no text"),
        ("dit_xl2_512", "coco2017", "backbone=dit_xl2_512 has class-index conditioning"),
    ],
)
def test_a_dataset_that_the_model_has_no_condition_for_is_refused(
    name: str, dataset: str, allowed: str
) -> None:
    config = VALIDATE.validate_python(settings(name, levels=[1] if name == "sdxl" else [0]))
    with pytest.raises(PydanticCustomError) as caught:
        config.check_dataset(compose_config(["task=efficiency", f"dataset={dataset}"]).dataset)
    assert f"dataset={dataset}: allowed: " in str(caught.value)
    assert allowed in str(caught.value)


@pytest.mark.parametrize(
    ("name", "dataset"),
    [
        *((n, d) for n in ("mini_unet", "mini_dit") for d in ("fashion_mnist", "fashion_mosaic")),
        *((name, data) for name in ("sd20", "sd15") for data in ("pets", "coco2017")),
        *((name, data) for name in ("sd20", "dit_xl2_512") for data in ("imagenet1k",)),
        ("dit_xl2_512", "imagenet100"),
    ],
)
def test_a_dataset_that_the_model_can_classify_is_accepted(name: str, dataset: str) -> None:
    chosen = compose_config(["task=efficiency", f"dataset={dataset}"]).dataset
    VALIDATE.validate_python(settings(name)).check_dataset(chosen)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("repository", "stable-diffusion"),
        ("repository", "a/b/c"),
        ("revision", ""),
        ("mirrors", ["x"]),
        ("mirrors", ["a/b@"]),
        ("path", ""),
        ("variant", "fp32"),
        ("fingerprint", "0123"),
        ("attention", "flash"),
    ],
)
def test_wrong_sources_are_refused(key: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        VALIDATE.validate_python({**settings("sd20"), key: value})
    assert caught.value.errors()[0]["loc"][:2] == ("sd20", key)


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
            "backbone.sites.blocks=first12: allowed: null or a list of distinct integers from 0 "
            "to 2, positions among the selected stages and levels of mini_unet",
        ),
        (
            ["backbone=mini_unet", "backbone.sites.stages=[mid]"],
            "backbone.sites.levels=[0]: allowed: a list with 1, where backbone=mini_unet has "
            "self-attention in stages=[mid]",
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
        (
            ["backbone=sdxl", "backbone.sites.levels=[0]"],
            "backbone.sites.levels=[0]: allowed: a list with 1 or 2, where backbone=sdxl has "
            "self-attention in stages=[encoder,decoder]",
        ),
        (
            ["backbone=sd20", "backbone.sites.levels=[4]"],
            "backbone.sites.levels=[4]: allowed: a list of distinct integers from 0 to 3, "
            "the levels of backbone=sd20",
        ),
        (
            ["backbone=dit_xl2_512", "backbone.sites.blocks=[28]"],
            "backbone.sites.blocks=[28]: allowed: null, first12 or a list of distinct integers "
            "from 0 to 27, the blocks of backbone=dit_xl2_512",
        ),
        (
            ["backbone=flux_dev", "backbone.sites.blocks=[57]"],
            "backbone.sites.blocks=[57]: allowed: null, first12 or a list of distinct integers "
            "from 0 to 56, the blocks of backbone=flux_dev",
        ),
        (
            ["backbone=sd3_medium", "dataset=pets", "task=generation"],
            "task=generation: allowed: classification or efficiency, because backbone=sd3_medium "
            "predicts a velocity, for which there is no sampler here",
        ),
    ],
)
def test_sites_that_do_not_exist_are_one_line(overrides: list[str], expected: str) -> None:
    with pytest.raises(UserError) as caught:
        compose_config(overrides)
    assert str(caught.value) == expected

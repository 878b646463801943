"""The YAML files and the models together: all of configs/ composes, mistakes are one line."""

import re
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf
from pydantic import TypeAdapter

import bigain.launch.compose
from bigain.config import ClassificationConfig, DatasetConfig, RunConfig
from bigain.errors import UserError
from bigain.launch.compose import compose_config, validate
from bigain.locations import CONFIGS
from bigain.tasks.protocol import StagedProtocol

GROUPS = ("backbone", "dataset", "operator", "task", "profile", "tracking", "paths", "experiment")
OPTIONS = {group: sorted(f.stem for f in (CONFIGS / group).glob("*.yaml")) for group in GROUPS}
EXPERIMENTS = {"merging_sweep": "mini", "downsampling_sweep": "mini", "velocity": "paper"}
"""All of configs/experiment, with their profiles; each is tested in test_sweep.py."""


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BIGAIN_RESULTS", raising=False)
    monkeypatch.delenv("BIGAIN_DATA", raising=False)


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of configs/ that a test may change."""
    copied = tmp_path / "configs"
    shutil.copytree(CONFIGS, copied, ignore=shutil.ignore_patterns("local"))
    monkeypatch.setattr(bigain.launch.compose, "CONFIGS", copied)
    return copied


def load(file: Path) -> DictConfig:
    loaded = OmegaConf.load(file)
    assert isinstance(loaded, DictConfig)
    return loaded


def complaint(*overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        compose_config(overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


# What is in configs/.


def test_the_default_is_the_mini_profile_without_acceleration() -> None:
    config = compose_config()
    assert (config.profile, config.backbone.name, config.operator.name) == (
        "mini",
        "mini_dit",
        "none",
    )
    assert (config.dataset.name, config.dataset.limit, config.seed) == ("fashion_mnist", 400, 0)
    task = config.task_as(ClassificationConfig)
    assert (task.trial_list, task.keep_list) == ((5, 20), (5, 1))
    assert (config.batch_size, config.device, config.dtype) == (32, "cpu", "float32")
    assert config.paths.results == Path.cwd() / "results"


@pytest.mark.parametrize("backbone", OPTIONS["backbone"])
def test_every_backbone_has_an_alpha(backbone: str) -> None:
    """The paper's for SD-2.0, average pooling (which the DiT's numbers follow) for transformers."""
    config = compose_config(["operator=ie_kvd", f"backbone={backbone}", "task=efficiency"])
    assert config.operator.settings()["alpha"] == (0.0 if "dit" in backbone else 0.9)


EVALUATIONS = {"pets": 260, "coco2017": 475, "imagenet100": 575, "imagenet1k": 6750}
"""Of the denoiser per image (Table 10; for ImageNet-1K with the trials of its three grids)."""


@pytest.mark.parametrize("dataset", ["fashion_mnist", *EVALUATIONS])
def test_every_dataset_has_its_settings_and_its_schedule(dataset: str) -> None:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        composed = compose("config", [f"dataset={dataset}", "paths.data=somewhere"])
    plain: Any = OmegaConf.to_container(composed, resolve=True)
    chosen = TypeAdapter(DatasetConfig).validate_python(plain["dataset"])
    assert (chosen.name, chosen.root) == (dataset, Path.cwd() / "somewhere")
    protocol = StagedProtocol(plain["task"]["trial_list"], plain["task"]["keep_list"])
    expected = EVALUATIONS.get(dataset, 125)
    assert protocol.evaluations(chosen.facts.num_classes) == expected


def test_mosaics_take_the_images_and_the_schedule_of_the_mini_profile_and_no_folder() -> None:
    config = compose_config(["dataset=fashion_mosaic", "paths.data=somewhere"])
    assert (config.dataset.limit, config.dataset.root) == (400, None)
    task = config.task_as(ClassificationConfig)
    assert (task.trial_list, task.keep_list) == ((5, 20), (5, 1))


def test_imagenet1k_takes_the_papers_number_of_images_and_the_others_all() -> None:
    limits = {name: load(CONFIGS / "dataset" / f"{name}.yaml").limit for name in EVALUATIONS}
    assert limits == {"pets": None, "coco2017": None, "imagenet100": None, "imagenet1k": 2000}


def test_the_profile_sets_device_and_precision_and_the_command_line_wins() -> None:
    paper = ["profile=paper", "backbone=sd20", "dataset=pets"]
    found = [compose_config([*paper, *more]) for more in ([], ["device=cpu", "dtype=float32"])]
    assert [(each.device, each.dtype) for each in found] == [
        ("auto", "float16"),
        ("cpu", "float32"),
    ]
    mini = compose_config()
    assert (mini.device, mini.dtype, mini.dataset.limit) == ("cpu", "float32", 400)


def test_every_experiment_is_tested_and_composes() -> None:
    assert set(OPTIONS["experiment"]) == set(EXPERIMENTS)
    for experiment, profile in EXPERIMENTS.items():
        assert compose_config([f"experiment={experiment}"]).profile == profile


@pytest.mark.parametrize("group", ["backbone", "dataset", "operator", "task", "paths"])
def test_every_setting_is_explained(group: str) -> None:
    """A comment on the line of the setting, or on the line before it."""
    for option in OPTIONS[group]:
        lines = (CONFIGS / group / f"{option}.yaml").read_text().splitlines()
        assert lines[0].startswith("# ")
        for before, line in pairwise(lines):
            if not line.startswith(("name:", "_target_:", "#", "defaults:", "  - ")):
                assert "  #" in line or before.strip().startswith("#"), f"{group}/{option}: {line}"


def test_the_help_lists_the_options_there_are() -> None:
    text = (CONFIGS / "hydra" / "help" / "bigain.yaml").read_text()
    unwrapped = re.sub(r",\n +", ", ", text)
    for group in set(GROUPS) - {"paths"}:
        assert re.search(rf"^ +{group} +{', '.join(OPTIONS[group])}$", unwrapped, re.MULTILINE)


# What composing does.


@pytest.mark.parametrize(("backbone", "alpha"), [("mini_unet", 0.9), ("mini_dit", 0.0)])
def test_alpha_depends_on_the_backbone(backbone: str, alpha: float) -> None:
    config = compose_config(["operator=ie_kvd", f"backbone={backbone}"])
    assert config.operator.settings()["alpha"] == alpha


@pytest.mark.parametrize(
    ("backbone", "dataset", "operator", "alpha"),
    [
        ("mini_unet", "fashion_mnist", "ie_kvd", "0.8->1.2"),
        ("mini_dit", "fashion_mnist", "ie_kvd", 0.0),
        ("sd20", "pets", "ie_kvd", "0.8->1.2"),
        ("sd20", "coco2017", "lgtm_enc_ie_kvd_dec", "0.8->1.2"),
        ("sd20", "pets", "ie_kvd_enc_lgtm_dec", "0.8->1.2"),
        ("dit_xl2_512", "imagenet100", "ie_kvd", 0.0),
    ],
)
def test_alpha_of_generation_is_the_papers_schedule(
    backbone: str, dataset: str, operator: str, alpha: object
) -> None:
    chosen = [f"backbone={backbone}", f"dataset={dataset}", f"operator={operator}"]
    config = compose_config([*chosen, "task=generation"])
    assert config.operator.settings()["alpha"] == alpha


def test_folders_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Written as in a shell; what is written elsewhere wins."""
    for name in ("results", "cache", "data"):
        monkeypatch.setenv(f"BIGAIN_{name.upper()}", f"~/{name}")
    pets = ["backbone=sd20", "dataset=pets", "profile=paper"]
    config = compose_config(pets)
    home = Path.home()
    assert (config.paths.results, config.paths.cache) == (home / "results", home / "cache")
    assert config.dataset.root == home / "data"
    assert compose_config([*pets, "paths.data=/x"]).dataset.root == Path("/x")
    monkeypatch.setenv("BIGAIN_DATA", "$NOWHERE/data")
    assert complaint(*pets).startswith("BIGAIN_DATA=$NOWHERE/data: there is no environment ")


@pytest.mark.parametrize("written", ["~/x.npz", "$HOME/x.npz", "'~/x.npz'", "x.npz", "./x.npz"])
@pytest.mark.parametrize(
    "key",
    [
        *("paths.results", "paths.data", "paths.cache", "dataset.root", "backbone.path"),
        *("task.reference", "task.extractor_weights"),
    ],
)
def test_every_path_is_meant_as_in_a_shell_and_absolute(key: str, written: str) -> None:
    command = ["profile=paper", "backbone=sd20", "dataset=pets", "task=generation"]
    node: Any = compose_config([*command, f"{key}={written}"])
    for name in key.split("."):
        node = getattr(node, name)
    folder = Path.home() if "~" in written or "$" in written else Path.cwd()
    assert str(node) == str(folder / "x.npz")


def test_a_path_with_a_user_or_variable_that_does_not_exist_is_refused() -> None:
    why = "paths.data='~nobody-of-this-name/x': there is no user ~nobody-of-this-name; allowed: "
    assert why in complaint("paths.data=~nobody-of-this-name/x")
    message = complaint("task=generation", "task.reference=$NOWHERE/x.npz")
    assert message.startswith("task.reference=$NOWHERE/x.npz: there is no environment variable ")


def test_composing_works_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = compose_config(["operator=todo"])
    monkeypatch.chdir(tmp_path)
    there = compose_config(["operator=todo"])
    assert there.paths.results == tmp_path / "results"
    assert there.model_copy(update={"paths": here.paths}) == here
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["operator=tome", "operator.ratio=0.3", "seed=2"],
        ["++operator.ratio=0.3", "operator=lgtm", "backbone=mini_unet"],
        ["task.keep_list=[3,1]", "paths.results=x", "experiment=merging_sweep"],
    ],
)
def test_the_shortcut_composes_what_hydra_composes(overrides: list[str]) -> None:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        composed = compose("config", overrides)
    assert compose_config(overrides) == validate(composed)


def test_a_changed_file_is_read_again(configs: Path) -> None:
    before = compose_config(["operator=tome"])
    file = configs / "operator" / "tome.yaml"
    file.write_text(file.read_text().replace("ratio: 0.5", "ratio: 0.25"))
    after = compose_config(["operator=tome"])
    assert (before.operator.settings()["ratio"], after.operator.settings()["ratio"]) == (0.5, 0.25)


def test_local_settings_apply_and_are_checked(configs: Path) -> None:
    (configs / "local").mkdir()
    local = configs / "local" / "default.yaml"
    local.write_text("# @package _global_\nthreads: 2\n")
    assert compose_config().threads == 2
    local.write_text("# @package _global_\nthread: 2\nseed: 1\n")
    expected = "thread=2: no such key; allowed: profile, backbone"
    assert complaint().startswith(expected)
    assert complaint().endswith("did you mean threads?")


def test_a_damaged_file_is_one_line(configs: Path) -> None:
    (configs / "operator" / "tome.yaml").write_text("name: [tome\n")
    assert complaint("operator=tome").startswith("operator=tome: ")


def test_hydra_is_left_as_it_was() -> None:
    GlobalHydra.instance().clear()
    compose_config(["operator=tome"])
    assert not GlobalHydra.instance().is_initialized()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        outer = GlobalHydra.instance().hydra
        complaint("operator=tomee")
        assert GlobalHydra.instance().hydra is outer


# Mistakes.

MISTAKES: list[tuple[str, str]] = [
    # keys
    ("operator.ratoi=0.7", "no such key of operator=none; allowed: no settings"),
    ("+operator.ratoi=0.7", "no such key of operator=none; allowed: no settings"),
    ("operator=tome | operator.ratoi=0.7", "did you mean operator.ratio?"),
    ("operator=tome | ++operator.ratoi=0.7", "did you mean operator.ratio?"),
    ("oprator=tome", "allowed: profile, backbone, dataset, operator, task, seed, batch_size"),
    ("+oprator=tome", "did you mean operator?"),
    ("oprator.ratio=0.5", "did you mean operator.ratio?"),
    ("ratio=0.5", "did you mean operator.ratio?"),
    ("backbone.sites.levls=[0]", "did you mean backbone.sites.levels?"),
    ("+training=mini_unet", "no such key; allowed: profile"),
    ("foo/bar=x", "no such key; allowed: profile"),
    ("hydra.run.dirr=x", "did you mean hydra.run.dir?"),
    (
        "operator@other=tome",
        "a group has one place; allowed: abm, avg_pool, cached, dip_go, ie_kvd",
    ),
    # options
    (
        "operator=tomee",
        "allowed: abm, avg_pool, cached, dip_go, ie_kvd, ie_kvd_enc_lgtm_dec, kv_select, lgtm, "
        "lgtm_enc_ie_kvd_dec, mosaic_diff, none, sito, todo, toma, tome; did you mean tome?",
    ),
    ("backbone=sd22", "allowed: dit_xl2_512, flux_dev, mini_dit, mini_unet, sd15, sd20, sd21, sd"),
    ("task.score=eps", "allowed: noise, velocity or x0"),
    ("backbone=sd20 | backbone.schedule=ddim", "belongs to backbone=sd3_medium|sd35_medium|flux_"),
    ("backbone=sd20 | dataset=fashion_mnist", "allowed: coco2017, imagenet100, imagenet1k or pets"),
    ("task=generate", "allowed: classification"),
    ("tracking=nope", "allowed: none, trackio, wandb"),
    ("tracking=[]", "allowed: tracking=none, or different ones of trackio, wandb"),
    ("tracking=[none,wandb]", "allowed: tracking=none, or different ones of trackio, wandb"),
    ("tracking=[wandb,wandb]", "allowed: tracking=none, or different ones of trackio, wandb"),
    ("tracking=[wandb,trakio]", "of trackio, wandb; did you mean trackio?"),
    ("tracking=[1,[wandb]]", "allowed: tracking=none, or different ones of trackio, wandb"),
    ("tracking=wandb,trackio", "or several, tracking=[wandb,trackio]"),
    ("tracking=trackio | tracking.entity=me", "tracking.entity=me: allowed: null"),
    ("backbone=[mini_dit,mini_unet]", "allowed: dit_xl2_512"),
    ("dataset=pets", "allowed: fashion_mnist or fashion_mosaic, because backbone=mini_dit knows"),
    ("task=generation | dataset=fashion_mosaic", "such as fashion_mnist, because task=generation"),
    ("dataset=fashion_mosaic | dataset.root=x", "allowed: null, because dataset=fashion_mosaic"),
    ("dataset=fashion_mosaic | dataset.limit=5001", "allowed: null (all) or an integer from 1 to"),
    ("profile=papr", "did you mean paper?"),
    ("profile=paper", "allowed: mini, because backbone=mini_dit is not one of the paper's"),
    ("hydra/launcher=submitit", "submitit_local, submitit_slurm; did you mean submitit_"),
    ("operator=null", "allowed: abm, avg_pool, cached, dip_go, ie_kvd"),
    ("operator={name: tome}", "allowed: abm, avg_pool, cached, dip_go, ie_kvd"),
    (
        "~dataset",
        "allowed: coco2017, fashion_mnist, fashion_mosaic, folder, imagenet100, imagenet1k",
    ),
    ("~operator", "allowed: abm, avg_pool, cached, dip_go, ie_kvd"),
    ("operator.name=lgtm", "allowed: operator=OPTION, one of"),
    ("operator._target_=a.B", "allowed: operator=OPTION, one of"),
    # values
    ("dataset.limit=0", "allowed: null (all) or an integer from 1 to 10000"),
    ("batch_size=-1", "allowed: an integer >= 1"),
    ("seed=x", "allowed: an integer from 0 to 2**32 - 1"),
    ("paths.results=", "allowed: a folder"),
    ("paths.results=${nope}", "Interpolation key 'nope' not found"),
    ("task.keep_list=[20,1]", "allowed: at most 10"),
    ("shard.count=2 | shard.index=2", "allowed: an integer from 0 to 1, because shard.count=2"),
    # combinations
    ("operator=tome | operator.factor=2", "operator.factor belongs to operator=avg_pool|ie_kvd|"),
    ("operator=none | operator.ratio=0.5", "operator.ratio belongs to operator=abm|cached|"),
    # syntax
    ("operator=tome | operator.cell=[2", "not understood; allowed: key=value"),
    ("seed", "not understood; allowed: key=value"),
    ("=1", "no such key; allowed: profile"),
    ("operator=tome | +operator.ratio=0.5", "allowed: operator.ratio=0.5 (the key exists, so no"),
    ("+experiment=merging_sweep", "allowed: experiment=merging_sweep (the key exists"),
    ("task.trial_list=5,20", "allowed: one value, a list task.trial_list=[5,20], or a sweep"),
    ("operator=tome,lgtm", "allowed: one of abm, avg_pool, cached, dip_go, ie_kvd"),
]


@pytest.mark.parametrize(("command", "expected"), MISTAKES)
def test_a_mistake_is_one_line_that_quotes_it(command: str, expected: str) -> None:
    overrides = command.split(" | ")
    message = complaint(*overrides)
    wrong = overrides[-1]
    assert message.startswith(wrong if "_list=[" not in wrong else wrong.partition("[")[0])
    assert expected in message


def test_all_settings_can_be_overridden() -> None:
    """Whatever the models allow is a key that Hydra knows, so nobody needs a leading plus."""

    def leaves(node: dict[str, Any], prefix: str = "") -> list[str]:
        return [
            leaf
            for key, value in node.items()
            for leaf in (
                leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]
            )
        ]

    base: RunConfig = compose_config(["operator=ie_kvd"])
    plain = base.model_dump(mode="json")
    keys = [
        key for key in leaves(plain) if not key.endswith(("name", "_target_")) and key != "profile"
    ]
    node: Any
    overrides = []
    for key in keys:
        node = plain
        for part in key.split("."):
            node = node[part]
        overrides.append(f"{key}={'null' if node is None else str(node).replace(' ', '')}")
    quoted = [text.replace("000000000000", "'000000000000'") for text in overrides]
    assert compose_config(["operator=ie_kvd", *quoted]) == base


@pytest.mark.parametrize(
    ("backbone", "dataset", "limit", "split"),
    [
        ("sd20", "imagenet1k", None, 50_000),
        ("sd20", "pets", None, 3669),
        ("dit_xl2_512", "imagenet100", None, 5000),
        ("sd20", "coco2017", None, 5000),
        ("mini_unet", "fashion_mnist", 1000, 10_000),
    ],
)
def test_generation_draws_one_image_per_image_of_the_split(
    backbone: str, dataset: str, limit: int | None, split: int
) -> None:
    config = compose_config(
        [
            "task=generation",
            f"backbone={backbone}",
            f"dataset={dataset}",
            *([] if "mini" in backbone else ["profile=paper"]),
        ]
    )
    assert config.dataset.limit == limit
    assert config.dataset.facts.split_size == split
    if dataset == "imagenet1k":
        classify = compose_config([f"backbone={backbone}", f"dataset={dataset}", "profile=paper"])
        assert classify.dataset.limit == 2000

import copy
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from bigain.config.dataset import DatasetConfig
from bigain.config.operator import OperatorConfig
from bigain.config.run import RunConfig
from bigain.config.task import ClassificationConfig, EfficiencyConfig
from bigain.devices import DTYPES
from bigain.errors import UserError
from bigain.launch.compose import compose_config
from bigain.runs.identity import run_id

SD20: dict[str, Any] = {
    "name": "sd20",
    "repository": "owner/name",
    "revision": "main",
    "mirrors": [],
    "path": None,
    "variant": None,
    "fingerprint": None,
    "attention": "sdpa",
    "sites": {"stages": ["encoder", "decoder"], "levels": [0], "blocks": None},
}
MERGING = {"name": "lgtm", "ratio": 0.5, "cell": [2, 2], "score": "laplacian_l1", "scope": "self"}
WRONG: list[tuple[str, object]] = [
    ("profile", "big"),
    ("backbone", "mini_unet"),
    ("backbone.name", "sd3"),
    ("backbone.revision", "0123"),
    ("backbone.revision", "0123456789AB"),
    ("backbone.revision", 12),
    ("backbone.sites.stages", []),
    ("backbone.sites.stages", ["middle"]),
    ("backbone.sites.stages", "encoder"),
    ("backbone.sites.levels", []),
    ("backbone.sites.levels", [-1]),
    ("backbone.sites.blocks", "all"),
    ("backbone.sites.blocks", [1.5]),
    ("dataset", "pets"),
    ("operator", "tome"),
    ("seed", -1),
    ("seed", 2**32),
    ("seed", "x"),
    ("seed", True),
    ("batch_size", 0),
    ("batch_size", "automatic"),
    ("device", "gpu"),
    ("device", "cuda:"),
    ("device", "cpu0"),
    ("dtype", "float64"),
    ("compile", "yes"),
    ("threads", 0),
    ("shard.index", -1),
    ("shard.count", 0),
    ("tracking", "wandb"),
    ("tracking.mode", "on"),
    ("tracking.project", ""),
    ("tracking.entity", ""),
    ("tracking.group", ""),
    ("force", "yes"),
    ("on_error", "ignore"),
    ("paths.results", ""),
    ("paths.results", None),
]


def replaced(plain: dict[str, Any], key: str, value: object) -> dict[str, Any]:
    *path, last = key.split(".")
    node = plain
    for part in path:
        node = node[part]
    assert last in node, f"no key {key} to replace"
    node[last] = value
    return plain


def models(model: type[BaseModel]) -> list[type[BaseModel]]:
    """The model and all models below it."""
    found = [model]
    for field in model.model_fields.values():
        for kind in [field.annotation, *get_args(field.annotation)]:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                found += models(kind)
    return found


def test_a_run_is_accepted_as_it_is(plain: dict[str, Any]) -> None:
    config = RunConfig.model_validate(plain)
    assert config.backbone.sites.stages == ("encoder", "decoder")
    assert config.paths.results == Path.cwd() / "results"
    assert {**config.model_dump(mode="json"), "paths": plain["paths"]} == plain
    assert RunConfig.model_validate_json(config.model_dump_json()) == config


def test_the_tracker_of_an_older_manifest_is_a_bare_name(plain: dict[str, Any]) -> None:
    for older in ("none", {"name": "none"}):
        assert RunConfig.model_validate({**plain, "tracking": older}) == RunConfig.model_validate(
            plain
        )


@pytest.mark.parametrize(("key", "value"), WRONG)
def test_wrong_values_are_refused(plain: dict[str, Any], key: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        RunConfig.model_validate(replaced(plain, key, value))
    for error in caught.value.errors():
        place = [part for part in error["loc"] if part != "mini_unet"]
        expected = key.removesuffix(".name") if error["type"] == "union_tag_invalid" else key
        assert place[: expected.count(".") + 1] == expected.split(".")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dataset.limit", None),
        ("backbone.sites.levels", [1, 0]),
        ("backbone.sites.stages", ["decoder"]),
        ("device", "auto"),
        ("device", "cuda:1"),
        ("device", "mps"),
        ("dtype", "bfloat16"),
        ("threads", 2),
        ("seed", 2**32 - 1),
        ("force", True),
        ("on_error", "stop"),
    ],
)
def test_the_ends_of_the_ranges_are_allowed(plain: dict[str, Any], key: str, value: object) -> None:
    config = RunConfig.model_validate(replaced(plain, key, value)).model_dump(mode="json")
    *path, last = key.split(".")
    for part in path:
        config = config[part]
    assert config[last] == value


@pytest.mark.parametrize("key", ["profile", "operator", "seed", "shard", "paths"])
def test_no_setting_has_a_default(plain: dict[str, Any], key: str) -> None:
    del plain[key]
    with pytest.raises(ValidationError, match="missing"):
        RunConfig.model_validate(plain)


def test_every_model_refuses_unknown_keys_and_has_no_default() -> None:
    later = {  # manifests of before lack them
        DatasetConfig: {"index", "labels", "prompts", "fingerprint"},
        ClassificationConfig: {"score", "allocation", "race"},
    }
    for model in models(RunConfig):
        assert model.model_config["extra"] == ("allow" if model is OperatorConfig else "forbid")
        assert model.model_config["frozen"]
        optional = {k: f for k, f in model.model_fields.items() if not f.is_required()}
        assert set(optional) == later.get(model, set())
        assert all(field.default is None for field in optional.values())


def test_a_dataset_of_an_older_manifest_has_no_choice_of_images(plain: dict[str, Any]) -> None:
    older = {key: plain["dataset"][key] for key in ("name", "_target_", "limit", "root")}
    config = RunConfig.model_validate({**plain, "dataset": older})
    assert config.dataset.index is None
    assert config.model_dump(mode="json")["dataset"] == older


def test_every_field_says_what_is_allowed() -> None:
    silent = [
        f"{model.__name__}.{name}"
        for model in models(RunConfig)
        for name, field in model.model_fields.items()
        if not field.description and not (name == "name" and len(get_args(field.annotation)) == 1)
    ]
    assert not silent


def test_the_shard_is_one_of_the_shards(plain: dict[str, Any]) -> None:
    plain["shard"] = {"index": 3, "count": 4}
    assert RunConfig.model_validate(plain).shard.index == 3
    plain["shard"] = {"index": 4, "count": 4}
    with pytest.raises(ValidationError, match=r"shard.index=4: allowed: .* 0 to 3, because"):
        RunConfig.model_validate(plain)


def test_no_more_classes_are_kept_than_there_are(plain: dict[str, Any]) -> None:
    plain["task"]["keep_list"] = [11, 1]
    expected = r"task.keep_list=\[11, 1\]: allowed: at most 10, .* dataset=fashion_mnist"
    with pytest.raises(ValidationError, match=expected):
        RunConfig.model_validate(plain)


def test_the_paper_profile_is_for_the_papers_backbones(plain: dict[str, Any]) -> None:
    plain["profile"] = "paper"
    expected = "profile=paper: allowed: mini, because backbone=mini_unet is not one of the paper"
    with pytest.raises(ValidationError, match=expected):
        RunConfig.model_validate(plain)


@pytest.mark.parametrize("profile", ["mini", "paper"])
def test_a_published_backbone_does_not_classify_fashion(
    plain: dict[str, Any], profile: str
) -> None:
    plain["profile"], plain["backbone"] = profile, copy.deepcopy(SD20)
    with pytest.raises(ValidationError, match="dataset=fashion_mnist: allowed: coco2017, image"):
        RunConfig.model_validate(plain)


def test_the_dtypes_are_those_that_are_implemented() -> None:
    assert set(get_args(RunConfig.model_fields["dtype"].annotation)) == set(DTYPES)


def test_settings_of_an_operator_survive_a_round_trip(plain: dict[str, Any]) -> None:
    plain["operator"] = {**plain["operator"], "ratio": 0.5, "cell": [4, 4], "alpha": {"start": 1}}
    config = RunConfig.model_validate(plain)
    assert config.operator.arguments == {"ratio": 0.5, "cell": [4, 4], "alpha": {"start": 1}}
    assert RunConfig.model_validate(config.model_dump(mode="json")) == config


EFFICIENCY = {"name": "efficiency", "measure": "flops", "steps": 2, "repeats": 1, "warmup": 0}


def test_efficiency_looks_at_no_dataset(plain: dict[str, Any]) -> None:
    config = RunConfig.model_validate({**plain, "backbone": SD20, "task": EFFICIENCY})
    assert config.task_as(EfficiencyConfig).measure == "flops"
    with pytest.raises(TypeError, match="task=efficiency: is no ClassificationConfig"):
        config.task_as(ClassificationConfig)


def test_efficiency_is_not_sharded(plain: dict[str, Any]) -> None:
    changes = {"task": EFFICIENCY, "shard": {"index": 0, "count": 2}}
    with pytest.raises(ValidationError, match=r"shard.count=2: allowed: 1, because task=efficien"):
        RunConfig.model_validate({**plain, **changes})


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["backbone=mini_unet"], "mini_unet none"),
        (["operator=tome", "operator.ratio=0.3"], "mini_dit tome ratio=0.3"),
        (["operator=lgtm", "operator.ratio=0.7"], "mini_dit lgtm ratio=0.7 score=laplacian_l1"),
        (["operator=ie_kvd", "operator.factor=3"], "mini_dit ie_kvd factor=3 alpha=0.0"),
        (
            ["operator=cached", "operator.destinations=as_released"],
            "mini_dit cached ratio=0.5 score=laplacian_l1 destinations=as_released",
        ),
    ],
)
def test_the_title_names_backbone_operator_and_settings(overrides: list[str], words: str) -> None:
    assert compose_config(overrides).title == words


@pytest.mark.parametrize("draws", ["per_forward", "per_sample"])
def test_which_images_share_a_forward_must_not_change_a_draw(draws: str) -> None:
    """It depends on shards and resumes, and changes the rounding of the latents."""
    command = ["task=generation", "operator=tome", f"operator.draws={draws}"]
    why = rf"1, because with operator.draws={draws} "
    with pytest.raises(UserError, match=rf"task.images_per_forward=\d+: allowed: {why}"):
        compose_config(command)
    config = compose_config([*command, "task.images_per_forward=1"])
    assert config.operator.draws_per_forward == (draws == "per_forward")
    assert not compose_config(["task=generation", "operator=tome"]).operator.draws_per_forward


def test_a_timing_is_of_modules_as_they_are() -> None:
    command = ["task=efficiency", "compile=true"]
    with pytest.raises(UserError, match=r"compile=true: allowed: false, because task=efficiency"):
        compose_config([*command, "task.measure=time"])
    assert compose_config([*command, "task.measure=flops"]).compile


def test_flops_are_the_same_for_all_draws() -> None:
    command = ["task=efficiency", "operator=tome"]
    assert compose_config([*command, "operator.draws=paired", "task.measure=flops"])
    for draws in ("per_sample", "per_forward"):
        own = [*command, f"operator.draws={draws}"]
        with pytest.raises(UserError, match=rf"operator.draws={draws}: allowed: paired, because"):
            compose_config([*own, "task.measure=flops"])
        assert compose_config([*own, "task.measure=time"]), "a draw takes time"


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["operator=tome", "operator.draws=per_forward"], "operator.draws=per_forward"),
        (["task=efficiency", "task.measure=time"], "task=efficiency times batches"),
    ],
)
def test_a_batch_size_that_names_a_run_is_a_number(command: list[str], why: str) -> None:
    with pytest.raises(UserError, match=rf"batch_size=auto: allowed: an integer >= 1, .*{why}"):
        compose_config([*command, "batch_size=auto"])


def test_an_automatic_batch_size_is_not_in_the_name() -> None:
    assert run_id(compose_config(["batch_size=auto"])) == run_id(compose_config([]))
    assert compose_config(["task=efficiency", "task.measure=flops", "batch_size=auto"])


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (
            "batch_size=9",
            "batch_size=9: allowed: at least 10, the number of classes of dataset=fas",
        ),
        (
            "batch_size=auto",
            "batch_size=auto: allowed: at least 10, the number of classes of dataset=fas",
        ),
        ("task.allocation=racing", "operator.plan=shared: allowed: each_class, because in a race"),
        ("task=efficiency task.measure=all", "operator.plan=shared: .* because task.measure=all"),
        ("task=efficiency task.measure=flops", "operator.plan=shared: .* task.measure=flops"),
        ("task=generation task.guidance_scale=1", "operator.plan=shared: .*guidance_scale=1 "),
        ("operator=todo", "operator.plan=shared"),
        ("operator=none", "operator.plan=shared"),
    ],
)
def test_a_plan_for_all_classes_needs_them_in_one_forward(command: str, line: str) -> None:
    with pytest.raises(UserError, match=line):
        compose_config(["operator=lgtm", "operator.plan=shared", *command.split()])


def test_a_plan_for_all_classes_leaves_the_batch_size_out_of_the_name() -> None:
    common = ["operator=lgtm", "operator.plan=shared"]
    names = {run_id(compose_config([*common, f"batch_size={size}"])) for size in (10, 64)}
    assert len(names) == 1
    assert names != {run_id(compose_config(["operator=lgtm"]))}
    assert compose_config(["operator=lgtm", "batch_size=9"])
    assert compose_config([*common, "task=generation"]).title.endswith("plan=shared")


@pytest.mark.parametrize(
    "override", ["operator=toma operator.tau=inf", "operator=sito operator.sim_beta=nan"]
)
def test_a_setting_of_an_operator_is_a_number_that_json_has(override: str) -> None:
    key_and_value = override.split()[1]
    with pytest.raises(UserError, match=rf"^{key_and_value}: allowed: "):
        compose_config(override.split())

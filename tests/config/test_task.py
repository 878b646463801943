from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bigain.config.task import ClassificationConfig, EfficiencyConfig, GenerationConfig


def task(**changes: Any) -> ClassificationConfig:
    plain = {"name": "classification", "trial_list": [5, 20], "keep_list": [5, 1], "loss": "l2"}
    return ClassificationConfig.model_validate({**plain, **changes})


@pytest.mark.parametrize(
    ("trial_list", "keep_list"),
    [([5, 20], [5, 1]), ([5, 20, 100], [50, 10, 1]), ([1], [1]), ([1000], [1])],
)
def test_the_stages_of_the_paper_and_fewer_are_allowed(
    trial_list: list[int], keep_list: list[int]
) -> None:
    config = task(trial_list=trial_list, keep_list=keep_list)
    assert (config.trial_list, config.keep_list) == (tuple(trial_list), tuple(keep_list))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trial_list": [20, 5]}, r"task.trial_list=\[20, 5\]: allowed: integers that increase"),
        ({"trial_list": [5, 5]}, "integers that increase"),
        ({"keep_list": [1]}, r"task.keep_list=\[1\]: allowed: 2 integers, as many as"),
        ({"keep_list": [5, 2, 1]}, "2 integers"),
        ({"keep_list": [5, 2]}, "decrease and end in 1"),
        ({"keep_list": [1, 1]}, "decrease and end in 1"),
    ],
)
def test_stages_that_disagree_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        task(**changes)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("trial_list", []),
        ("trial_list", [0, 20]),
        ("trial_list", [5, 1001]),
        ("trial_list", [5.0, 20]),
        ("trial_list", 5),
        ("keep_list", []),
        ("keep_list", [5, 0]),
        ("loss", "mse"),
        ("name", "generation"),
    ],
)
def test_wrong_values_are_refused(key: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        task(**{key: value})
    assert {error["loc"][0] for error in caught.value.errors()} == {key}


def efficiency(**changes: Any) -> EfficiencyConfig:
    plain = {"name": "efficiency", "measure": "all", "steps": 50, "repeats": 5, "warmup": 3}
    return EfficiencyConfig.model_validate({**plain, **changes})


@pytest.mark.parametrize(
    ("measure", "measures"),
    [("flops", ("flops",)), ("time", ("time",)), ("all", ("flops", "time"))],
)
def test_what_is_measured(measure: str, measures: tuple[str, ...]) -> None:
    assert efficiency(measure=measure).measures == measures


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("measure", "memory"),
        ("measure", None),
        ("steps", 0),
        ("steps", 1001),
        ("steps", 50.0),
        ("repeats", 0),
        ("repeats", True),
        ("warmup", -1),
        ("name", "classification"),
    ],
)
def test_wrong_settings_of_efficiency_are_refused(key: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        efficiency(**{key: value})
    assert {error["loc"][0] for error in caught.value.errors()} == {key}


def test_the_ends_of_the_ranges_are_allowed() -> None:
    config = efficiency(steps=1000, repeats=1, warmup=0)
    assert (config.steps, config.repeats, config.warmup) == (1000, 1, 0)


GENERATION = {
    "name": "generation",
    "sampler": "ddim",
    "steps": 50,
    "guidance_scale": 4.0,
    "images_per_forward": 8,
    "image_format": "png",
    "extractor": "inception",
    "extractor_weights": None,
    "reference": "split",
}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sampler", "dpm"),
        ("steps", 0),
        ("steps", 1001),
        ("steps", 2.5),
        ("guidance_scale", -1),
        ("guidance_scale", "7"),
        ("guidance_scale", float("inf")),
        ("images_per_forward", 0),
        ("images_per_forward", 257),
        ("image_format", "gif"),
        ("extractor", "clip"),
        ("extractor_weights", ""),
        ("reference", "train"),
        ("reference", "stats.pkl"),
        ("reference", ".npz"),
        ("reference", None),
        ("eta", 0.5),
    ],
)
def test_wrong_settings_of_generation_are_refused(key: str, value: object) -> None:
    GenerationConfig.model_validate(GENERATION)
    with pytest.raises(ValidationError):
        GenerationConfig.model_validate({**GENERATION, key: value})


def test_a_reference_is_images_or_a_file() -> None:
    for word in ("split", "images", "all"):
        assert GenerationConfig.model_validate({**GENERATION, "reference": word}).statistics is None
    given = GenerationConfig.model_validate({**GENERATION, "reference": "a/stats.npz"})
    assert given.statistics == Path.cwd() / "a/stats.npz"


def test_weights_belong_to_inception() -> None:
    weights = {**GENERATION, "extractor_weights": "weights.pth"}
    GenerationConfig.model_validate(weights)
    with pytest.raises(ValidationError, match=r"task\.extractor_weights=.*allowed: null"):
        GenerationConfig.model_validate({**weights, "extractor": "mini"})

from pathlib import Path

import pytest
from omegaconf import OmegaConf
from pydantic import ValidationError

from bigain.locations import CONFIGS
from bigain.training.trainer import TrainingConfig

RECIPES = sorted((CONFIGS / "training").glob("*.yaml"))


def load(path: Path) -> TrainingConfig:
    return TrainingConfig.model_validate(OmegaConf.to_container(OmegaConf.load(path)))


def test_there_is_a_recipe_for_each_backbone() -> None:
    assert [load(path).backbone for path in RECIPES] == ["mini_dit", "mini_unet"]


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_recipe_is_valid_and_named_after_its_backbone(path: Path) -> None:
    config = load(path)
    assert config.backbone == path.stem
    assert config.images % config.batch_size == 0


@pytest.mark.parametrize(
    ("key", "value"),
    [("images", 0), ("learning_rate", -1.0), ("class_dropout", 1.0), ("backbone", "sd20")],
)
def test_wrong_values_are_refused(key: str, value: object) -> None:
    settings = load(RECIPES[0]).model_dump() | {key: value}
    with pytest.raises(ValidationError, match=key):
        TrainingConfig.model_validate(settings)


def test_unknown_keys_are_refused() -> None:
    settings = load(RECIPES[0]).model_dump() | {"learning_rat": 1.0}
    with pytest.raises(ValidationError, match="learning_rat"):
        TrainingConfig.model_validate(settings)


@pytest.mark.parametrize(
    ("key", "value", "resumable"),
    [("images", 48, True), ("threads", 2, True), ("seed", 9, False), ("batch_size", 7, False)],
)
def test_what_may_change_when_training_is_resumed(key: str, value: int, resumable: bool) -> None:
    config = load(RECIPES[0])
    assert config.model_copy(update={key: value}).resumable_from(config, 0) is resumable


@pytest.mark.parametrize(
    ("seen", "images", "resumable"),
    [
        (700, 2000, True),
        (700, 1000, True),
        (701, 2000, False),
        (701, 1000, True),
        (700, 999, False),
    ],
)
def test_the_total_is_fixed_once_the_decay_has_begun(
    seen: int, images: int, resumable: bool
) -> None:
    recipe = load(RECIPES[0])
    saved = recipe.model_copy(update={"images": 1000, "decay_fraction": 0.3})
    assert saved.model_copy(update={"images": images}).resumable_from(saved, seen) is resumable

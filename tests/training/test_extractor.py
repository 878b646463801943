import csv
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from pydantic import ValidationError
from safetensors.torch import load_file

from bigain.errors import UserError
from bigain.features.mini import load_classifier
from bigain.locations import CONFIGS
from bigain.training.data import TrainingData
from bigain.training.extractor import ExtractorRecipe, ExtractorTrainer, accuracy


@pytest.fixture
def recipe(tmp_path: Path) -> ExtractorRecipe:
    """Three epochs of seven images: nine steps of two, and one image left over."""
    return ExtractorRecipe(
        epochs=3,
        batch_size=2,
        learning_rate=1e-2,
        weight_decay=0.01,
        seed=0,
        checkpoint_every=2,
        threads=1,
        output=tmp_path / "run",
        data_root=None,
    )


class KilledAtFive(ExtractorTrainer):
    """Dies in its sixth step."""

    def update(self) -> float:
        if self.step == 5:
            raise KeyboardInterrupt
        return super().update()


def rows(recipe: ExtractorRecipe) -> list[dict[str, str]]:
    return list(csv.DictReader((recipe.output / "curve.csv").open()))


def test_the_shipped_recipe_is_valid() -> None:
    settings = OmegaConf.load(CONFIGS / "training" / "extractor" / "mini.yaml")
    assert ExtractorRecipe.model_validate(OmegaConf.to_container(settings)).epochs == 8


@pytest.mark.parametrize(("key", "value"), [("epochs", 0), ("batch_size", 1), ("epoch", 3)])
def test_wrong_settings_are_refused(recipe: ExtractorRecipe, key: str, value: int) -> None:
    with pytest.raises(ValidationError, match=key):
        ExtractorRecipe.model_validate({**recipe.model_dump(), key: value})


def test_training_writes_weights_curve_and_checkpoint(
    recipe: ExtractorRecipe, data: TrainingData
) -> None:
    run = ExtractorTrainer(recipe, data)
    run.train()
    assert run.step == 9
    assert [row["epoch"] for row in rows(recipe)] == ["1", "2", "3"]
    weights = load_file(recipe.output / "model.safetensors")
    assert {t.dtype for t in weights.values()} == {torch.float16}
    loaded = load_classifier(recipe.output / "model.safetensors")
    with torch.inference_mode():
        expected = run.model.eval()(data.images)
        torch.testing.assert_close(loaded(data.images), expected, rtol=0.05, atol=0.05)


def test_it_learns_what_it_sees(recipe: ExtractorRecipe, data: TrainingData) -> None:
    long = recipe.model_copy(update={"epochs": 30, "batch_size": 7, "checkpoint_every": 1000})
    run = ExtractorTrainer(long, data)
    assert accuracy(run.model, data.images, data.labels) < 0.5
    run.train()
    assert accuracy(run.model, data.images, data.labels) == 1.0


def test_a_killed_run_goes_on_to_the_same_weights(
    recipe: ExtractorRecipe, data: TrainingData, tmp_path: Path
) -> None:
    """It dies in its sixth step; the last checkpoint is of step 4."""
    whole = recipe.model_copy(update={"output": tmp_path / "whole"})
    ExtractorTrainer(whole, data).train()
    with pytest.raises(KeyboardInterrupt):
        KilledAtFive(recipe, data).train()
    again = ExtractorTrainer(recipe, data)
    again.train()
    assert rows(recipe) == rows(whole)
    for name, value in load_file(whole.output / "model.safetensors").items():
        assert torch.equal(value, load_file(recipe.output / "model.safetensors")[name]), name


def test_rows_after_the_checkpoint_are_written_once(
    recipe: ExtractorRecipe, data: TrainingData
) -> None:
    """The last checkpoint is of step 4; the epoch that ends with step 6 is recorded twice."""
    rare = recipe.model_copy(update={"checkpoint_every": 4})

    class KilledAtSeven(ExtractorTrainer):
        def update(self) -> float:
            if self.step == 7:
                raise KeyboardInterrupt
            return super().update()

    with pytest.raises(KeyboardInterrupt):
        KilledAtSeven(rare, data).train()
    assert len(rows(rare)) == 2
    ExtractorTrainer(rare, data).train()
    assert [row["epoch"] for row in rows(rare)] == ["1", "2", "3"]


def test_another_recipe_does_not_go_on(recipe: ExtractorRecipe, data: TrainingData) -> None:
    ExtractorTrainer(recipe, data).train()
    ExtractorTrainer(recipe.model_copy(update={"threads": 2}), data).train()
    other = recipe.model_copy(update={"learning_rate": 1.0})
    with pytest.raises(UserError, match="its checkpoint has another recipe"):
        ExtractorTrainer(other, data).train()


def test_the_rate_rises_over_one_epoch_and_falls_to_zero(
    recipe: ExtractorRecipe, data: TrainingData
) -> None:
    run = ExtractorTrainer(recipe, data)
    rates = []
    while run.step < run.total_steps:
        run.update()
        rates.append(run.optimiser.param_groups[0]["lr"] / recipe.learning_rate)
    assert rates == pytest.approx([1 / 3, 2 / 3, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])

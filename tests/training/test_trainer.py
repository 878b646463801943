import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import Tensor

from bigain.backbones.mini import MiniUNet, build_mini
from bigain.errors import UserError
from bigain.locations import CONFIGS
from bigain.training import trainer
from bigain.training.data import TrainingData
from bigain.training.trainer import Trainer, TrainingConfig, learning_rate_factor, validate


class KilledAtThree(Trainer):
    """Dies in its fourth step."""

    def _update(self) -> float:
        if self.step == 3:
            raise KeyboardInterrupt
        return super()._update()


@pytest.fixture(autouse=True)
def _quick_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = {"validation_loss": 0.5, "validation_accuracy": 0.5}
    monkeypatch.setattr(trainer, "validate", lambda *_: measured)


def test_learning_rate_warms_up_stays_and_decays_to_zero(config: TrainingConfig) -> None:
    long = config.model_copy(update={"images": 1000, "warmup_images": 100, "decay_fraction": 0.2})
    factors = [learning_rate_factor(long, seen) for seen in range(0, 1001, 50)]
    assert factors[0] == pytest.approx(0.02)
    assert factors[2:17] == [1.0] * 15
    assert factors[18] == pytest.approx(0.5)
    assert factors[20] == 0.0


def test_before_the_decay_the_total_does_not_matter(config: TrainingConfig) -> None:
    short, long = (config.model_copy(update={"images": n}) for n in (1000, 4000))
    assert [learning_rate_factor(short, s) for s in range(500)] == [
        learning_rate_factor(long, s) for s in range(500)
    ]


def test_training_writes_weights_curve_and_checkpoint(
    config: TrainingConfig, data: TrainingData
) -> None:
    run = Trainer(config, data)
    before = {k: v.clone() for k, v in run.model.state_dict().items()}
    run.train()
    rows = list(csv.DictReader((config.output / "curve.csv").open()))
    assert [int(row["images"]) for row in rows] == [6, 12]
    assert float(rows[-1]["learning_rate"]) == 0.0
    weights = load_file(config.output / "model.safetensors")
    assert {t.dtype for t in weights.values()} == {torch.float16}
    assert set(weights) == set(before)
    averaged = run.averaged_model.state_dict()
    moved = [name for name in weights if not torch.equal(averaged[name], before[name])]
    assert len(moved) > len(weights) / 2
    assert all(torch.equal(weights[name], averaged[name].half()) for name in weights)


def test_average_follows_the_warmed_up_decay(config: TrainingConfig, data: TrainingData) -> None:
    run = Trainer(config, data)
    name = "denoiser.proj_out_2.bias"
    expected = None
    for n in range(4):
        run._update()
        current = run.model.state_dict()[name].clone()
        decay = min(config.ema_decay, (1 + n) / (10 + n))
        expected = current if expected is None else decay * expected + (1 - decay) * current
    assert expected is not None
    assert torch.allclose(run.averaged_model.state_dict()[name], expected, atol=1e-7)


def test_a_killed_run_resumes_to_the_same_bytes(config: TrainingConfig, data: TrainingData) -> None:
    Trainer(config, data).train()
    unbroken = (config.output / "model.safetensors").read_bytes()
    broken = config.model_copy(update={"output": config.output.with_name("broken")})

    with pytest.raises(KeyboardInterrupt):
        KilledAtThree(broken, data).train()
    assert not (broken.output / "model.safetensors").exists()
    resumed = Trainer(broken, data)
    resumed.train()
    assert (broken.output / "model.safetensors").read_bytes() == unbroken


def test_a_checkpoint_of_another_recipe_is_refused(
    config: TrainingConfig, data: TrainingData
) -> None:
    Trainer(config, data).train()
    other = config.model_copy(update={"seed": 1})
    with pytest.raises(UserError, match=r"training\.output="):
        Trainer(other, data).train()


def test_a_total_changed_before_the_decay_gives_what_it_gives_from_nothing(
    config: TrainingConfig, data: TrainingData
) -> None:
    Trainer(config, data).train()
    longer = config.model_copy(
        update={"images": 16, "validate_every": 2, "output": config.output.with_name("longer")}
    )

    with pytest.raises(KeyboardInterrupt):
        KilledAtThree(longer, data).train()
    Trainer(longer.model_copy(update={"images": 12}), data).train()
    assert (longer.output / "model.safetensors").read_bytes() == (
        config.output / "model.safetensors"
    ).read_bytes()
    with pytest.raises(UserError, match=r"after 12 images .*training\.images before the decay"):
        Trainer(longer, data).train()


def test_a_kill_after_a_row_does_not_repeat_it(config: TrainingConfig, data: TrainingData) -> None:
    class Killed(Trainer):
        def _checkpoint(self) -> None:
            if self.step == 6:
                raise KeyboardInterrupt
            super()._checkpoint()

    with pytest.raises(KeyboardInterrupt):
        Killed(config, data).train()
    Trainer(config, data).train()
    rows = list(csv.DictReader((config.output / "curve.csv").open()))
    assert [int(row["images"]) for row in rows] == [6, 12]


def test_losses_fall_on_a_repeated_batch(config: TrainingConfig, data: TrainingData) -> None:
    run = Trainer(config.model_copy(update={"images": 80, "learning_rate": 3e-3}), data)
    batch = data.batch(0, 2, 0, 0.0, 10)
    constant: Any = lambda *_: batch  # noqa: E731
    run.data = type("Constant", (), {"batch": constant})()
    losses = [run._update() for _ in range(30)]
    assert losses[-1] < 0.8 * losses[0]


RECIPES = sorted((CONFIGS / "training").glob("*.yaml"))


def load(path: Path) -> TrainingConfig:
    return TrainingConfig.model_validate(OmegaConf.to_container(OmegaConf.load(path)))


def test_each_backbone_has_a_valid_recipe_of_its_name() -> None:
    assert [path.stem for path in RECIPES] == ["mini_dit", "mini_unet"]
    for path in RECIPES:
        config = load(path)
        assert config.backbone == path.stem
        assert config.images % config.batch_size == 0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("images", 0),
        ("learning_rate", -1.0),
        ("class_dropout", 1.0),
        ("backbone", "sd20"),
        ("learning_rat", 1.0),
    ],
)
def test_wrong_settings_are_refused(key: str, value: object) -> None:
    settings = load(RECIPES[0]).model_dump() | {key: value}
    with pytest.raises(ValidationError, match=key):
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


class Oracle(MiniUNet):
    """Knows the clean images: predicts the true noise under the true class, zero under others."""

    def __init__(self, data: TrainingData) -> None:
        super().__init__()
        self.data = data

    def forward(self, latents: Tensor, timesteps: Tensor, labels: Tensor) -> Tensor:
        clean = self.encode(self.data.validation_images)
        abar = self.scheduler.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
        noise = (latents - abar.sqrt() * clean) / (1 - abar).sqrt()
        right = (labels == self.data.validation_labels).float().view(-1, 1, 1, 1)
        known: Tensor = noise * right
        return known


def test_an_oracle_has_no_error_and_full_accuracy(data: TrainingData) -> None:
    measured = validate(Oracle(data), data, 2)
    assert measured["validation_loss"] < 1e-6
    assert measured["validation_accuracy"] == 1.0


def test_an_untrained_model_has_the_error_of_guessing_zero(data: TrainingData) -> None:
    torch.manual_seed(0)
    model = build_mini("mini_dit")
    measured = validate(model, data, 1)
    assert 0.8 < measured["validation_loss"] < 1.2
    assert measured == validate(model, data, 1)

"""Training of a mini backbone by predicting the noise: unweighted MSE, AdamW, EMA, exact resume.

Learning rate: linear warm-up, constant, then linear decay to zero over the last `decay_fraction`
of the images.  The shipped weights are the exponential moving average.

Two numbers on held-out images of the *training* split follow the training: `validation_loss`, the
noise-prediction error at fixed noise, and `validation_accuracy`, the accuracy of a diffusion
classifier with five trials (timesteps 100, 300, ..., 900).
"""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import save_file
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from bigain.backbones.mini import NULL_CLASS, NUM_CLASSES, MiniDiT, MiniUNet, build_mini
from bigain.config.base import Folder
from bigain.errors import UserError
from bigain.files import append_csv_row, replace_file, replace_text
from bigain.training.data import TrainingData

__all__ = ["Trainer", "TrainingConfig", "learning_rate_factor", "validate"]


class TrainingConfig(BaseModel):
    """One recipe.  `images` counts training images seen, with repetition.

    Only `images`, `output`, `data_root` and `threads` may differ when a checkpoint is resumed, and
    `images` only before the final decay of either recipe starts: until then the learning rate does
    not depend on it, so the result equals that of the new recipe from scratch.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    backbone: Literal["mini_unet", "mini_dit"]
    images: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    warmup_images: int = Field(ge=0)
    decay_fraction: float = Field(gt=0, le=1)
    weight_decay: float = Field(ge=0)
    gradient_clip: float = Field(gt=0)
    class_dropout: float = Field(ge=0, lt=1)
    ema_decay: float = Field(ge=0, lt=1)
    seed: int = Field(ge=0)
    validation_images: int = Field(gt=0, le=5000)
    validate_every: int = Field(gt=0)
    checkpoint_every: int = Field(gt=0)
    threads: int = Field(gt=0)
    channels_last: bool
    output: Folder
    data_root: Folder | None

    @property
    def decay_start(self) -> float:
        """Images seen when the learning rate begins to fall."""
        return self.images * (1 - self.decay_fraction)

    def resumable_from(self, other: "TrainingConfig", images_seen: int) -> bool:
        """Whether a checkpoint of `other` after `images_seen` may continue under this recipe."""
        free = {"images", "output", "data_root", "threads"}
        alike = self.model_dump(exclude=free) == other.model_dump(exclude=free)
        before_decay = images_seen <= min(self.decay_start, other.decay_start) * (1 + 1e-9)
        return alike and (self.images == other.images or before_decay)


_LOG = logging.getLogger(__name__)


def learning_rate_factor(config: TrainingConfig, images_seen: int) -> float:
    """Multiplier of the peak learning rate, in [0, 1], after `images_seen` images."""
    warmup = min(1.0, (images_seen + config.batch_size) / max(1, config.warmup_images))
    remaining = (config.images - images_seen) / (config.images * config.decay_fraction)
    return min(warmup, max(0.0, remaining), 1.0)


class Trainer:
    """Model, average, optimiser and step counter; everything else follows from them."""

    def __init__(self, config: TrainingConfig, data: TrainingData) -> None:
        self.config = config
        self.data = data
        self.step = 0
        torch.manual_seed(config.seed)
        self.model = build_mini(config.backbone)
        if config.channels_last:
            self.model = self.model.to(memory_format=torch.channels_last)
        self.average = AveragedModel(self.model, multi_avg_fn=self._average_into, use_buffers=False)
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(),
            lr=config.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=config.weight_decay,
        )
        self.schedule = self._make_schedule()
        self.total_steps = config.images // config.batch_size

    @property
    def averaged_model(self) -> MiniUNet | MiniDiT:
        """The model whose weights are the moving average."""
        module = self.average.module
        assert isinstance(module, MiniUNet | MiniDiT)
        return module

    def train(self) -> None:
        """Run to `config.images`, from the checkpoint in `config.output` if there is one."""
        self.config.output.mkdir(parents=True, exist_ok=True)
        self._resume()
        started = time.monotonic()
        bar = tqdm(total=self.total_steps, initial=self.step, unit="step", mininterval=10)
        while self.step < self.total_steps:
            loss = self._update()
            bar.update()
            if self.step % self.config.validate_every == 0 or self.step == self.total_steps:
                self._record(loss, time.monotonic() - started)
            if self.step % self.config.checkpoint_every == 0 or self.step == self.total_steps:
                self._checkpoint()
        bar.close()
        self.export(self.config.output / "model.safetensors")

    def export(self, path: Path) -> None:
        """Write the averaged weights in half precision, as they ship."""
        state = {
            name: value.half().contiguous()
            for name, value in self.averaged_model.state_dict().items()
        }
        replace_file(path, lambda temporary: save_file(state, temporary))

    def _update(self) -> float:
        self.model.train()
        loss = self._loss()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip)
        self.optimiser.step()
        self.schedule.step()
        self.average.update_parameters(self.model)
        self.step += 1
        return float(loss.detach())

    def _make_schedule(self) -> LambdaLR:
        """The learning rate from the current step on."""
        return LambdaLR(
            self.optimiser,
            lambda step: learning_rate_factor(self.config, step * self.config.batch_size),
            last_epoch=self.step - 1,
        )

    def _loss(self) -> Tensor:
        config = self.config
        batch = self.data.batch(
            self.step, config.batch_size, config.seed, config.class_dropout, NULL_CLASS
        )
        latents, noise = self.model.encode(batch.images), self.model.encode(batch.noise)
        noisy = self.model.scheduler.add_noise(latents, noise, batch.timesteps)
        if config.channels_last:
            noisy = noisy.contiguous(memory_format=torch.channels_last)
        prediction = self.model(noisy, batch.timesteps, batch.labels)
        return F.mse_loss(prediction, noise)

    def _average_into(
        self, averaged: Sequence[Tensor], current: Sequence[Tensor], updates: Tensor | int
    ) -> None:
        n = int(updates)
        decay = min(self.config.ema_decay, (1 + n) / (10 + n))
        torch._foreach_lerp_(list(averaged), list(current), 1 - decay)

    def _record(self, loss: float, seconds: float) -> None:
        measured = validate(self.averaged_model, self.data, self.config.validation_images)
        row: dict[str, Any] = {
            "images": self.step * self.config.batch_size,
            "batch_loss": round(loss, 5),
            "learning_rate": round(float(self.schedule.get_last_lr()[0]), 8),
            **measured,
            "seconds_this_session": round(seconds),
        }
        append_csv_row(self.config.output / "curve.csv", row)
        _LOG.info("%s", row)

    def _forget_rows_after(self, images_seen: int) -> None:
        """Drop rows of the curve that will be written again."""
        path = self.config.output / "curve.csv"
        if path.exists():
            header, *rows = path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [row for row in rows if int(row.partition(",")[0]) <= images_seen]
            replace_text(path, "".join([header, *kept]))

    def _checkpoint(self) -> None:
        state = {
            "step": self.step,
            "config": self.config.model_dump_json(),
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        path = self.config.output / "checkpoint.pt"
        replace_file(path, lambda temporary: torch.save(state, temporary))

    def _resume(self) -> None:
        path = self.config.output / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        saved = TrainingConfig.model_validate_json(state["config"])
        seen = int(state["step"]) * saved.batch_size
        if not self.config.resumable_from(saved, seen):
            raise UserError(
                f"training.output={self.config.output}: its checkpoint after {seen} images has "
                "another recipe; allowed: an empty folder, or the same recipe (threads and paths "
                "may change, training.images before the decay)"
            )
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = int(state["step"])
        self.schedule = self._make_schedule()
        self._forget_rows_after(seen)
        _LOG.info("resumed at step %d of %d", self.step, self.total_steps)


_VALIDATION_TIMESTEPS = (100, 300, 500, 700, 900)
_VALIDATION_BATCH = 50


@torch.inference_mode()
def validate(model: MiniUNet | MiniDiT, data: TrainingData, count: int) -> dict[str, float]:
    """Validation loss and accuracy of `model` on the first `count` held-out images."""
    model.eval()
    labels = data.validation_labels[:count]
    errors = torch.cat(
        [_errors(model, images, start) for start, images in _chunks(data.validation_images[:count])]
    )
    mean_errors = errors.mean(dim=1)
    true_errors = mean_errors.gather(1, labels[:, None])
    accuracy = (mean_errors.argmin(dim=1) == labels).double().mean()
    return {
        "validation_loss": round(float(true_errors.mean()), 5),
        "validation_accuracy": round(float(accuracy), 4),
    }


def _chunks(images: Tensor) -> list[tuple[int, Tensor]]:
    return [
        (start, images[start : start + _VALIDATION_BATCH])
        for start in range(0, len(images), _VALIDATION_BATCH)
    ]


def _errors(model: MiniUNet | MiniDiT, images: Tensor, start: int) -> Tensor:
    """Mean squared noise error of shape (B, timesteps, classes)."""
    generator = torch.Generator().manual_seed(start)
    latents = model.encode(images)
    columns = []
    for timestep in _VALIDATION_TIMESTEPS:
        noise = model.encode(torch.randn(images.shape, generator=generator))
        timesteps = torch.full((len(images),), timestep)
        noisy = model.scheduler.add_noise(latents, noise, timesteps)
        for label in range(NUM_CLASSES):
            prediction = model(noisy, timesteps, torch.full_like(timesteps, label))
            columns.append((prediction - noise).square().flatten(1).mean(1))
    return torch.stack(columns, dim=1).view(len(images), len(_VALIDATION_TIMESTEPS), NUM_CLASSES)

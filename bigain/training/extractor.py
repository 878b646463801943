"""Training of the classifier behind `frechet_mini`: cross-entropy, AdamW, exact resume.

Batches are a function of (seed, step), so a resumed run gives the weights of an uninterrupted one.
The validation images are held out from the training split; the test split is never read.
"""

import logging
from pathlib import Path

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from bigain.config.base import Folder
from bigain.errors import UserError
from bigain.features.mini import MiniClassifier
from bigain.files import append_csv_row, replace_file, replace_text
from bigain.training.data import TrainingData

__all__ = ["ExtractorRecipe", "ExtractorTrainer", "accuracy"]

_LOG = logging.getLogger(__name__)
_BATCH = 500


class ExtractorRecipe(BaseModel):
    """One recipe; the YAML is `configs/training/extractor/mini.yaml`.

    A checkpoint can only be resumed with the recipe that made it; paths and threads may differ.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(gt=0)
    batch_size: int = Field(gt=1)
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    seed: int = Field(ge=0)
    checkpoint_every: int = Field(gt=0)
    threads: int = Field(gt=0)
    output: Folder
    data_root: Folder | None

    def alike(self, other: "ExtractorRecipe") -> bool:
        """Whether both give the same weights."""
        free = {"threads", "output", "data_root", "checkpoint_every"}
        return self.model_dump(exclude=free) == other.model_dump(exclude=free)


class ExtractorTrainer:
    """Model, optimiser and step counter; everything else follows from them."""

    def __init__(self, recipe: ExtractorRecipe, data: TrainingData) -> None:
        self.recipe = recipe
        self.data = data
        self.step = 0
        self.steps_per_epoch = len(data.images) // recipe.batch_size
        self.total_steps = recipe.epochs * self.steps_per_epoch
        torch.manual_seed(recipe.seed)
        # channels_last is a quarter faster on CPUs
        self.model = MiniClassifier().to(memory_format=torch.channels_last)
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )

    def train(self) -> None:
        """Run to the end, from the checkpoint in `recipe.output` if there is one, and export."""
        self.recipe.output.mkdir(parents=True, exist_ok=True)
        self._resume()
        with tqdm(total=self.total_steps, initial=self.step, unit="step", mininterval=10) as bar:
            while self.step < self.total_steps:
                loss = self.update()
                bar.update()
                if self.step % self.steps_per_epoch == 0:
                    self._record(loss)
                if self.step % self.recipe.checkpoint_every == 0 or self.step == self.total_steps:
                    self._checkpoint()
        self.export(self.recipe.output / "model.safetensors")

    def update(self) -> float:
        """Take one step.  Returns the loss before it."""
        self.model.train()
        images, labels = self.data.examples(self.step, self.recipe.batch_size, self.recipe.seed)
        loss = F.cross_entropy(self.model(images), labels)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.learning_rate * self._rate_factor()
        self.optimiser.step()
        self.step += 1
        return float(loss.detach())

    def export(self, path: Path) -> None:
        """Write the weights in half precision, as they ship."""
        floats = {k: v for k, v in self.model.state_dict().items() if v.is_floating_point()}
        state = {name: value.half().contiguous() for name, value in floats.items()}
        replace_file(path, lambda temporary: save_file(state, temporary))

    def _rate_factor(self) -> float:
        """Share of the peak learning rate: rises over one epoch, then falls linearly to zero."""
        falling = max(1, self.total_steps - self.steps_per_epoch)
        return min((self.step + 1) / self.steps_per_epoch, (self.total_steps - self.step) / falling)

    def _record(self, loss: float) -> None:
        data = self.data
        row: dict[str, object] = {
            "epoch": self.step // self.steps_per_epoch,
            "batch_loss": round(loss, 4),
            "validation_accuracy": round(
                accuracy(self.model, data.validation_images, data.validation_labels), 4
            ),
        }
        append_csv_row(self.recipe.output / "curve.csv", row)
        _LOG.info("%s", row)

    def _checkpoint(self) -> None:
        state = {
            "step": self.step,
            "recipe": self.recipe.model_dump_json(),
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        path = self.recipe.output / "checkpoint.pt"
        replace_file(path, lambda temporary: torch.save(state, temporary))

    def _resume(self) -> None:
        path = self.recipe.output / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        if not self.recipe.alike(ExtractorRecipe.model_validate_json(state["recipe"])):
            raise UserError(
                f"output={self.recipe.output}: its checkpoint has another recipe; allowed: an "
                "empty folder, or the same recipe (threads and paths may change)"
            )
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = int(state["step"])
        self._forget_epochs_after(self.step // self.steps_per_epoch)

    def _forget_epochs_after(self, epoch: int) -> None:
        """Drop rows of the curve that will be written again."""
        path = self.recipe.output / "curve.csv"
        if path.exists():
            header, *rows = path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [row for row in rows if int(row.partition(",")[0]) <= epoch]
            replace_text(path, "".join([header, *kept]))


@torch.inference_mode()
def accuracy(model: MiniClassifier, images: Tensor, labels: Tensor) -> float:
    """Share of `images` (n, 1, 32, 32) that `model` classifies correctly, in [0, 1]."""
    model.eval()
    predictions = torch.cat([model(part).argmax(dim=1) for part in images.split(_BATCH)])
    return float((predictions == labels).double().mean())

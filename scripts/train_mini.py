"""Train a mini backbone from nothing: `python scripts/train_mini.py training=mini_unet`."""

import logging
import sys

import hydra
import torch
from omegaconf import DictConfig, OmegaConf
from pydantic import ValidationError

from bigain.errors import UserError
from bigain.training.config import TrainingConfig
from bigain.training.data import load_training_data
from bigain.training.trainer import Trainer


@hydra.main(version_base="1.3", config_path="../configs", config_name="train_mini")
def main(composed: DictConfig) -> None:
    """Validate the recipe, train, export `model.safetensors` beside the curve."""
    try:
        config = TrainingConfig.model_validate(
            OmegaConf.to_container(composed.training, resolve=True)
        )
        torch.set_num_threads(config.threads)
        Trainer(config, load_training_data(config.data_root)).train()
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        print(f"training.{key}={first['input']!r}: {first['msg']}", file=sys.stderr)
        raise SystemExit(2) from None
    except UserError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    main()

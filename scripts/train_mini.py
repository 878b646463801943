"""Train a mini backbone from nothing: `python scripts/train_mini.py training=mini_unet`."""

import logging
import sys
from collections.abc import Sequence

import hydra
import torch
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from pydantic import ValidationError

from bigain.config.messages import did_you_mean, unknown_key
from bigain.errors import UserError
from bigain.launch.compose import config_loader
from bigain.launch.overrides import parse_overrides
from bigain.locations import CONFIGS
from bigain.machine import keep_freed_memory
from bigain.training.data import load_training_data
from bigain.training.trainer import Trainer, TrainingConfig

_RECIPES = "training"


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="train_mini")
def train(composed: DictConfig) -> None:
    """Validate the recipe, train, export `model.safetensors` beside the curve."""
    try:
        config = TrainingConfig.model_validate(
            OmegaConf.to_container(composed.training, resolve=True)
        )
        torch.set_num_threads(config.threads)
        keep_freed_memory()
        Trainer(config, load_training_data(config.data_root)).train()
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        print(f"training.{key}={first['input']!r}: {first['msg']}", file=sys.stderr)
        raise SystemExit(2) from None
    except UserError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


def check_overrides(overrides: Sequence[str]) -> None:
    """Raise UserError for a recipe or a key that does not exist, which Hydra tells at length."""
    with config_loader() as loader:
        recipes = loader.get_group_options(_RECIPES)
        for override in parse_overrides(loader, overrides):
            _check_override(override, recipes)


def _check_override(override: Override, recipes: Sequence[str]) -> None:
    text, key = str(override.input_line), override.key_or_group
    if key == _RECIPES:
        if not override.is_sweep_override() and override.value() not in recipes:
            hint = did_you_mean(str(override.value()), recipes)
            raise UserError(f"{text}: allowed: {', '.join(recipes)}{hint}")
    elif not key.startswith("hydra"):
        known = [f"{_RECIPES}.{name}" for name in TrainingConfig.model_fields]
        if key not in known:
            raise UserError(unknown_key(text, key, known, known))
        if override.is_add() or override.is_delete():
            raise UserError(f"{text}: allowed: {key}=VALUE (the key exists and stays)")


def main() -> None:
    """Check the command line, then train; a mistake is one line and exit code 2."""
    options, _ = get_args_parser().parse_known_intermixed_args()
    try:
        check_overrides(options.overrides)
    except UserError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    train()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    main()

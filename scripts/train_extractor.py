"""Train the classifier behind `frechet_mini`: `python scripts/train_extractor.py [key=value ...]`.

The recipe is `configs/training/extractor/mini.yaml`.  Leaves `model.safetensors` and `curve.csv` in
the recipe's `output`; prints the revision and, for the model card alone, the accuracy on the test
split.  To ship them: copy both files into `bigain/assets/mini_extractor` and set `REVISION` in
`bigain/features/mini.py`.
"""

import sys
from collections.abc import Sequence

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from bigain.backbones.mini import pad_and_standardise
from bigain.data import fashion_mnist
from bigain.errors import UserError
from bigain.features.mini import load_classifier
from bigain.files import file_sha256
from bigain.locations import CONFIGS
from bigain.machine import keep_freed_memory
from bigain.metrics import wilson
from bigain.training.data import load_training_data
from bigain.training.extractor import ExtractorRecipe, ExtractorTrainer, accuracy

RECIPE = CONFIGS / "training" / "extractor" / "mini.yaml"


def read_recipe(overrides: Sequence[str]) -> ExtractorRecipe:
    """The recipe with `key=value` overrides.

    Raises:
        UserError: a key that does not exist or a value that is not allowed.

    """
    wrong = [text for text in overrides if "=" not in text]
    if wrong:
        raise UserError(f"{wrong[0]}: not understood; allowed: key=value")
    try:
        settings = OmegaConf.merge(OmegaConf.load(RECIPE), OmegaConf.from_dotlist([*overrides]))
        return ExtractorRecipe.model_validate(OmegaConf.to_container(settings))
    except OmegaConfBaseException as error:
        raise UserError(f"{' '.join(overrides)}: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        allowed = ", ".join(ExtractorRecipe.model_fields)
        raise UserError(f"{key}={first['input']!r}: {first['msg']}; keys: {allowed}") from None


def accuracy_on_test_split(recipe: ExtractorRecipe) -> tuple[int, int]:
    """Number of test images in their class, and of test images, with the exported weights."""
    root = fashion_mnist.find_root(recipe.data_root)
    assert root is not None, "the training split was there"
    images, labels = fashion_mnist.read_split(root, "test")
    model = load_classifier(recipe.output / "model.safetensors")
    share = accuracy(
        model, torch.from_numpy(pad_and_standardise(images)), torch.from_numpy(labels.astype("i8"))
    )
    return round(share * len(labels)), len(labels)


def main(arguments: Sequence[str]) -> int:
    """Train; a mistake is one line and exit code 2."""
    try:
        recipe = read_recipe(arguments)
        torch.set_num_threads(recipe.threads)
        keep_freed_memory()
        ExtractorTrainer(recipe, load_training_data(recipe.data_root)).train()
    except UserError as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    right, n = accuracy_on_test_split(recipe)
    low, high = wilson(right, n)
    path = recipe.output / "model.safetensors"
    print(f"revision {file_sha256(path)[:12]}, {path.stat().st_size} bytes")
    print(f"test accuracy {100 * right / n:.2f} % [{100 * low:.1f}, {100 * high:.1f}], n = {n}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

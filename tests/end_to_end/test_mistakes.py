"""What stops a run of a published model: one line, exit code 2, and nothing is written."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from bigain.cli.main import main
from bigain.testing.backbones import save_tiny_pipeline
from bigain.testing.datasets import write_tiny

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`model` and `data`, tiny and complete; not to be changed by a test."""
    folder = tmp_path_factory.mktemp("whole")
    save_tiny_pipeline("sd20", folder / "model")
    for name in ("pets", "coco2017"):
        write_tiny(name, folder / "data")
    return folder


@pytest.fixture
def complaint(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[[Callable[[Path], None], str], str]:
    """The line that a run over a spoilt copy ends with."""

    def run(spoil: Callable[[Path], None], dataset: str = "pets") -> str:
        shutil.copytree(whole, tmp_path / "own")
        spoil(tmp_path / "own")
        own = [f"backbone.path={tmp_path / 'own' / 'model'}", f"dataset.root={tmp_path}/own/data"]
        own += [f"paths.results={tmp_path / 'results'}", "dataset.limit=12"]
        code = main(["backbone=sd20", f"dataset={dataset}", *own])
        out, err = capsys.readouterr()
        # That the model is a tiny one is said too, where its settings could be read.
        lines = [line for line in err.splitlines() if "is not as published" not in line]
        assert (code, out, len(lines)) == (2, "", 1), err
        assert not (tmp_path / "results" / "runs").exists()
        return lines[0]

    return run


def without_a_key(folder: Path) -> None:
    tensors = load_file(folder / "model" / UNET)
    del tensors["conv_in.bias"]
    save_file(tensors, folder / "model" / UNET, {"format": "pt"})


def a_breed_more(folder: Path) -> None:
    with (folder / "data/oxford-iiit-pet/annotations/test.txt").open("a") as handle:
        handle.write("poodle_9 38 2 26\n")


def another_category(folder: Path) -> None:
    path = folder / "data/coco/annotations/instances_val2017.json"
    path.write_text(path.read_text().replace('"name": "bicycle"', '"name": "unicorn"'))


@pytest.mark.parametrize(
    ("spoil", "dataset", "named"),
    [
        (without_a_key, "pets", ["1 weights are missing", "conv_in.bias"]),
        (a_breed_more, "pets", ["poodle_9", "has no prompt"]),
        (another_category, "coco2017", ["(unicorn)", "has no prompt"]),
        (
            lambda f: (f / "data/oxford-iiit-pet/annotations/test.txt").unlink(),
            "pets",
            ["annotations/test.txt is missing", "`bigain doctor dataset=pets"],
        ),
        (
            lambda f: (f / "data/coco/annotations/captions_val2017.json").unlink(),
            "coco2017",
            ["annotations/captions_val2017.json is missing", "`bigain doctor dataset=coco2017"],
        ),
        (lambda f: shutil.rmtree(f / "model/vae"), "pets", ["backbone.path=", "vae"]),
        (lambda f: shutil.rmtree(f / "model"), "pets", ["backbone.path=", "is no folder"]),
    ],
)
def test_what_is_wrong_is_named(
    complaint: Callable[..., str], spoil: Callable[[Path], None], dataset: str, named: list[str]
) -> None:
    line = complaint(spoil, dataset)
    assert all(word in line for word in named), line

"""The classification task over all of the paper's datasets, tiny, with all that is odd in them.

The backbone is a small U-Net of diffusers with random weights that takes colour images and any
number of classes; everything else is what a real run uses, from the files to metrics.csv.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

from bigain.backbones.base import Classes, PredictsNoise
from bigain.backbones.noise_schedules import variance_preserving
from bigain.config import RunConfig
from bigain.data.images import centre_crop_resize
from bigain.engine import build
from bigain.engine.run import run
from bigain.errors import UserError
from bigain.launch.compose import compose_config
from bigain.launch.summary import run_report
from bigain.metrics import wilson
from bigain.metrics.ranking import class_ranks
from bigain.runs.samples import read_samples
from bigain.testing.datasets import TRUNCATED, write_tiny
from bigain.testing.runs import read_metrics

IMAGES = {"pets": 37, "imagenet1k": 7, "imagenet100": 20, "coco2017": 12}
CLASSES = {"pets": 37, "imagenet1k": 1000, "imagenet100": 100, "coco2017": 80}
Make = Callable[..., RunConfig]


class ColourBackbone(PredictsNoise):
    """Sees the centre square of an image in 8x8 pixels of two colours."""

    def __init__(self, denoiser: nn.Module, num_classes: int) -> None:
        generator = torch.Generator().manual_seed(1)
        self.denoiser = denoiser
        self.num_classes = num_classes
        self._conditions = 3 * torch.randn(num_classes, 1, 6, generator=generator)
        abar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000).double(), 0)
        self.schedule = variance_preserving(abar)
        self.encoder_hidden_states: Tensor | None = None
        self.hashes: dict[str, str] = {}
        self.source: dict[str, Any] = {}

    def condition_on(self, classes: Classes) -> None:
        assert len(classes.prompts) == self.num_classes

    def encode(self, image: npt.NDArray[np.uint8]) -> Tensor:
        assert image.ndim == 3, "whatever the file, the image is RGB"
        square = torch.from_numpy(centre_crop_resize(image, 8))
        return square.permute(2, 0, 1)[None, :2].float() / 127.5 - 1

    def predict(self, latents: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        conditions = self._conditions[classes]
        output: Tensor = self.denoiser(latents, timesteps, encoder_hidden_states=conditions).sample
        return output


@pytest.fixture
def make(tmp_path: Path, tiny_unet: nn.Module, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A run over a tiny dataset, which is written when it is first asked for."""

    def configure(name: str, *overrides: str, results: str = "results") -> RunConfig:
        if not (tmp_path / "data" / name).exists():
            write_tiny(name, tmp_path / "data" / name)
        monkeypatch.setattr(
            build, "build_backbone", lambda *_, **__: ColourBackbone(tiny_unet, CLASSES[name])
        )
        root = f"dataset.root={tmp_path / 'data' / name}"
        limit = f"dataset.limit={IMAGES[name]}"
        dataset = compose_config(["task=efficiency", f"dataset={name}", limit, root]).dataset
        config = compose_config(
            [
                *("backbone=mini_unet", "batch_size=256"),
                *("task.trial_list=[2,4]", "task.keep_list=[5,1]"),
                *(f"paths.results={tmp_path / results}", *overrides),
            ]
        )
        return config.model_copy(update={"dataset": dataset})

    return configure


def metrics_of(folder: Path) -> pd.DataFrame:
    return read_metrics(folder).set_index("metric")


@pytest.mark.parametrize("name", IMAGES)
def test_a_run_goes_through_with_every_image_on_record(name: str, make: Make) -> None:
    """And the one that is cut short is wrong, named and counted."""
    config = make(name)
    outcome = run(config)
    assert (outcome.status, outcome.computed) == ("done", IMAGES[name])
    samples, metrics = read_samples(outcome.folder), metrics_of(outcome.folder)
    dataset = build.build_dataset(config.dataset)
    assert samples["image_id"].tolist() == dataset.image_ids
    for position, row in enumerate(samples.to_dict("records")):
        assert row["correct"] == (row["prediction"] in dataset[position].labels)
    correct, n = int(samples["correct"].sum()), IMAGES[name]
    assert metrics.loc["acc1", "value"] == pytest.approx(100 * correct / n)
    assert metrics.loc["acc1", "n"] == n
    interval = [metrics.loc["acc1", "ci_low"], metrics.loc["acc1", "ci_high"]]
    assert interval == pytest.approx([100 * end for end in wilson(correct, n)])
    _check_failure(name, samples, metrics)
    assert ("map_image" in metrics.index, "labels" in samples) == (name == "coco2017",) * 2
    assert str(config.dataset.root) not in (outcome.folder / "samples.csv").read_text()
    assert "failed_images 1 images n=" in " ".join(run_report(config, outcome).split())


def _check_failure(name: str, samples: pd.DataFrame, metrics: pd.DataFrame) -> None:
    failed = samples[samples["failure"].notna()]
    assert failed["position"].tolist() == [TRUNCATED]
    image_id = failed["image_id"].iloc[0]
    assert str(image_id) in failed["failure"].iloc[0] or name == "pets"
    assert not failed["correct"].any()
    assert failed["scores"].isna().all()
    assert metrics.loc["failed_images", "value"] == 1
    assert metrics.loc["failed_images", "n"] == IMAGES[name]
    labelled = sum(bool(own) for own in _labels(samples)) - 1
    assert metrics.loc["eps_error", "n"] == labelled


def _labels(samples: pd.DataFrame) -> list[list[int]]:
    return list(samples["labels"]) if "labels" in samples else [[x] for x in samples["label"]]


def test_the_precisions_of_coco_are_recomputed_from_its_records(make: Make) -> None:
    outcome = run(make("coco2017"))
    samples, metrics = read_samples(outcome.folder), metrics_of(outcome.folder)
    truth = np.array([[c in own for c in range(80)] for own in samples["labels"]])
    ranks = np.full((12, 80), 81)
    read = samples["failure"].isna().to_numpy()
    scores = np.array(samples["scores"][read].tolist())
    ranks[read] = class_ranks(scores, samples["prediction"][read].astype(int))
    counts = truth.any(axis=1) & read
    assert not truth.any(axis=1).all(), "one image has no label"
    each = [
        average_precision_score(own, -rank) if ok else 0.0
        for own, rank, ok in zip(truth, ranks, counts, strict=True)
    ]
    assert metrics.loc["map_image", "value"] == pytest.approx(100 * np.mean(each))
    assert metrics.loc["map_image", "n"] == 12
    classes = truth.any(axis=0)
    macro = average_precision_score(truth[:, classes], -ranks[:, classes], average="macro")
    assert metrics.loc["map_class", "value"] == pytest.approx(100 * macro)
    assert samples["label"].isna().all()


def test_shards_and_their_order_give_the_same_records(make: Make) -> None:
    """Errors agree to rounding: the tokens of a tiny model do not fill a matrix product's tiles."""
    whole = run(make("coco2017", results="whole"))
    for index in (1, 2, 0):
        part = run(make("coco2017", f"shard.index={index}", "shard.count=3", results="parts"))
    assert part.status == "done"
    found, expected = read_samples(part.folder), read_samples(whole.folder)
    lists, numbers = ["scores", "true_errors"], ["margin_mean", "margin_variance"]
    exact = found.columns.difference([*lists, *numbers])
    pd.testing.assert_frame_equal(found[exact], expected[exact])
    pd.testing.assert_frame_equal(found[numbers], expected[numbers], rtol=1e-4)
    for name in lists:
        for own, other in zip(found[name], expected[name], strict=True):
            assert own == pytest.approx(other, rel=1e-5) if isinstance(own, list) else own == other


def test_an_operator_is_compared_on_the_same_images(make: Make) -> None:
    run(make("coco2017", "operator=none"))
    outcome = run(make("coco2017", "operator=lgtm", "operator.ratio=0.5"))
    metrics = metrics_of(outcome.folder)
    assert len(set(metrics["n"][["eps_error_rise", "eps_error"]])) == 1
    assert metrics["value"]["eps_error_rise"] != 0


def test_a_repaired_file_needs_a_new_run(make: Make) -> None:
    config = make("pets")
    first = run(config)
    file = read_samples(first.folder)["failure"][TRUNCATED].partition(":")[0]
    path = Path(str(config.dataset.root)) / "oxford-iiit-pet" / file
    path.write_bytes(next(path.parent.glob("Abyssinian*.jpg")).read_bytes())
    with pytest.raises(UserError, match=r"made with another dataset/pets; .*force=true"):
        run(config)
    manifest = first.folder / "manifest.json"
    begun = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**begun, "status": "running"}))
    with pytest.raises(UserError, match=r"was started with another dataset/pets; .*force=true"):
        run(config)
    again = run(make("pets", "force=true"))
    assert again.computed == 37
    assert "failed_images" not in metrics_of(again.folder).index
    assert "failure" not in read_samples(again.folder)


def test_a_longer_run_takes_over_what_was_read(make: Make) -> None:
    config = make("imagenet100")
    short = config.model_copy(update={"dataset": config.dataset.model_copy(update={"limit": 8})})
    assert run(short).computed == 8
    assert run(config).computed == 20 - 7, "the image that failed is tried again"


@pytest.mark.parametrize("name", ["pets", "coco2017"])
def test_missing_data_ends_before_any_model_is_built(
    name: str, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make(name)
    moved = config.dataset.model_copy(update={"root": tmp_path / "nowhere"})

    def no_model(*_: object, **__: object) -> None:
        raise AssertionError("a model was built")

    monkeypatch.setattr(build, "build_backbone", no_model)
    with pytest.raises(UserError, match=r"dataset\.root=.*nowhere: no .* is missing; expected"):
        run(config.model_copy(update={"dataset": moved}))
    assert not (tmp_path / "results" / "runs").exists()

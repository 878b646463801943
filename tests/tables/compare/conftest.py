"""Finished runs of the shipped garments, with made-up records."""

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bigain.config import RunConfig
from bigain.data.fashion_mnist import FashionMNIST
from bigain.metrics import Metric
from bigain.runs.files import Evaluation
from bigain.runs.identity import run_id
from bigain.runs.images import RunImages
from bigain.runs.pairing import FinishedRun, read_finished
from bigain.runs.store import RunStore
from bigain.testing.runs import evaluation_of

PLAIN: dict[str, Any] = json.loads((Path(__file__).parents[2] / "run_settings.json").read_text())
OPERATORS: Mapping[str, Mapping[str, Any]] = {
    "tome": {"_target_": "bigain.operators.ToMe", "ratio": 0.7, "cell": [2, 2], "random": True},
    "none": {"_target_": "bigain.operators.Identity"},
}
GENERATION: dict[str, Any] = {
    **{"name": "generation", "sampler": "ddim", "steps": 5, "guidance_scale": 2.0},
    **{"images_per_forward": 8, "image_format": "png", "extractor": "mini"},
    **{"extractor_weights": None, "reference": "split"},
}


def config_of(limit: int, task: Mapping[str, Any] | None = None, **operator: Any) -> RunConfig:
    plain = copy.deepcopy(PLAIN)
    plain["dataset"]["limit"] = limit
    plain["operator"] = {**OPERATORS[operator["name"]], "scope": "self", **operator}
    if operator["name"] == "none":
        plain["operator"] = {**OPERATORS["none"], "name": "none"}
    return RunConfig.model_validate({**plain, "task": task or plain["task"]})


def classified(image_id: int, label: int, prediction: int | None, margin: float) -> dict[str, Any]:
    """The record of an image; its noise error is 0.1 minus the margin."""
    return {
        "image_id": image_id,
        "label": label,
        "prediction": prediction,
        "correct": prediction == label,
        "scores": [0.1] * 10,
        "trials": [2] * 10,
        "true_errors": [0.1 - margin, 0.1 - margin],
        "margin_mean": margin,
        "margin_variance": 0.001,
        "seconds": 0.1,
    }


@pytest.fixture
def classify(tmp_path: Path) -> Callable[..., FinishedRun]:
    """Finish a run of the first images, of which some are predicted as the next class."""

    def make(
        limit: int = 20, wrong: Mapping[int, float] = {}, shift: int = 1, **operator: Any
    ) -> FinishedRun:
        dataset, config = FashionMNIST(limit), config_of(limit, **operator)
        store = RunStore(tmp_path, run_id(config))
        samples = [dataset[place] for place in range(limit)]
        with store.open(config, dataset.image_ids, {"hashes": hashes_of(dataset)}) as session:
            session.todo()
            for place, sample in enumerate(samples):
                assert sample.label is not None
                guess = (sample.label + shift) % 10 if place in wrong else sample.label
                margin = wrong.get(place, 0.01 + 0.001 * place)
                session.append(classified(sample.image_id, sample.label, guess, margin))
            session.finish(evaluation_of(config, tmp_path))
        return read_finished(tmp_path, store.run_id)

    return make


def hashes_of(dataset: FashionMNIST) -> dict[str, str]:
    return {"dataset/fashion_mnist": dataset.content_hash}


@pytest.fixture
def generate(tmp_path: Path) -> Callable[..., FinishedRun]:
    """Finish a generation of grey squares, whose values in the distance are the grey / 10."""

    def make(greys: Mapping[int, int], **operator: Any) -> FinishedRun:
        config = config_of(len(greys), GENERATION, **operator)
        store = RunStore(tmp_path, run_id(config))
        images = RunImages(store.folder, len(greys), "png")
        with store.open(config, list(greys), {}) as session:
            for i, grey in greys.items():
                digest = images.write(i, np.full((32, 32), grey, np.uint8))
                record = {"image_id": i, "condition": "bag <b>", "sha256": digest}
                session.append({**record, "frechet_value": grey / 10})
            values = [grey / 10 for grey in greys.values()]
            metric = Metric.of_mean("frechet_mini", values, "feature^2")
            session.finish(lambda records: Evaluation(records, [metric]))
        return read_finished(tmp_path, store.run_id)

    return make

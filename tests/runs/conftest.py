"""Configurations and records for the tests of the run store; no model, no data."""

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bigain.config import RunConfig
from bigain.runs.errors import Values, packed
from bigain.runs.files import Evaluation
from bigain.runs.identity import run_id
from bigain.runs.store import RunStore
from bigain.testing.runs import evaluation_of

SETTINGS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "run_settings.json").read_text())

TOME = {
    "_target_": "bigain.operators.ToMe",
    "name": "tome",
    "ratio": 0.7,
    "cell": [2, 2],
    "random": True,
    "scope": "self",
}


GENERATION: dict[str, Any] = {
    "name": "generation",
    "sampler": "ddim",
    "steps": 5,
    "guidance_scale": 2.0,
    "images_per_forward": 8,
    "image_format": "png",
    "extractor": "mini",
    "extractor_weights": None,
    "reference": "split",
}


def config_with(**changes: Any) -> RunConfig:
    """The settings above with dotted keys (double underscore) replaced."""
    plain: dict[str, Any] = RunConfig.model_validate(SETTINGS).model_dump(mode="json")
    for key, value in changes.items():
        *path, last = key.split("__")
        node = plain
        for part in path:
            node = node[part]
        node[last] = copy.deepcopy(value)
    return RunConfig.model_validate(plain)


def record_for(image_id: int, rise: float = 0.0, seconds: float = 0.01) -> dict[str, Any]:
    """A record that is a function of the image (and of the operator's rise in error) alone."""
    draw = random.Random(image_id)
    errors = [(1 + rise) * draw.uniform(0.1, 0.2) for _ in range(5)]
    label = image_id % 10
    prediction = label if draw.random() > 0.3 + rise else (label + 1) % 10
    record: dict[str, Any] = {
        "image_id": image_id,
        "label": label,
        "prediction": prediction,
        "correct": label == prediction,
        "scores": [draw.random() for _ in range(10)],
        "trials": [20] * 5 + [5] * 5,
        "true_errors": errors,
        "margin_mean": draw.gauss(0.01, 0.01),
        "margin_variance": draw.random() / 100,
        "seconds": seconds,
    }
    table = _table(errors, label, record["margin_mean"])
    return {**record, "first_stage": packed([125, 325, 525, 725, 925], table)}


def _table(true_errors: list[float], label: int, margin: float) -> Values:
    """Errors of ten classes, shape (trials, classes), with these errors and this mean margin."""
    return np.array(
        [[e if c == label else e + margin for c in range(10)] for e in true_errors], np.float32
    )


def finish_run(results: Path, config: RunConfig, rise: float = 0.0) -> RunStore:
    """Do the whole run of `config` with made-up records."""
    store = RunStore(results, run_id(config))
    image_ids = list(range(100, 100 + (config.dataset.limit or 50)))
    with store.open(config, image_ids, {"git_commit": None}) as session:
        for image_id in session.todo():
            session.append(record_for(image_id, rise))
        assert session.finish(evaluation_of(config, results))
    return store


def finish_generation(results: Path, config: RunConfig, shift: float = 0.0) -> RunStore:
    """A finished generation whose images' values in the distance are given."""
    store = RunStore(results, run_id(config))
    with store.open(config, list(range(20)), {}) as session:
        for i in session.todo():
            session.append({"image_id": i, "sha256": "0", "frechet_value": 3 + i % 7 + shift})
        session.finish(lambda records: Evaluation(records, []))
    return store


@pytest.fixture
def make_config() -> Callable[..., RunConfig]:
    return config_with


@pytest.fixture
def make_record() -> Callable[..., dict[str, Any]]:
    return record_for


@pytest.fixture
def make_run() -> Callable[..., RunStore]:
    return finish_run


@pytest.fixture
def make_generation() -> Callable[..., RunStore]:
    return finish_generation


@pytest.fixture
def generation() -> dict[str, Any]:
    return dict(GENERATION)


@pytest.fixture
def settings() -> dict[str, Any]:
    return copy.deepcopy(SETTINGS)


@pytest.fixture
def tome() -> dict[str, Any]:
    return dict(TOME)

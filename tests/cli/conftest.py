"""Runs on disk for the verbs: made-up records, no model, no Hydra."""

import copy
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bigain.config import RunConfig
from bigain.runs.identity import run_id
from bigain.runs.store import RunStore
from bigain.testing.runs import evaluation_of

PLAIN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "run_settings.json").read_text())
PLAIN["dataset"]["limit"] = 12
TOME = {"name": "tome", "ratio": 0.7, "cell": [2, 2], "random": True, "scope": "self"}
TOME |= {"_target_": "bigain.operators.ToMe"}
NONE = {"name": "none", "_target_": "bigain.operators.Identity"}
IMAGES = list(range(100, 112))

MakeRun = Callable[..., str]


def record(image_id: int, rise: float) -> dict[str, Any]:
    label = image_id % 10
    wrong = rise > 0 and image_id % 3 == 0
    prediction = (label + 1) % 10 if wrong else label
    return {
        "image_id": image_id,
        "label": label,
        "prediction": prediction,
        "correct": not wrong,
        "scores": [0.1 * (image_id % 7 + 1)] * 10,
        "trials": [20] * 5 + [5] * 5,
        "true_errors": [(1 + rise) * 0.01 * (image_id % 5 + step) for step in range(1, 6)],
        "margin_mean": 0.01,
        "margin_variance": 0.002,
        "seconds": 0.5,
    }


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Put a run into tmp_path: `images` of 12 records, then finish it, leave it or fail."""

    def make(
        operator: dict[str, Any] | None = None,
        images: int = len(IMAGES),
        error: Exception | None = None,
        seed: int = 0,
    ) -> str:
        plain = {**copy.deepcopy(PLAIN), "operator": operator or NONE, "seed": seed}
        config = RunConfig.model_validate(plain)
        store = RunStore(tmp_path, run_id(config))
        with suppress(RuntimeError), store.open(config, IMAGES, {}) as session:
            for image_id in session.todo()[:images]:
                session.append(record(image_id, 0.5 if operator else 0.0))
            if error:
                raise error
            session.finish(evaluation_of(config, tmp_path))
        return store.run_id

    return make


@pytest.fixture
def tome() -> dict[str, Any]:
    return dict(TOME)

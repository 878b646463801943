"""A whole run as plain data, as Hydra would hand it over."""

import copy
from typing import Any

import pytest

PLAIN: dict[str, Any] = {
    "profile": "mini",
    "backbone": {
        "name": "mini_unet",
        "revision": "0123456789ab",
        "sites": {"stages": ["encoder", "decoder"], "levels": [0], "blocks": None},
    },
    "dataset": {"name": "fashion_mnist", "limit": 40, "root": None},
    "operator": {"name": "none"},
    "task": {
        "name": "classification",
        "trial_list": [5, 20],
        "keep_list": [5, 1],
        "loss": "l2",
    },
    "seed": 0,
    "batch_size": 32,
    "device": "cpu",
    "dtype": "float32",
    "threads": None,
    "shard": {"index": 0, "count": 1},
    "tracking": "none",
    "force": False,
    "paths": {"results": "results", "data": None},
}


@pytest.fixture
def plain() -> dict[str, Any]:
    return copy.deepcopy(PLAIN)

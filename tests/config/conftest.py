"""A whole run as plain data, as Hydra would hand it over."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

PLAIN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "run_settings.json").read_text())
PLAIN["backbone"]["name"] = "mini_unet"
PLAIN["dataset"]["limit"] = 40


@pytest.fixture
def plain() -> dict[str, Any]:
    return copy.deepcopy(PLAIN)

"""One image, the shipped mini U-Net, and what any operator plans there."""

import gzip
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from bigain.backbones.base import Backbone
from bigain.cli.figures import table_runs
from bigain.engine import build
from bigain.figures import style
from bigain.figures.one_image import Scene, scenes
from bigain.figures.request import FigureRequest
from bigain.launch.compose import compose_config, compose_configs
from bigain.operators import Compression
from bigain.patching.selection import SiteSelection
from bigain.runs.files import METRIC_COLUMNS, csv_text
from bigain.tasks.token_maps import TokenMap, token_maps

Plan = Callable[..., tuple[TokenMap, ...]]
WriteRuns = Callable[[Mapping[tuple[str, str], float]], Path]
WriteRecords = Callable[[str, Sequence[float]], Path]


@pytest.fixture(scope="session")
def backbone() -> Backbone:
    config = compose_config(["backbone=mini_unet"]).backbone
    return build.build_backbone(config, torch.device("cpu"), "float32")


@pytest.fixture(scope="session")
def image() -> npt.NDArray[np.uint8]:
    shipped = build.build_dataset(compose_config([]).dataset)[0].image
    return np.pad(shipped, 2)


@pytest.fixture(scope="session")
def latents(backbone: Backbone) -> torch.Tensor:
    return backbone.encode(build.build_dataset(compose_config([]).dataset)[0].image)


@pytest.fixture(scope="session")
def plan(backbone: Backbone, latents: torch.Tensor) -> Plan:
    def run(operator: Compression, sites: SiteSelection | None = None) -> tuple[TokenMap, ...]:
        return token_maps(operator, backbone, latents, label=0, timestep=325, sites=sites)

    return run


@pytest.fixture
def call(tmp_path: Path) -> FigureRequest:
    """All figures of the mini profile, with results and pictures in the test's own folder."""
    return FigureRequest(
        "mini", None, (), tmp_path, tmp_path / "pictures", compose_configs, table_runs
    )


@pytest.fixture(scope="session")
def scene() -> Scene:
    """The mini U-Net and its image."""
    call = FigureRequest("mini", "mini_unet", (), Path(), Path(), compose_configs, table_runs)
    with scenes(call) as found:
        return found[0]


@pytest.fixture
def write_runs(call: FigureRequest) -> WriteRuns:
    """Write the profile's runs.csv with values of (run id, metric)."""

    def write(values: Mapping[tuple[str, str], float]) -> Path:
        rows = [
            {**dict.fromkeys(METRIC_COLUMNS), "run_id": run, "profile": "mini", "metric": metric}
            | {"value": value, "n": 400, "ci_low": value - 2, "ci_high": value + 2}
            for (run, metric), value in values.items()
        ]
        path = call.results / "mini" / "runs.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text(csv_text(METRIC_COLUMNS, rows))
        return path

    return write


@pytest.fixture
def write_records(call: FigureRequest) -> WriteRecords:
    """Publish the records of a run: whether images are right, or their shares in the distance."""

    def write(run: str, values: Sequence[float]) -> Path:
        rows: list[dict[str, object]] = [
            {"position": at, "image_id": at}
            | (
                {"label": 0, "prediction": 0 if value else 1, "correct": str(value).lower()}
                | {"true_errors": "[1.0]", "margin_mean": 1.0, "margin_variance": 1.0}
                if isinstance(value, bool)
                else {"frechet_value": value}
            )
            for at, value in enumerate(values)
        ]
        path = call.results / "mini" / "samples" / f"{run}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(path, "wt", encoding="utf-8") as handle:
            handle.write(csv_text(tuple(rows[0]), rows))
        return path

    return write


@pytest.fixture
def only_svg(monkeypatch: pytest.MonkeyPatch) -> None:
    """One format for speed; that all are written alike is a test of its own."""
    monkeypatch.setattr(style, "FORMATS", ("svg",))

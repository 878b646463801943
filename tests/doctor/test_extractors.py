from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bigain.config import RunConfig
from bigain.doctor.extractors import check_extractor
from bigain.features.inception import WEIGHTS_URL, find_weights

Compose = Callable[..., RunConfig]
FID = ["backbone=sd20", "dataset=pets", "task=generation"]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Torch hub's folder of checkpoints, which is empty."""
    folder = tmp_path / "torch" / "checkpoints"
    folder.mkdir(parents=True)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(folder.parent))
    return folder


@pytest.mark.parametrize("more", [[], ["task=generation"], ["task=efficiency"]])
def test_who_measures_without_inception_does_not_need_it(compose: Compose, more: list[str]) -> None:
    assert check_extractor(compose(*more)) == []


def test_missing_weights_come_with_both_ways_to_get_them(compose: Compose, hub: Path) -> None:
    (found,) = check_extractor(compose(*FID))
    file = hub / WEIGHTS_URL.rpartition("/")[2]
    assert (found.subject, found.status, found.what) == ("inception", "missing", f"no file {file}")
    assert found.advice[0] == f"download {WEIGHTS_URL} to there"
    assert found.advice[1].startswith("task.extractor_weights=FILE")
    assert not list(hub.iterdir())


def test_weights_are_looked_for_where_the_run_does(compose: Compose, hub: Path) -> None:
    (hub / WEIGHTS_URL.rpartition("/")[2]).write_bytes(bytes(2_000_000))
    (found,) = check_extractor(compose(*FID))
    assert (found.status, found.what) == ("ready", f"{find_weights()}, 2 MB")


@pytest.mark.usefixtures("hub")
def test_a_file_of_the_users_comes_first(compose: Compose, tmp_path: Path) -> None:
    own = tmp_path / "own.pth"
    run = compose(*FID, f"task.extractor_weights={own}")
    (found,) = check_extractor(run, needed=False)
    assert (found.status, found.stops) == ("missing", False)
    own.touch()
    assert check_extractor(run)[0].status == "ready"

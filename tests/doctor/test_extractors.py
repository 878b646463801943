import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bigain.config import RunConfig
from bigain.doctor.backbones import check_extractor, fetch_extractor
from bigain.features import inception
from bigain.features.inception import WEIGHTS_URL, find_weights
from bigain.files import file_sha256

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


def test_missing_weights_come_with_the_ways_to_get_them(compose: Compose, hub: Path) -> None:
    (found,) = check_extractor(compose(*FID))
    file = hub / WEIGHTS_URL.rpartition("/")[2]
    assert (found.subject, found.status, found.what) == ("inception", "missing", f"no file {file}")
    command, download, copy = found.advice
    assert command.startswith("bigain doctor backbone=sd20 dataset=pets task=generation --download")
    assert download == f"download {WEIGHTS_URL} to there"
    assert copy.startswith("task.extractor_weights=FILE")
    assert not list(hub.iterdir())


def test_weights_are_looked_for_where_the_run_does(
    compose: Compose, hub: Path, random_inception: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = hub / WEIGHTS_URL.rpartition("/")[2]
    shutil.copyfile(random_inception, file)
    (found,) = check_extractor(compose(*FID))
    assert found.status == "ready"
    assert found.what.startswith(f"{find_weights()}, ")
    assert found.what.endswith("MB, other weights than the published: distances are no FID")
    monkeypatch.setattr(inception, "WEIGHTS_SHA256", file_sha256(file)[:8])
    (found,) = check_extractor(compose(*FID))
    assert found.what.endswith("MB, as published")
    assert found.advice == ()


@pytest.mark.parametrize("content", [b"", bytes(2_000_000), b"<html>404</html>"])
def test_a_file_of_something_else_is_a_problem(compose: Compose, hub: Path, content: bytes) -> None:
    (hub / WEIGHTS_URL.rpartition("/")[2]).write_bytes(content)
    (found,) = check_extractor(compose(*FID))
    assert (found.status, found.stops) == ("problem", True)
    assert "no weights of Inception" in found.what


@pytest.mark.usefixtures("hub")
def test_a_file_of_the_users_comes_first(
    compose: Compose, tmp_path: Path, random_inception: Path
) -> None:
    own = tmp_path / "own.pth"
    run = compose(*FID, f"task.extractor_weights={own}")
    (found,) = check_extractor(run, needed=False)
    assert (found.status, found.stops) == ("missing", False)
    assert "--download" not in "".join(found.advice), "it would bring another file"
    shutil.copyfile(random_inception, own)
    assert check_extractor(run)[0].status == "ready"


def test_what_is_missing_can_be_downloaded(
    compose: Compose, hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str, str]] = []

    def download(url: str, file: str, hash_prefix: str) -> None:
        asked.append((url, file, hash_prefix))
        Path(file).write_bytes(b"weights")

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    own = f"task.extractor_weights={tmp_path / 'own.pth'}"
    for nothing in (["task=generation"], [*FID, own], ["backbone=sd20", "dataset=pets"]):
        fetch_extractor(compose(*nothing))
    assert asked == []
    for _ in range(2):
        fetch_extractor(compose(*FID))
    file = hub / WEIGHTS_URL.rpartition("/")[2]
    assert asked == [(WEIGHTS_URL, str(file), inception.WEIGHTS_SHA256)]

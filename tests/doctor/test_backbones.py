import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bigain.config import HubBackboneConfig, RunConfig
from bigain.doctor import backbones
from bigain.doctor.backbones import check_backbone, check_extractor, fetch, fetch_extractor
from bigain.doctor.findings import Finding
from bigain.errors import UserError
from bigain.features import inception
from bigain.features.inception import WEIGHTS_URL, find_weights
from bigain.files import file_sha256

Compose = Callable[..., RunConfig]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def check(compose: Compose) -> Callable[..., Finding]:
    """What is found of the weights of a command line."""

    def examined(*overrides: str) -> Finding:
        return check_backbone(compose("task=efficiency", *overrides).backbone)

    return examined


@pytest.fixture
def copy(tiny_sd20: Path, tmp_path: Path) -> Path:
    """A copy of the tiny sd20 that may be broken."""
    return Path(shutil.copytree(tiny_sd20, tmp_path / "own"))


@pytest.mark.parametrize("name", ["mini_unet", "mini_dit"])
def test_the_weights_that_ship_are_ready(name: str, check: Callable[..., Finding]) -> None:
    found = check(f"backbone={name}")
    assert found.status == "ready"
    assert found.what.startswith("ships with the package, revision ")


def test_other_weights_than_those_that_shipped_are_a_problem(
    check: Callable[..., Finding], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"other")
    monkeypatch.setattr(backbones, "weights_path", lambda _: tmp_path / "model.safetensors")
    assert check("backbone=mini_unet").status == "problem"
    monkeypatch.setattr(backbones, "weights_path", lambda _: tmp_path / "nothing")
    assert "is missing" in check("backbone=mini_unet").what


@pytest.mark.parametrize("name", ["sd20", "sd15", "sdxl", "dit_xl2_512"])
def test_missing_weights_come_with_every_way_to_get_them(
    name: str, check: Callable[..., Finding], compose: Compose
) -> None:
    found = check(f"backbone={name}")
    config = compose(f"backbone={name}", "task=efficiency").backbone
    assert isinstance(config, HubBackboneConfig)
    assert (found.status, found.stops) == ("missing", True)
    assert found.what.startswith(f"not in the hub's cache: {config.repository} at ")
    download, by_hand, own = found.advice
    assert download.startswith(f"bigain doctor backbone={name} --download ")
    assert "GB, without HF_HUB_OFFLINE)" in download
    assert by_hand.startswith(f"hf download {config.repository} --revision {config.revision} ")
    assert own.startswith("backbone.path=FOLDER")


def test_mirrors_that_fail_alike_are_told_once(check: Callable[..., Finding]) -> None:
    found = check("backbone=sd20", "backbone.repository=a/b", "backbone.mirrors=[c/d,e/f]")
    assert found.what == "not in the hub's cache: a/b at main, c/d at main, e/f at main"


def test_an_own_folder_is_ready_and_weighed(check: Callable[..., Finding], tiny_sd20: Path) -> None:
    found = check("backbone=sd20", f"backbone.path={tiny_sd20}")
    assert found.status == "ready"
    assert found.what.startswith(f"{tiny_sd20}, 0.0")
    assert found.what.endswith(" GB")


def test_the_hubs_cache_is_ready_with_its_commit(
    check: Callable[..., Finding], tiny_sd20: Path, offline: Path
) -> None:
    place = offline / "models--mirror--sd2"
    shutil.copytree(tiny_sd20, place / "snapshots" / COMMIT)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(COMMIT)
    found = check("backbone=sd20", "backbone.mirrors=[mirror/sd2]")
    assert found.status == "ready"
    assert found.what.startswith("mirror/sd2 at main (0123456789ab), cached, ")


def test_a_fingerprint_is_left_to_the_run(check: Callable[..., Finding], tiny_sd20: Path) -> None:
    own = ["backbone=sd20", f"backbone.path={tiny_sd20}", "backbone.fingerprint='0123456789ab'"]
    assert check(*own).what.endswith("; the fingerprint is checked by the run")


def test_a_folder_that_is_none_is_missing_with_all_ways(
    check: Callable[..., Finding], tmp_path: Path
) -> None:
    found = check("backbone=sd20", f"backbone.path={tmp_path / 'nowhere'}")
    assert (found.status, len(found.advice)) == ("missing", 4)
    assert found.what == f"backbone.path={tmp_path / 'nowhere'}: is no folder"


def test_a_folder_without_a_component_is_a_problem(
    check: Callable[..., Finding], copy: Path
) -> None:
    shutil.rmtree(copy / "vae")
    found = check("backbone=sd20", f"backbone.path={copy}")
    assert found.status == "problem"
    assert "vae" in found.what
    assert found.advice[0].startswith("a folder with ")


def test_weights_that_are_cut_short_are_a_problem(
    check: Callable[..., Finding], copy: Path
) -> None:
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    found = check("backbone=sd20", f"backbone.path={copy}")
    assert found.status == "problem"
    assert found.what.startswith(f"{weights} has ")
    assert found.advice == (f"copy {copy} again",)


def test_what_ships_is_not_fetched(compose: Compose) -> None:
    fetch(compose().backbone)


def test_fetching_offline_ends_with_the_runs_own_line(compose: Compose) -> None:
    with pytest.raises(UserError, match=r"backbone=sd20: no weights found .*HF_HUB_OFFLINE is set"):
        fetch(compose("backbone=sd20", "task=efficiency").backbone)


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

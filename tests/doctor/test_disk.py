import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from bigain.config import RunConfig
from bigain.doctor.hardware import cache_bytes, check_disk, result_bytes

Compose = Callable[..., RunConfig]
PAPER = ["profile=paper", "backbone=sd20", "dataset=pets"]


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Say how many bytes are free on every disk."""

    def make(count: float) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=count))

    return make


def test_results_grow_with_images_and_classes(compose: Compose) -> None:
    few, many = (result_bytes(compose(f"dataset.limit={n}")) for n in (10, 20))
    assert many == 2 * few
    assert result_bytes(compose(*PAPER)) / 3669 > few / 10
    assert result_bytes(compose("task=efficiency")) < few


def test_caches_hold_the_latents_and_the_prompts(compose: Compose) -> None:
    latents, prompts = 3669 * 4 * 64 * 64 * 4, 37 * 77 * 1024 * 4
    assert cache_bytes(compose(*PAPER)) == latents + prompts
    assert cache_bytes(compose(*PAPER, "cache.latents=false")) == prompts
    assert cache_bytes(compose(*PAPER, "cache.prompts=false")) == latents
    assert cache_bytes(compose(*PAPER, "cache.gigabytes=0.001")) == 2 * 0.001 * 1e9
    dit = ["profile=paper", "backbone=dit_xl2_512", "dataset=imagenet100"]
    assert cache_bytes(compose(*dit)) == 5000 * 4 * 64 * 64 * 4


def test_generated_images_are_kept_and_no_image_is_encoded(compose: Compose) -> None:
    run = compose(*PAPER, "task=generation")
    assert result_bytes(run) == 3669 * (1000 + 2 * 512 * 512)
    assert cache_bytes(run) == 37 * 77 * 1024 * 4
    assert result_bytes(compose("task=generation", "dataset.limit=10")) == 10 * (1000 + 2 * 28**2)


def test_a_mini_run_has_no_cache(compose: Compose, tmp_path: Path) -> None:
    assert cache_bytes(compose()) == 0
    (found,) = check_disk([compose(f"paths.results={tmp_path}")])
    assert (found.subject, found.status) == ("results", "ready")


def test_the_folders_need_not_exist_and_are_not_made(compose: Compose, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    found = check_disk([compose(*PAPER, f"paths.results={folder}")], 5e9)
    assert [each.subject for each in found] == ["results", "cache", "hub's cache"]
    assert str(folder) in found[0].what
    assert found[2].what.endswith("needs about 5.0 GB")
    assert not folder.exists()


def test_runs_of_one_backbone_and_dataset_share_their_cache(
    compose: Compose, tmp_path: Path
) -> None:
    where = f"paths.results={tmp_path}"
    one = compose(*PAPER, where)
    other = compose(*PAPER, where, "operator=lgtm", "operator.ratio=0.7")
    alone, both = check_disk([one]), check_disk([one, other])
    assert both[1] == alone[1]
    assert both[0].what != alone[0].what


def test_what_the_cache_holds_is_not_needed_again(compose: Compose, tmp_path: Path) -> None:
    run = compose(*PAPER, f"paths.results={tmp_path}", f"paths.cache={tmp_path / 'cache'}")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "entry").write_bytes(bytes(10_000_000))
    cache = check_disk([run])[1]
    assert "holds 10.0 MB, at most 20 GB" in cache.what
    assert f"needs about {(cache_bytes(run) - 1e7) / 1e6:,.1f} MB" in cache.what


def test_a_full_disk_is_a_problem_that_says_how_much_is_lacking(
    compose: Compose, tmp_path: Path, free: Callable[[float], None]
) -> None:
    run = compose(*PAPER, f"paths.results={tmp_path}")
    free(1e9)
    found = check_disk([run], 5e9)
    assert {each.status for each in found} == {"problem"}, "all are on one disk, and do not fit"
    assert found[0].advice[0].startswith("free 4.3 GB")
    assert found[0].advice[1] == "another disk: paths.results=DIR or BIGAIN_RESULTS"
    assert found[2].advice[1] == "another disk: HF_HOME"
    free(100e9)
    assert {each.status for each in check_disk([run], 5e9)} == {"ready"}


def test_a_file_in_place_of_the_folder_is_a_problem(compose: Compose, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (found,) = check_disk([compose(f"paths.results={tmp_path / 'file'}")])
    assert found.status == "problem"
    assert "is no folder that one can write to" in found.what

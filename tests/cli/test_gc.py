"""`bigain gc` lists and deletes what is orphaned, and nothing else."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from safetensors.torch import save_file

from bigain.cli import gc
from bigain.cli.main import main
from bigain.files import replace_file
from bigain.runs.beats import STALE, own_process
from bigain.runs.store import RunStore

IMAGES = list(range(100, 112))


def older(path: Path, seconds: float) -> Path:
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))
    return path


def torn(path: Path) -> Path:
    """What a process leaves that is killed while it replaces `path`."""

    def killed(temporary: Path) -> None:
        temporary.write_bytes(b"12345")
        kept.append(temporary.rename(temporary.with_suffix(".kept")))

    kept: list[Path] = []
    with pytest.raises(FileNotFoundError):
        replace_file(path, killed)
    return older(kept[0].rename(kept[0].with_suffix(".tmp")), 4000)


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(["gc", *arguments]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return [line.split("  ")[0] for line in out.splitlines()]


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BIGAIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path


def test_without_orphans_there_is_one_line(
    results: Path, make_run: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    store = RunStore(results, make_run())
    for path in store.folder.glob(".*.lock"):
        path.unlink()
    assert shown(capsys, "--results", str(results)) == [f"nothing is orphaned in {results}"]


def test_what_was_left_behind_is_listed_and_deleted_on_demand(
    results: Path, make_run: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunStore(results, make_run()).folder
    before = content(folder)
    locks = {name for name in before if name.endswith(".lock")}
    beat = folder / ".journal-0of2.beat"
    beat.write_text(json.dumps({**own_process(), "host": "n2"}))
    older(beat, STALE + 1)
    (folder / "images").mkdir()
    temporary = torn(folder / "images" / "000001.png")
    all_files = content(folder)
    lines = shown(capsys, f"paths.results={results}")
    listed = set(lines[2:-1])
    expected = {beat, temporary, *(folder / name for name in locks)}
    assert locks == {".run.lock", ".journal-0of1.lock"}
    assert listed == {str(path.relative_to(results)) for path in expected}
    assert content(folder) == all_files, "listing deletes nothing"
    assert lines[-1].startswith("4 files, ")
    assert set(shown(capsys, f"paths.results={results}", "--delete")[2:-1]) == listed
    assert content(folder) == {name: before[name] for name in before if name not in locks}


def test_what_is_in_use_is_left_alone(
    results: Path,
    make_run: Callable[..., str],
    tome: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    store, other = RunStore(results, make_run(tome, images=3)), RunStore(results, make_run())
    fresh = torn(other.folder / "samples.csv")
    os.utime(fresh)
    with store.open(store.manifest()["config"], IMAGES, {}):
        torn(store.folder / "samples.csv")
        for path in other.folder.glob(".journal-*.lock"):
            path.unlink()
        with FileLock(other.folder / ".run.lock"):
            before = content(results)
            assert shown(capsys, "--results", str(results), "--delete") == [
                f"nothing is orphaned in {results}"
            ]
            assert content(results) == before


def test_caches_over_their_bound_give_the_least_recently_used(
    results: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for number in range(10):
        path = cache / "latents" / "ab" / f"{number}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"x": torch.zeros(1000)}, path)
        older(path, 1000 - number)
    assert len(shown(capsys, "--results", str(results))) == 1
    size = path.stat().st_size
    small = gc._config(results)
    small = small.model_copy(
        update={"cache": small.cache.model_copy(update={"gigabytes": 5 * size / 1e9})}
    )
    monkeypatch.setattr(gc, "_config", lambda _results: small)
    assert shown(capsys, "--results", str(results), "--delete")[-1].startswith("6 files, ")
    left = sorted(path.name for path in cache.rglob("*.safetensors"))
    assert left == [f"{number}.safetensors" for number in (6, 7, 8, 9)]

"""Provenance says what it knows, None where it knows nothing, and never fails."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from bigain import machine
from bigain.machine import cpu_model
from bigain.runs.provenance import Origin, collect, git_state, now


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    (folder / "bigain").mkdir(parents=True)
    (folder / "configs").mkdir()
    (folder / "scripts").mkdir()
    (folder / "bigain" / "code.py").write_text("x = 1\n")
    (folder / "notes.txt").write_text("a\n")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "first")
    return folder


def test_a_clean_commit(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    (repository / "notes.txt").write_text("b\n")  # is not code
    (repository / "results.csv").write_text("1\n")
    assert git_state(repository) == {"git_commit": commit, "git_dirty": False}
    monkeypatch.setenv("PATH", "")
    assert git_state(repository) == {"git_commit": None, "git_dirty": None}


def test_changed_or_new_code_is_dirty(repository: Path) -> None:
    (repository / "bigain" / "code.py").write_text("x = 2\n")
    assert git_state(repository)["git_dirty"] is True
    git(repository, "checkout", "--quiet", ".")
    assert git_state(repository)["git_dirty"] is False
    (repository / "configs" / "new.yaml").write_text("a: 1\n")
    assert git_state(repository)["git_dirty"] is True


def test_outside_of_git_nothing_is_known(tmp_path: Path) -> None:
    assert git_state(tmp_path) == {"git_commit": None, "git_dirty": None}
    assert git_state(tmp_path / "absent") == {"git_commit": None, "git_dirty": None}


def test_a_package_inside_a_foreign_repository_is_not_of_that_repository(repository: Path) -> None:
    installed = repository / "venv" / "site-packages"
    installed.mkdir(parents=True)
    assert git_state(installed) == {"git_commit": None, "git_dirty": None}


def test_the_cpu_of_a_system_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(self: Path, encoding: str) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", absent)
    monkeypatch.setattr(machine, "command_output", lambda *command: "Model " + command[-1])
    assert cpu_model() == "Model machdep.cpu.brand_string"


def test_now_is_utc_in_iso_format() -> None:
    stamp = datetime.fromisoformat(now())
    assert stamp.utcoffset() is not None
    assert abs((datetime.now(UTC) - stamp).total_seconds()) < 5
    assert now().endswith("+00:00")


def test_collect_is_json_and_complete() -> None:
    found = collect(Origin("math", {"weights": "abc"}, {"place": "hub"}, {"note": "x"}))
    assert json.loads(json.dumps(found)) == found
    assert set(found) == {
        *("git_commit", "git_dirty", "packages", "python", "platform", "cpu_model", "cores"),
        *("torch_threads", "attention_backend", "hashes", "source", "note"),
    }
    assert found["attention_backend"] == "math"
    assert found["hashes"] == {"weights": "abc"}
    assert (found["source"], found["note"]) == ({"place": "hub"}, "x")
    assert found["packages"]["pydantic"] == metadata.version("pydantic")
    assert collect()["hashes"] == collect()["source"] == {}


def test_threads_are_those_of_torch_if_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(get_num_threads=lambda: 3))
    assert collect()["torch_threads"] == 3
    monkeypatch.delitem(sys.modules, "torch")
    assert collect()["torch_threads"] is None
    assert "torch" not in sys.modules

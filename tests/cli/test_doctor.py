import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bigain.cli import doctor
from bigain.cli import main as cli
from bigain.cli.doctor import main
from bigain.doctor.environment import EXTRAS
from bigain.errors import UserError
from bigain.testing.backbones import save_tiny_pipeline
from bigain.testing.datasets import write_tiny

ROOT = Path(__file__).parents[2]
PAPER = ["profile=paper", "backbone=sd20", "dataset=pets"]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network, nothing in the hub's cache, and no data beside the working folder."""
    (tmp_path / "hub").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("BIGAIN_DATA", raising=False)
    monkeypatch.chdir(tmp_path / "here")


def statuses(output: str) -> dict[str, str]:
    """Subject -> status, of a report in text."""
    lines = [line.split() for line in output.splitlines() if line.startswith("  ")]
    return {words[1]: words[0] for words in lines if words[0] in ("ready", "missing", "problem")}


def test_without_settings_everything_is_listed_and_the_mini_profile_is_ready(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    found = statuses(out)
    ready = ("python", "packages", "hub", "mini_unet", "mini_dit", "fashion_mnist", "results")
    assert {found[name] for name in (*ready, "fashion_mosaic")} == {"ready"}
    absent = ("sd20", "sd15", "sdxl", "dit_xl2_512", "pets", "imagenet100", "imagenet1k")
    assert {found[name] for name in absent} == {found["coco2017"]} == {"missing"}
    assert "\nready: everything that is needed is here (not needed for it: sd20," in out
    own_words = [line for line in out.splitlines() if str(tmp_path) not in line]
    assert max(map(len, own_words)) <= 100, "a path may be longer"


def test_the_paper_profile_alone_asks_for_all_of_the_papers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(UserError, match=r"^bigain doctor: 6 of \d+ things needed are not ready"):
        main(["profile=paper"])
    out = capsys.readouterr().out
    outcome = " ".join(out[out.index("\nnot ready:") :].split())
    named = outcome.removeprefix("not ready: ").partition(" (")[0]  # then extras that are missing
    assert named == "sd20, dit_xl2_512, pets, imagenet100, imagenet1k, coco2017"
    assert "mini_dit" not in out


@pytest.mark.parametrize(
    ("settings", "datasets"),
    [
        (["backbone=sd20"], {"pets", "imagenet100", "imagenet1k", "coco2017"}),
        (["backbone=dit_xl2_512"], {"imagenet100", "imagenet1k"}),
    ],
)
def test_the_paper_profile_takes_what_its_backbone_goes_with(
    settings: list[str], datasets: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError):
        main(["profile=paper", *settings])
    found = statuses(capsys.readouterr().out)
    assert found.keys() & {"pets", "imagenet100", "imagenet1k", "coco2017"} == datasets


@pytest.mark.parametrize(
    ("settings", "there", "not_there"),
    [
        ("backbone=sd20", "sd20", "pets"),
        ("backbone=dit_xl2_512", "dit_xl2_512", "imagenet1k"),
        ("dataset=coco2017", "coco2017", "sd20"),
        ("dataset=imagenet1k", "imagenet1k", "sd20"),
    ],
)
def test_a_backbone_or_a_dataset_alone_is_checked_alone(
    settings: str, there: str, not_there: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match=f"1 of .*; first, {there} is missing"):
        main([settings])
    found = statuses(capsys.readouterr().out)
    assert there in found
    assert not_there not in found


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ("backbone=sd20,dit_xl2_512", {"sd20", "dit_xl2_512"}),
        ("dataset=pets,coco2017", {"pets", "coco2017"}),
    ],
)
def test_a_sweep_over_backbones_or_datasets_alone_checks_all_of_them(
    settings: str, named: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match=r"^bigain doctor: 2 of \d+ things needed"):
        main(["-m", settings])
    found = statuses(capsys.readouterr().out)
    assert named == {name for name in found if found[name] == "missing"} - set(EXTRAS)


def test_what_goes_with_nothing_is_told_of_no_setting_that_nobody_wrote() -> None:
    with pytest.raises(UserError, match=r"^dataset=fashion_mnist: .* because backbone=sd20"):
        main(["-m", "backbone=mini_unet,sd20"])


def test_a_run_with_all_it_needs_is_ready(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_tiny_pipeline("sd20", tmp_path / "sd20")
    write_tiny("pets", tmp_path / "data")
    own = [f"backbone.path={tmp_path / 'sd20'}", f"dataset.root={tmp_path / 'data'}"]
    assert main([*PAPER, *own, "dataset.limit=7", "device=cpu"]) == 0
    found = statuses(capsys.readouterr().out)
    assert (found["sd20"], found["pets"]) == ("ready", "ready")
    (tmp_path / "data" / "oxford-iiit-pet" / "annotations" / "test.txt").unlink()
    with pytest.raises(UserError, match=r"first, pets is missing: images in .*, but not the rest"):
        main([*PAPER, *own, "dataset.limit=7"])


def test_a_sweep_is_checked_as_a_whole(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError):
        main(["-m", "backbone=sd20", "dataset=pets,coco2017", "operator=none,todo"])
    found = statuses(capsys.readouterr().out)
    assert found.keys() >= {"pets", "coco2017"}


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (["backbone=dit_xl2_512", "dataset=pets"], "class-index conditioning"),
        (["backbone=sd22"], "did you mean"),
        (["operator=tomee"], "did you mean tome"),
        (
            ["backbone=sd20", "dataset=pets", "operator=tome", "operator.ratio=2"],
            r"^operator\.ratio=2",
        ),
        (["profile=paper", "backbone=sd20", "batch_size=0"], r"^batch_size=0"),
        (["profile=paper", "backbone=mini_dit"], r"^profile=paper"),
        (["--downlaod"], "did you mean --download"),
    ],
)
def test_wrong_settings_are_the_runners_own_line(settings: list[str], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        main(settings)


def test_the_report_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ready"] is True
    assert {each["area"] for each in told["findings"]} >= {"environment", "device", "backbones"}
    with pytest.raises(UserError):
        main(["backbone=sd20", "--format=json"])
    assert json.loads(capsys.readouterr().out)["ready"] is False


def test_a_download_comes_before_the_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fetched: list[str] = []
    judged: list[str] = []
    monkeypatch.setattr(doctor, "fetch", lambda config: fetched.append(config.name))
    monkeypatch.setattr(doctor, "fetch_extractor", lambda run: judged.append(run.task.name))
    with pytest.raises(UserError):
        main(["profile=paper", "--download"])
    assert fetched == ["sd20", "dit_xl2_512"]
    judged.clear()
    with pytest.raises(UserError):
        main(["backbone=sd20", "dataset=pets", "task=generation", "--download"])
    assert judged == ["generation"]
    fetched.clear()
    with pytest.raises(UserError):
        main(["dataset=pets", "--download"])
    assert fetched == []
    capsys.readouterr()
    with pytest.raises(UserError, match=r"^--download: allowed: with a backbone"):
        main(["--download"])


def test_the_command_line_ends_with_its_code_and_one_line(tmp_path: Path) -> None:
    """In a process of its own, as a script before a sweep would ask."""
    shutil.rmtree(tmp_path / "hub")
    where = {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    done = subprocess.run(
        [sys.executable, "-m", "bigain", "doctor", *PAPER],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, **where},
    )
    assert done.returncode == cli.USER_ERROR
    assert done.stderr.startswith("bigain doctor: 2 of ")
    assert done.stderr.count("\n") == 1
    assert done.stdout.splitlines()[-1].startswith("not ready: sd20, pets")
    assert not (tmp_path / "results").exists()

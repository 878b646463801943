import csv
import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bigain.cli.joint import main
from bigain.cli.joint_answers import Answers, counted_flops
from bigain.engine.calibrate_operator import calibrate_operator
from bigain.errors import UserError
from bigain.launch.compose import compose_config
from bigain.operators import ToMe
from bigain.tasks.flops import count_flops

ROOT = Path(__file__).parents[2]
MakeRun = Callable[..., str]


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One cache for all tests here, and none of the user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BIGAIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def output(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main([*map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_accuracy_and_counted_flops_stand_in_one_row(
    tmp_path: Path, make_run: MakeRun, tome: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tome)
    make_run()
    none = output(capsys, "--results", tmp_path, "--backbone", "sd20")
    assert none == f"no finished run in {tmp_path}\n"
    records = json.loads(output(capsys, "--results", tmp_path, "--format", "json"))
    found = {(r["operator"].split()[0], r["metric"]): r["value"] for r in records}
    assert found["none", "acc1"] == 100.0
    assert found["tome", "acc1"] == pytest.approx(66.67, abs=0.01)
    backbone = records[0]["backbone"]
    assert found["none", "flops_g"] == pytest.approx(count_flops(backbone).total / 1e9)
    assert found["tome", "flops_g"] == pytest.approx(count_flops(backbone, ToMe(0.7)).total / 1e9)
    text = output(capsys, "--results", tmp_path)
    lines = text.splitlines()
    assert lines[0] == f"{backbone}, fashion_mnist, seed 0: classification of 12 images"
    assert lines[2].split()[:2] == ["operator", "acc1"]
    assert "GFLOPs" in lines[2]
    rows = list(
        csv.DictReader(io.StringIO(output(capsys, "--results", tmp_path, "--format", "csv")))
    )
    assert [row["metric"] for row in rows] == [record["metric"] for record in records]


def test_flops_of_older_published_runs_are_counted(tmp_path: Path) -> None:
    """Their configuration names no class, and lacks settings that were added later."""
    (config, *_) = (
        found["config"]
        for path in sorted((ROOT / "results" / "mini" / "manifests").glob("*.json"))
        if (found := json.loads(path.read_text("utf-8")))["config"]["operator"]["name"] == "tome"
        and "_target_" not in found["config"]["operator"]
        and found["config"]["backbone"]["name"] == "mini_unet"
    )
    assert "plan" not in config["operator"]
    counted = counted_flops(Answers(tmp_path), config, tmp_path)
    bare = counted_flops(Answers(tmp_path), {**config, "operator": {"name": "none"}}, tmp_path)
    assert counted is not None
    assert bare is not None
    assert counted.value < bare.value


def test_flops_of_a_calibrated_operator_need_the_calibration_of_its_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = [
        *("backbone=mini_dit", "operator=dip_go", "operator.images=2"),
        *("task.trial_list=[1,2]", "task.keep_list=[3,1]", "batch_size=8", "threads=1"),
        *(f"paths.results={tmp_path / 'own'}", f"paths.cache={tmp_path / 'cache'}"),
    ]
    calibrate_operator(compose_config(overrides))
    config = compose_config(overrides).model_dump(mode="json", exclude={"paths"})
    assert counted_flops(Answers(tmp_path / "a"), config, tmp_path / "other") is None
    assert "FLOPs left out" in capsys.readouterr().err
    counted = counted_flops(Answers(tmp_path / "b"), config, tmp_path / "own")
    bare = {**config, "operator": {"name": "none"}}
    whole = counted_flops(Answers(tmp_path / "b"), bare, tmp_path / "own")
    assert counted is not None
    assert whole is not None
    assert counted.value < whole.value


@pytest.mark.parametrize("backbone", ["mini_unet", "mini_dit"])
def test_a_fresh_clone_shows_both_tasks_of_the_headline_operators(
    capsys: pytest.CaptureFixture[str], backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs have no folder in git; what is published has all of them."""
    monkeypatch.setattr("bigain.cli.joint_answers._gigaflops", lambda _: 1.0)  # counted above
    text = output(capsys, "--results", ROOT / "results", "--backbone", backbone)
    assert max(map(len, text.splitlines())) <= 120
    title = f"{backbone}, fashion_mnist, seed 0: classification of 400 images, generation of 1000"
    assert title in text
    records = json.loads(
        output(capsys, "--results", ROOT / "results", "--backbone", backbone, "--format", "json")
    )
    found = {(r["operator"], r["metric"]) for r in records if r["dataset"] == "fashion_mnist"}
    for operator in ("none", "tome ratio=0.7", "lgtm ratio=0.7", "todo", "ie_kvd"):
        assert {(operator, m) for m in ("acc1", "frechet_mini", "recall", "flops_g")} <= found
        row = next(line for line in text.splitlines() if line.startswith(f"{operator}  "))
        cells = re.split("  +", row)
        assert re.fullmatch(r"\d\d\.\d\d \[\d\d\.\d, \d\d\.\d\]", cells[1])
        assert re.fullmatch(r"\d\.\d{3} \[\d\.\d\d, \d\.\d\d\]", cells[3])
    if backbone == "mini_unet":  # the one that was timed
        assert re.search(r"^todo .*  \d\.\d\d \[\d\.\d\d, \d\.\d\d\]$", text, re.M)
        assert re.search(r"^todo  +\d\d\.\d\d \[", text, re.M)


def test_a_copied_folder_of_a_run_is_named(
    tmp_path: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a folder under another name; and with that name written into it, which is worse."""
    name = make_run()
    folder = tmp_path / "runs" / ("0" * 16)
    shutil.copytree(tmp_path / "runs" / name, folder)
    assert main(["--results", str(tmp_path)]) == 0
    message = capsys.readouterr().err
    assert "left out: " in message
    assert f"is of run {name}: two runs claim one cell" in message
    for path in (folder / "manifest.json", folder / "metrics.csv"):
        path.write_text(path.read_text().replace(name, "0" * 16))
    with pytest.raises(UserError, match=rf"configuration of run {name}: two runs claim one cell"):
        main(["--results", str(tmp_path)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backbone", "nope"], r"--backbone=nope: allowed: .*mini_dit, mini_unet"),
        (["--results", "none"], "does not exist"),
        (["--format", "xml"], r"^--format=xml: allowed: text, csv, json$"),
    ],
)
def test_a_wrong_argument_is_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        main(arguments)


def test_flops_and_defaults_are_found_once(
    tmp_path: Path,
    make_run: MakeRun,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The file of answers may be damaged, of another version, or in a folder without room."""
    make_run()
    cache = tmp_path / "cache"
    monkeypatch.setenv("BIGAIN_CACHE", str(cache))
    monkeypatch.setattr("bigain.cli.joint_answers._gigaflops", lambda _: 1.5)
    shown = output(capsys, "--results", tmp_path)
    assert "1.5" in shown
    kept = (cache / "joint.json").read_text()
    monkeypatch.setattr("bigain.cli.joint_answers._gigaflops", lambda _: 2.5)
    assert output(capsys, "--results", tmp_path) == shown
    for damage in (kept[:-9], "[]", kept.replace('"of": "', '"of": "0')):
        (cache / "joint.json").write_text(damage)
        assert output(capsys, "--results", tmp_path) == shown.replace("1.5", "2.5")
    shutil.rmtree(cache)
    cache.write_text("a file, not a folder")
    assert output(capsys, "--results", tmp_path) == shown.replace("1.5", "2.5")

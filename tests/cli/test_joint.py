import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bigain.cli.joint import main
from bigain.errors import UserError
from bigain.operators import ToMe
from bigain.tasks.flops import count_flops

ROOT = Path(__file__).parents[2]
MakeRun = Callable[..., str]


def output(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main([*map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_accuracy_and_counted_flops_stand_in_one_row(
    tmp_path: Path, make_run: MakeRun, tome: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tome)
    make_run()
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


@pytest.mark.parametrize("backbone", ["mini_unet", "mini_dit"])
def test_a_fresh_clone_shows_both_tasks_of_the_headline_operators(
    capsys: pytest.CaptureFixture[str], backbone: str
) -> None:
    """Runs have no folder in git; what is published has all of them."""
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


def test_one_backbone_can_be_picked(
    tmp_path: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run()
    text = output(capsys, "--results", tmp_path, "--backbone", "sd20")
    assert text == f"no finished run in {tmp_path}\n"


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


def test_times_come_with_speed_ups(capsys: pytest.CaptureFixture[str]) -> None:
    """Milliseconds of separate runs do not compare, and the last line says so."""
    text = output(capsys, "--results", ROOT / "results", "--backbone", "mini_unet")
    assert re.search(r"^todo .*  \d\.\d\d \[\d\.\d\d, \d\.\d\d\]$", text, re.M)
    assert re.search(r"^todo  +\d\d\.\d\d \[", text, re.M)
    assert text.splitlines()[-1].startswith("ms/step: separate runs; compare the speed-ups")


def test_a_backbone_that_is_none_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--backbone=nope: allowed: .*mini_dit, mini_unet"):
        main(["--results", str(tmp_path), "--backbone", "nope"])


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        main(["--results", str(tmp_path / "none")])


def test_a_wrong_format_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^--format=xml: allowed: text, csv, json$"):
        main(["--format", "xml"])

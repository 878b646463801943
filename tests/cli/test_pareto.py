"""`bigain pareto`: the numbers of the records on one page without a network, and a picture."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bigain.cli.main import main as bigain
from bigain.cli.pareto import main
from bigain.errors import UserError
from bigain.runs.archive import Archive
from bigain.tables.quantities import format_metric

MakeRun = Callable[..., str]
ROOT = Path(__file__).resolve().parents[2]
SIGNATURE = b"\x89PNG"


@pytest.fixture(autouse=True)
def _counted(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("BIGAIN_CACHE", str(tmp_path_factory.mktemp("cache")))
    counts = iter(range(1, 10_000))
    monkeypatch.setattr("bigain.cli.joint_answers._gigaflops", lambda _: float(next(counts)))


def data_of(page: str) -> dict[str, Any]:
    (text,) = re.findall(
        r'<script type="application/json" id="data">\n(.*?)\n</script>', page, re.S
    )
    found: dict[str, Any] = json.loads(text)
    return found


def test_the_page_has_the_numbers_of_the_runs(
    tmp_path: Path, make_run: MakeRun, tome: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    runs = {make_run(tome), make_run({**tome, "ratio": 0.3}), make_run()}
    assert main(["--results", str(tmp_path)]) == 0
    page, picture = tmp_path / "mini" / "pareto.html", tmp_path / "mini" / "figures" / "pareto.png"
    assert str(page) in capsys.readouterr().out
    assert picture.read_bytes().startswith(SIGNATURE)
    text = page.read_text(encoding="utf-8")
    (group,) = data_of(text)["groups"]
    assert {run for point in group["points"] for run in point["runs"].values()} == runs
    archive = Archive(tmp_path, "mini")
    for point in group["points"]:
        metric = archive.metrics(point["runs"]["classification"])["acc1"]
        found = point["values"]["acc1"]
        assert (found["value"], found["n"]) == (metric.value, metric.n) == (metric.value, 12)
        assert found["ends"] == [metric.ci_low, metric.ci_high]
        assert found["text"] == format_metric(metric)
        assert f"<td>{format_metric(metric)}</td>" in text
        assert "ratio=" in point["settings"] or point["operator"] == "none"
    flops = [point["values"]["flops_g"]["value"] for point in group["points"]]
    best = group["fronts"]["flops_g acc1"]
    assert flops[best[0]] == min(flops)


def test_the_page_loads_nothing_and_is_the_same_again(
    tmp_path: Path, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    make_run({**tome, "name": "</script><b>"})
    make_run()
    assert main(["--results", str(tmp_path)]) == 0
    page = tmp_path / "mini" / "pareto.html"
    text = page.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert not re.search(r"""(src|href)=["']?(https?:)?//|@import|url\(""", text)
    assert "</script><b>" not in text
    assert data_of(text)["groups"]
    assert text.count("</script>") == 2


@pytest.mark.parametrize("backbone", ["mini_unet", "mini_dit"])
def test_a_fresh_clone_has_points_of_both_tasks(backbone: str, tmp_path: Path) -> None:
    """With the primary endpoint where errors were kept."""
    arguments = ["--results", str(ROOT / "results"), "--output", str(tmp_path)]
    assert main([*arguments, "--backbone", backbone]) == 0
    groups = data_of((tmp_path / "pareto.html").read_text("utf-8"))["groups"]
    assert {group["backbone"] for group in groups} == {backbone}
    both = [group for group in groups if {"acc1", "frechet_mini"} <= set(group["measured"])]
    assert len(both[0]["points"]) >= 5
    assert any("best_margin" in group["measured"] for group in groups)
    for group in groups:
        ways = {
            (task, Archive(ROOT / "results", "mini").manifest(run)["n_images"])  # type: ignore[index]
            for point in group["points"]
            for task, run in point["runs"].items()
            if task in group["tasks"]
        }
        assert len(ways) == len({task for task, _ in ways}), "one number of images for each task"


def test_without_a_run_the_page_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--results", str(tmp_path)]) == 0
    page = tmp_path / "mini" / "pareto.html"
    assert capsys.readouterr().out == f"{page}\n"
    assert "No finished run" in page.read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--profile", "minni"], r"--profile=minni: allowed: mini, paper"),
        (["--backbone", "mini_dti"], r"--backbone=mini_dti: allowed: .*mini_dit"),
        (["--output", ""], r"--output"),
    ],
)
def test_a_wrong_argument_is_one_line(
    tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match=message):
        main(["--results", str(tmp_path), *arguments])
    assert list(tmp_path.iterdir()) == []
    assert bigain(["pareto", "--results", str(tmp_path / "none")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1

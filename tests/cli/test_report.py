import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bigain.cli.main import main as bigain
from bigain.cli.report import main
from bigain.errors import UserError
from bigain.runs.collect import collect
from bigain.tables.document import Document
from bigain.tables.report import ReportTable

ROOT = Path(__file__).resolve().parents[2]
MakeRun = Callable[..., str]


def no_tables(profile: str, results: Path | None) -> list[ReportTable]:
    return []


def test_the_page_is_written_and_named(
    tmp_path: Path,
    make_run: MakeRun,
    small_document: Document,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = make_run()
    collect(tmp_path)
    asked: list[tuple[str, Path | None]] = []

    def tables(profile: str, results: Path | None) -> list[ReportTable]:
        asked.append((profile, results))
        return [ReportTable(small_document, (run,))]

    assert main(["--results", str(tmp_path)], tables) == 0
    page = tmp_path / "mini" / "report.html"
    assert capsys.readouterr() == (f"{page}\n", "")
    first = page.read_bytes()
    assert run.encode() in first
    assert b"Token merging: 70 %" in first
    assert main(["--results", str(tmp_path)], tables) == 0
    assert page.read_bytes() == first
    assert asked == [("mini", tmp_path)] * 2
    assert [path.name for path in (tmp_path / "mini").iterdir() if path.suffix == ".tmp"] == []


def test_the_paper_profile_has_a_page_of_its_own(tmp_path: Path) -> None:
    assert main(["--results", str(tmp_path), "--profile", "paper"], no_tables) == 0
    assert "profile paper" in (tmp_path / "paper" / "report.html").read_text()


def test_an_unknown_profile_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"profile=papr: allowed: mini, paper \(did you mean paper"):
        main(["--results", str(tmp_path), "--profile", "papr"], no_tables)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"), [("nothing", "does not exist"), ("file", "is not a folder")]
)
def test_results_must_be_a_folder(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=rf"paths\.results=.*{name}: {message}"):
        main(["--results", str(tmp_path / name)], no_tables)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_broken_list_of_runs_is_one_line_and_leaves_the_old_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mini").mkdir()
    (tmp_path / "mini" / "runs.csv").write_text("run_id,metric\na,b\n")
    (tmp_path / "mini" / "report.html").write_text("old")
    assert bigain(["report", "--results", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "runs.csv: lacks the columns" in err
    assert (tmp_path / "mini" / "report.html").read_text() == "old"


def test_the_script_is_the_verb(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "report.py")]
    command += ["--results", str(tmp_path / "no")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "does not exist" in done.stderr

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bigain.cli.collect import main
from bigain.errors import UserError
from bigain.runs.collect import publish_runs


def test_finished_runs_come_into_one_file(
    tmp_path: Path,
    make_run: Callable[..., str],
    tome: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    finished = {make_run(), make_run(tome)}
    make_run({**tome, "ratio": 0.3}, images=3)
    assert main(["--results", str(tmp_path)]) == 0
    path = tmp_path / "mini" / "runs.csv"
    assert capsys.readouterr() == (f"{path}\n", "")
    frame = pd.read_csv(path, dtype={"run_id": str})
    assert set(frame["run_id"]) == finished
    assert {"acc1", "eps_error"} <= set(frame["metric"])


def test_without_a_finished_run_it_says_so(
    tmp_path: Path, make_run: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(images=3)
    assert main(["--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"no finished run in {tmp_path / 'runs'}\n"
    assert not (tmp_path / "mini").exists()


@pytest.mark.parametrize("text", ['{"status": "do', "{}"])
def test_a_damaged_run_is_named_and_the_others_are_collected(
    tmp_path: Path,
    make_run: Callable[..., str],
    tome: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    text: str,
) -> None:
    whole, damaged = make_run(), make_run(tome)
    manifest = tmp_path / "runs" / damaged / "manifest.json"
    manifest.write_text(text)
    assert main(["--results", str(tmp_path)]) == 0
    path = tmp_path / "mini" / "runs.csv"
    out, err = capsys.readouterr()
    assert out == f"{path}\n"
    assert err.startswith(f"left out: {manifest}: is damaged; ")
    assert err.count("\n") == 1
    assert set(pd.read_csv(path, dtype={"run_id": str})["run_id"]) == {whole}


def test_a_file_holds_no_runs(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        UserError, match=r"^paths\.results=.*file: allowed: a folder that you can write"
    ):
        main(["--results", str(tmp_path / "file")])


def test_what_is_published_is_checked_without_writing(
    tmp_path: Path, make_run: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    publish_runs(tmp_path, "mini", [make_run()])
    path = tmp_path / "mini" / "runs.csv"
    before = path.stat().st_mtime_ns
    assert main(["--check", "--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "published runs agree: mini: 1 runs\n"
    assert path.stat().st_mtime_ns == before
    path.write_text(path.read_text().replace("acc1,100.0,", "acc1,99.0,"))
    with pytest.raises(UserError, match=r"acc1=99, but .*\.csv\.gz gives 100: they contradict"):
        main(["--check", "--results", str(tmp_path)])


def test_nothing_to_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", "--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "published runs agree: there are none\n"
    with pytest.raises(UserError, match="does not exist"):
        main(["--check", "--results", str(tmp_path / "none")])

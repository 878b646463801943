import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bigain.cli.compare import find_run, main
from bigain.errors import UserError
from bigain.runs.collect import publish_runs


def folders(tmp_path: Path, *names: str) -> None:
    for name in names:
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "manifest.json").write_text("{}")


def test_two_runs_are_compared(
    tmp_path: Path,
    make_run: Callable[..., str],
    tome: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    merged, base = make_run(tome), make_run()
    assert main([merged[:6], base, "--results", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == f"{merged} against {base}, paired over 12 images"
    assert "-33.33" in lines[1]  # images 102, 105, 108, 111 of 12
    assert "+50.00" in lines[2]  # every error is 1.5 times the baseline's
    assert err == ""


@pytest.mark.parametrize("arguments", [[], ["a"]])
def test_it_takes_two_runs_or_more(arguments: list[str]) -> None:
    with pytest.raises(UserError, match="usage: bigain compare"):
        main(arguments)


def test_the_beginning_of_an_id_is_enough(tmp_path: Path) -> None:
    folders(tmp_path, "aa11", "aa22", "bb33")
    assert find_run(tmp_path, "b") == "bb33"
    assert find_run(tmp_path, "aa2") == "aa22"
    assert find_run(tmp_path, "aa11") == "aa11"
    with pytest.raises(UserError, match="run_id=aa: several runs begin so: aa11, aa22"):
        find_run(tmp_path, "aa")
    with pytest.raises(UserError, match=r"run_id=bb34: no such run; allowed: .* mean bb33"):
        find_run(tmp_path, "bb34")


def test_published_runs_have_ids_too(tmp_path: Path, make_run: Callable[..., str]) -> None:
    name = make_run()
    publish_runs(tmp_path, "mini", [name])
    shutil.rmtree(tmp_path / "runs")
    assert find_run(tmp_path, name[:6]) == name

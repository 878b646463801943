"""Wrong arguments of the scripts in benchmarks/ and scripts/: one line, and nothing is measured."""

import errno
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import bench
import compare_tables
import engine
import engine_variants
import harness
import journal
import pytest
import random_backbone
import recompute
import released_sizes
import timing

from bigain.config.architectures import ARCHITECTURES
from bigain.errors import FaultError, UserError, in_one_line


@pytest.mark.parametrize(
    ("raised", "code", "line"),
    [
        (UserError("x=1:\n allowed: 2"), 2, "x=1: allowed: 2"),
        (FaultError("disk: full"), 1, "disk: full"),
        (OSError(errno.ENOENT, "no such file", "a.txt"), 1, "a.txt: no such file"),
        (OSError(errno.ENOTDIR, "no folder", b"a/b"), 1, "a/b: no folder"),
    ],
)
def test_what_a_script_raises_is_one_line(
    raised: Exception, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> None:
        raise raised

    assert in_one_line(main) == code
    assert capsys.readouterr() == ("", f"{line}\n")


def test_a_script_has_its_own_code_and_a_bug_its_trace_back() -> None:
    def bug() -> None:
        raise OSError("no file is named")

    assert [in_one_line(lambda: None), in_one_line(lambda: 3)] == [0, 3]
    with pytest.raises(OSError, match="no file is named"):
        in_one_line(bug)
    with pytest.raises(ZeroDivisionError):
        in_one_line(lambda: 1 // 0)


@pytest.mark.parametrize(
    ("script", "arguments", "named"),
    [
        ("engine", "--backbones foo", "foo"),
        ("engine", "--backbones sdxl", "sdxl"),
        ("engine", "--processes 0", "0: allowed: an integer >= 1"),
        ("engine", "--sizes x", "x: allowed: an integer >= 1"),
        ("frechet", "--images 1", "1: allowed: an integer >= 2"),
        ("growth", "--rounds 0", "0: allowed: an integer >= 1"),
        ("harness", "--repeats 0", "0: allowed: an integer >= 1"),
        ("journal", "--runs -1", "--runs"),
        ("operators", "--shapes 0", "0: allowed: an integer >= 1"),
        ("peak", "--backbones foo", "foo"),
        ("race_simulation", "--images 0", "0: allowed: an integer >= 1"),
        ("racing", "--backbones foo --results x", "foo"),
        ("tracking", "--trackers foo", "foo"),
        ("unet", "--backbone mini_dit", "mini_dit"),
        ("unet", "--backbone foo", "foo"),
        ("workers", "--backbones sd20", "sd20"),
        ("workers", "--images 2", "2: allowed: an integer >= 3"),
    ],
)
def test_a_wrong_argument_of_a_benchmark_ends_before_it_measures(
    script: str,
    arguments: str,
    named: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    main: Callable[[], None] = import_module(script).main
    monkeypatch.setattr(timing, "conditions", lambda *_: pytest.fail("measures"))
    monkeypatch.setattr(sys, "argv", [f"{script}.py", *arguments.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert named in capsys.readouterr().err.splitlines()[-1]


def test_the_backbones_that_the_engine_can_measure_have_random_weights() -> None:
    found = {*random_backbone.WITHOUT_FILES}
    assert {*engine_variants.MINI, "sd15", "sd20", "sd21", "dit_xl2_512"} == found
    assert found < set(ARCHITECTURES)


@pytest.mark.parametrize("main", [harness.main, engine.main])
def test_a_file_of_rows_that_cannot_be_is_refused_first(
    main: Callable[[], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").touch()
    for path, why in [
        (tmp_path, f"--csv={tmp_path}: is a folder; allowed: a file"),
        (tmp_path / "file" / "x.csv", f"{tmp_path / 'file'}: allowed: a folder that you can write"),
    ]:
        monkeypatch.setattr(sys, "argv", ["this.py", "--csv", str(path)])
        assert in_one_line(main) == 2
        assert why in capsys.readouterr().err


def test_a_folder_that_cannot_be_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.touch()
    allowed = "allowed: a folder that you can write to"
    assert in_one_line(lambda: bench.main(["--results", str(file)])) == 2
    assert capsys.readouterr().err == f"--results={file}: {allowed}\n"
    monkeypatch.setattr(sys, "argv", ["journal.py", "--folder", str(file)])
    assert in_one_line(journal.main) == 2
    assert capsys.readouterr().err == f"--folder={file}: {allowed}\n"


def test_races_need_the_images_that_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ["--root", str(tmp_path / "nowhere"), "--results", str(tmp_path / "results")]
    monkeypatch.setattr(sys, "argv", ["racing.py", *own])
    assert in_one_line(import_module("racing").main) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert str(tmp_path / "nowhere") in err
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("main", "line"),
    [
        (lambda: compare_tables.main(["--base", "no-such"]), "--base=no-such: "),
        (lambda: recompute.main(["--profile", "no-such"]), "--profile=no-such: has no tables"),
        (released_sizes.main, "many: allowed: a number of images, at least 2"),
    ],
)
def test_a_wrong_argument_of_a_script_is_one_line(
    main: Callable[[], int | None],
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["released_sizes.py", "many"])
    assert in_one_line(main) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(line)

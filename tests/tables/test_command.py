import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bigain.config import RunConfig
from bigain.tables.command import main
from bigain.tables.planner import Compose

FakeRunner = Callable[[RunConfig], None]
Table = Callable[..., int]


@pytest.fixture
def table(tmp_path: Path, compose: Compose, runner: FakeRunner) -> Table:
    """`bigain table ...` on 30 images, with results in the test's own folder."""

    def run(*words: str, runner: FakeRunner = runner) -> int:
        own = ("dataset.limit=30", f"paths.results={tmp_path}")
        return main([*words, *own], compose=compose, runner=runner)

    return run


def forbidden(config: RunConfig) -> None:
    raise AssertionError("nothing was to be run")


def test_missing_runs_are_made_and_the_table_is_written(
    table: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert table("4") == 0
    written = (tmp_path / "mini" / "tables" / "table04.md").read_text(encoding="utf-8")
    shown = capsys.readouterr()
    assert shown.out.startswith(written)
    assert "| —" not in written
    assert "Runs: 7 of 7 done." in written
    assert shown.err.startswith("[1/7] ")
    assert (tmp_path / "mini" / "tables" / "table04.csv").read_text().startswith("table,source,")


def test_a_second_call_runs_nothing_and_writes_the_same(table: Table, tmp_path: Path) -> None:
    assert table("4") == 0
    folder = tmp_path / "mini" / "tables"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(before) == {"table04.md", "table04.csv"}
    assert table("4", runner=forbidden) == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_no_run_renders_what_is_there(table: Table, tmp_path: Path) -> None:
    assert table("5", "--no-run", runner=forbidden) == 0
    text = (tmp_path / "mini" / "tables" / "table05.md").read_text(encoding="utf-8")
    assert "Runs: 0 of 7 done." in text
    assert text.count("python -m bigain backbone=mini_dit") == 7


def test_a_fresh_clone_renders_the_same_bytes_from_committed_files(
    table: Table, tmp_path: Path
) -> None:
    assert table("4") == 0
    path = tmp_path / "mini" / "tables" / "table04.md"
    before = path.read_bytes()
    shutil.rmtree(tmp_path / "runs")
    shutil.rmtree(tmp_path / "mini" / "tables")
    assert len(list((tmp_path / "mini" / "samples").iterdir())) == 7
    assert table("4", "--no-run", runner=forbidden) == 0
    assert path.read_bytes() == before


def test_tables_share_their_runs(table: Table, capsys: pytest.CaptureFixture[str]) -> None:
    assert table("4") == 0
    capsys.readouterr()
    assert table("2") == 0
    assert capsys.readouterr().err.startswith("[1/9] ")


def test_dry_run_lists_runs_and_costs(
    table: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert table("4", "--dry-run", runner=forbidden) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Table 4, profile mini, grid default: 7 runs, 0 done, 7 missing"
    assert len(lines) == 1 + 7 + 1
    assert "operator=none" in lines[1]
    assert lines[1].endswith("(30 images x 125 evaluations)")
    assert lines[-1] == "missing in all: 26,250 evaluations of the denoiser"
    assert not list(tmp_path.iterdir())


def test_dry_run_after_the_runs(table: Table, capsys: pytest.CaptureFixture[str]) -> None:
    assert table("4") == 0
    capsys.readouterr()
    assert table("4", "--dry-run") == 0
    out = capsys.readouterr().out
    assert "7 runs, 7 done, 0 missing" in out
    assert out.endswith("missing in all: 0 evaluations of the denoiser\n")


def test_the_whole_test_split_costs_all_its_images(
    compose: Compose, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["4", "--dry-run", "dataset.limit=null"], compose=compose) == 0
    assert "(10000 images x 125 evaluations)" in capsys.readouterr().out


def test_the_full_grid(table: Table, capsys: pytest.CaptureFixture[str]) -> None:
    assert table("2", "--grid", "full", "--dry-run") == 0
    assert "grid full: 22 runs" in capsys.readouterr().out


def test_limit_is_a_short_form(compose: Compose, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["4", "--limit", "7", "--dry-run"], compose=compose) == 0
    assert "dataset.limit=7  (7 images x 125" in capsys.readouterr().out


def test_failures_are_listed_at_the_end_and_the_rest_is_rendered(
    table: Table, runner: FakeRunner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken_lgtm(config: RunConfig) -> None:
        if config.operator.name == "lgtm":
            raise RuntimeError("out of memory")
        runner(config)

    assert table("4", runner=broken_lgtm) == 1
    failed = [line for line in capsys.readouterr().err.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 3
    assert all("operator=lgtm" in line and "out of memory" in line for line in failed)
    assert "4 of 7 done" in (tmp_path / "mini" / "tables" / "table04.md").read_text()


def test_force_makes_the_runs_again_and_shows_them(
    table: Table, runner: FakeRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    assert table("4") == 0
    capsys.readouterr()
    assert table("4", "force=true") == 0
    shown = capsys.readouterr()
    assert "[7/7] " in shown.err
    assert "Runs: 7 of 7 done." in shown.out


def test_the_paper_profile_is_laid_out(table: Table, tmp_path: Path) -> None:
    assert table("3", "--profile", "paper", "--no-run") == 0
    text = (tmp_path / "paper" / "tables" / "table03.md").read_text(encoding="utf-8")
    assert "python -m bigain profile=paper backbone=dit_xl2_512 dataset=imagenet100" in text
    assert "53.12" in text


def test_the_paper_profile_is_planned(
    table: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert table("3", "--profile", "paper", "--dry-run") == 0
    out = capsys.readouterr().out
    assert out.startswith("Table 3, profile paper, grid default: ")
    assert "dataset.limit=30" in out
    assert "(30 images x 575 evaluations)" in out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "table: which one? allowed: 2, 3, 4, 5"),
        (["44"], "table=44: allowed: 2, 3, 4, 5 (did you mean 4?)"),
        (["four"], "table=four: allowed: 2, 3, 4, 5"),
        (["4", "5"], "table: 5: allowed: one table, then key=value"),
        (["4", "--profile", "papr"], "profile=papr: allowed: mini, paper (did you mean paper?)"),
        (["4", "--profil", "mini"], "(did you mean --profile?)"),
        (["4", "--grid", "ful"], "grid=ful: allowed: default, full (did you mean full?)"),
        (["4", "--limit", "0"], "dataset.limit=0: allowed: "),
        (["4", "--limit", "many"], "dataset.limit=many: allowed: "),
        (["4", "--limit"], "argument --limit: expected one argument"),
        (["4", "operator.ratio=0.9"], "Table 4 sets operator.ratio itself"),
        (["4", "sede=1"], "did you mean seed?"),
        (["4", "seed=1,2"], "seed=1,2: several values"),
    ],
)
def test_mistakes_are_one_line_and_code_2(
    words: list[str], message: str, compose: Compose, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words, compose=compose, runner=forbidden) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


def test_help_explains_and_ends_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "--dry-run" in capsys.readouterr().out


def test_nothing_heavy_is_loaded_to_plan_and_to_render(tmp_path: Path) -> None:
    """Also not by the composition of the runs' configurations."""
    code = (
        "import sys\n"
        "import bigain.tables.command\n"
        "assert not {'torch', 'hydra'} & set(sys.modules)\n"
        f"words = ['4', '--no-run', 'paths.results={tmp_path}']\n"
        "assert bigain.tables.command.main(words) == 0\n"
        "assert not {'torch', 'diffusers', 'wandb'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mini" / "tables" / "table04.md").exists()


def test_a_damaged_run_counts_as_missing_and_is_named(
    table: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert table("4") == 0
    manifest = next((tmp_path / "runs").glob("*/manifest.json"))
    shutil.rmtree(tmp_path / "mini")
    manifest.write_text('{"status": "do')
    capsys.readouterr()
    assert table("4", "--no-run", runner=forbidden) == 0
    shown = capsys.readouterr()
    assert shown.err.startswith(f"counts as missing: {manifest}: is damaged; delete it")
    assert shown.err.count("\n") == 1
    assert "Runs: 6 of 7 done." in shown.out
    assert table("4") == 1
    assert f"{manifest}: is damaged" in capsys.readouterr().err.splitlines()[-1]
    assert table("4", "force=true") == 0
    assert "Runs: 7 of 7 done." in capsys.readouterr().out


@pytest.mark.parametrize("flags", [[], ["--dry-run"], ["--no-run"]])
def test_results_need_a_folder(
    tmp_path: Path, compose: Compose, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    (tmp_path / "file").touch()
    words = ["4", *flags, f"paths.results={tmp_path / 'file'}"]
    assert main(words, compose, forbidden) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"paths.results={tmp_path / 'file'}: allowed: a folder one can write to")


def test_a_folder_that_the_system_refuses_is_one_line(
    tmp_path: Path,
    compose: Compose,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert main(["4", f"paths.results={tmp_path / 'x'}"], compose, forbidden) == 2
    assert capsys.readouterr().err.endswith("to (No such file or directory)\n")

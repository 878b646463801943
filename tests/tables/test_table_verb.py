import csv
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from bigain.cli.table import Launch, main
from bigain.config import RunConfig
from bigain.runs.identity import run_id
from bigain.tables.planner import Compose, PlannedRun

FakeRunner = Callable[[RunConfig], None]
Table = Callable[..., int]
Runs = Sequence[PlannedRun]


@pytest.fixture
def table(tmp_path: Path, compose: Compose, runner: FakeRunner) -> Table:
    """`bigain table ...` on 30 images, with results in the test's own folder."""

    makes_runs = launcher(runner)

    def run(*words: str, launch: Launch = makes_runs) -> int:
        own = ("dataset.limit=30", f"paths.results={tmp_path}")
        return main([*words, *own], compose=compose, launch=launch, flops=lambda _: 10**9)

    return run


def launcher(runner: FakeRunner) -> Launch:
    """Makes runs with `runner`, one after the other."""

    def launch(runs: Runs, _settings: Sequence[str]) -> Mapping[int, str]:
        problems = {}
        for position, each in enumerate(runs):
            try:
                runner(each.config)
            except Exception as error:
                problems[position] = f"{type(error).__name__}: {error}"
        return problems

    return launch


def forbidden(_runs: Runs, _settings: Sequence[str]) -> Mapping[int, str]:
    raise AssertionError("nothing was to be run")


def folder(tmp_path: Path, profile: str = "mini") -> Path:
    return tmp_path / profile / "tables"


def test_missing_runs_are_made_and_the_table_is_written(
    table: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert table("12") == 0
    written = (folder(tmp_path) / "table12.md").read_text(encoding="utf-8")
    shown = capsys.readouterr()
    assert shown.out.startswith(written)
    assert "| —" not in written
    assert "4 of 4 runs done" in written
    assert (folder(tmp_path) / "table12.csv").read_text().startswith("table,source,")
    assert shown.out.splitlines()[-1].startswith("written: ")


def test_a_second_call_runs_nothing_and_writes_the_same(table: Table, tmp_path: Path) -> None:
    def files() -> dict[str, tuple[int, bytes]]:
        found = [path for path in (tmp_path / "mini").rglob("*") if path.is_file()]
        return {path.name: (path.stat().st_ino, path.read_bytes()) for path in found}

    assert table("12") == 0
    before = files()
    assert {name for name in before if name.startswith("table")} == {
        "table12.md",
        "table12.csv",
    }
    assert table("12", launch=forbidden) == 0
    assert files() == before
    assert table("12", "--format", "tex,html", launch=forbidden) == 0
    assert set(files()) - set(before) == {"table12.tex", "table12.html"}


def test_no_run_renders_what_is_there(table: Table, tmp_path: Path) -> None:
    assert table("5", "--no-run", launch=forbidden) == 0
    text = (folder(tmp_path) / "table05.md").read_text(encoding="utf-8")
    assert "0 of 14 runs done" in text
    assert text.count("python -m bigain backbone=mini_dit") == 14


def test_a_fresh_clone_renders_the_same_bytes_from_committed_files(
    table: Table, tmp_path: Path
) -> None:
    """Of classification, generation and efficiency."""
    words = ("12", "16", "18")
    assert table(*words) == 0
    before = {path.name: path.read_bytes() for path in folder(tmp_path).iterdir()}
    shutil.rmtree(tmp_path / "runs")
    shutil.rmtree(folder(tmp_path))
    assert table(*words, "--no-run", launch=forbidden) == 0
    assert {path.name: path.read_bytes() for path in folder(tmp_path).iterdir()} == before


def test_several_tables_share_their_runs(
    table: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert table("8", "12", "table12", "--dry-run") == 0
    counts = capsys.readouterr().out.splitlines()[0]
    assert counts == "34 runs, 0 done, 34 missing", "31 and 4, with one in both"
    assert table("12", "13") == 0
    shown = capsys.readouterr()
    assert shown.out.count("written: ") == 2
    assert "# Table 12" not in shown.out, "only a single table is shown"
    assert (folder(tmp_path) / "table13.md").is_file()
    assert table("8") == 0
    made = list(tmp_path.glob("runs/*/metrics.csv"))
    assert len(made) == 34, "30 more: one was made by Table 12"


def test_all_tables(table: Table, tmp_path: Path) -> None:
    assert table("all", "--no-run", launch=forbidden) == 0
    names = {path.name for path in folder(tmp_path).glob("*.md")}
    assert names == {f"table{number:02d}.md" for number in range(1, 20)} | {"README.md"}


def test_dry_run_lists_runs_and_costs(
    table: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert table("12", "--dry-run", launch=forbidden) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "4 runs, 0 done, 4 missing"
    assert len(lines) == 1 + 4 + 1
    assert "operator=none" in lines[1]
    assert lines[1].endswith("(tables 12; 3,750 evaluations, time unknown)")
    assert lines[-1].startswith("missing in all: 15,000 evaluations of the denoiser, 15.0 TFLOPs")
    assert not list(tmp_path.iterdir())


def test_the_machine_to_plan_for(table: Table, capsys: pytest.CaptureFixture[str]) -> None:
    assert table("12", "--dry-run", "--gflops-per-second", "62.5") == 0
    assert capsys.readouterr().out.endswith("about 4 min on one process\n")


@pytest.mark.parametrize("form", ["csv", "json"])
def test_plans_for_scripts(table: Table, capsys: pytest.CaptureFixture[str], form: str) -> None:
    assert table("12", "--dry-run", "--format", form) == 0
    text = capsys.readouterr().out
    rows = json.loads(text) if form == "json" else list(csv.DictReader(io.StringIO(text)))
    assert [row["state"] for row in rows] == ["missing"] * 4
    assert {row["operator"] for row in rows} == {"none", "todo", "kv_select"}


def test_dry_run_after_the_runs(table: Table, capsys: pytest.CaptureFixture[str]) -> None:
    assert table("12") == 0
    capsys.readouterr()
    assert table("12", "--dry-run") == 0
    out = capsys.readouterr().out
    assert "4 runs, 4 done, 0 missing" in out
    assert "missing in all: 0 evaluations of the denoiser, 0.0 TFLOPs" in out


def test_a_plan_of_no_runs(table: Table, capsys: pytest.CaptureFixture[str]) -> None:
    assert table("13", "--dry-run") == 0
    assert capsys.readouterr().out.startswith("0 runs, 0 done, 0 missing\n")


def test_limit_is_a_short_form(
    compose: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["12", "--limit", "7", "--dry-run", f"paths.results={tmp_path}"]
    assert main(words, compose=compose, flops=lambda _: 1) == 0
    assert f"dataset.limit=7 paths.results={tmp_path}  (tables 12; 875 eval" in (
        capsys.readouterr().out
    )


def test_failures_are_listed_at_the_end_and_the_rest_is_rendered(
    table: Table,
    compose: Compose,
    runner: FakeRunner,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(config: RunConfig) -> None:
        if config.operator.name == "kv_select":
            raise RuntimeError("out of memory")
        runner(config)

    assert table("12", launch=launcher(broken)) == 1
    head, *failed = capsys.readouterr().err.splitlines()
    assert head == "2 of 4 runs failed:"
    assert len(failed) == 2
    assert all("operator=kv_select" in line and "out of memory" in line for line in failed)
    assert "2 of 4 runs done" in (folder(tmp_path) / "table12.md").read_text()


def test_force_makes_the_runs_again_and_shows_them(
    table: Table, compose: Compose, runner: FakeRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[str] = []

    def counting(config: RunConfig) -> None:
        made.append(run_id(config))
        runner(config)

    assert table("12") == 0
    capsys.readouterr()
    assert table("12", "force=true", launch=launcher(counting)) == 0
    assert len(made) == 4
    assert "4 of 4 runs done" in capsys.readouterr().out


def test_runs_of_other_weights_are_refused_before_the_table_is_written(
    table: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert table("12") == 0
    path = sorted((tmp_path / "runs").glob("*/manifest.json"))[0]
    manifest = json.loads(path.read_text())
    name = f"{manifest['config']['backbone']['name']}/model.safetensors"
    path.write_text(json.dumps({**manifest, "hashes": {name: "0" * 64}}))
    capsys.readouterr()
    assert table("12", launch=forbidden) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert f"run {path.parent.name} was made with another {name}; allowed: restore" in err
    assert table("12", "--no-run", launch=forbidden) == 0
    assert table("12", "force=true") == 0


def test_a_run_and_its_baseline_of_other_weights_have_no_difference(
    table: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert table("12") == 0
    for path in (tmp_path / "runs").glob("*/manifest.json"):
        manifest = json.loads(path.read_text())
        is_baseline = manifest["run_id"] == manifest["baseline_id"]
        hashes = {"unet/x.safetensors": ("0" if is_baseline else "1") * 64}
        path.write_text(json.dumps({**manifest, "hashes": hashes}))
    capsys.readouterr()
    assert table("12", "--no-run", launch=forbidden) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "made with another unet/x.safetensors than its baseline" in err


def test_settings_of_hydra_are_for_the_launcher_and_not_for_the_runs(
    table: Table, compose: Compose, tmp_path: Path
) -> None:
    asked: list[tuple[Runs, Sequence[str]]] = []

    def launch(runs: Runs, settings: Sequence[str]) -> Mapping[int, str]:
        asked.append((runs, settings))
        return {}

    assert table("12", "hydra/launcher=basic", "hydra.verbose=true", launch=launch) == 1
    ((runs, settings),) = asked
    assert settings == ("hydra/launcher=basic", "hydra.verbose=true")
    assert len(runs) == 4
    assert not any(word.startswith("hydra") for each in runs for word in each.overrides)


def test_trackers_group_and_tag_runs_by_table(table: Table) -> None:
    asked: list[Runs] = []

    def launch(runs: Runs, _settings: Sequence[str]) -> Mapping[int, str]:
        asked.append(runs)
        return {}

    shown = ("tracking=[wandb,trackio]", "tracking.tags=[mine]")
    table("12", *shown, launch=launch)
    table("12", *shown, "tracking.group=own", launch=launch)
    table("4", "12", *shown, launch=launch)
    table("12", launch=launch)
    alone, own, both, untracked = asked
    assert {each.config.tracking.group for each in alone} == {"table12"}
    assert {each.config.tracking.tags for each in alone} == {("mine", "table12")}
    assert {each.config.tracking.group for each in own} == {"own"}
    assert {each.config.tracking.group for each in both} == {None}
    tags = {each.run_id: each.config.tracking.tags for each in both}
    assert {"table12" in tags[each.run_id] for each in alone} == {True}
    assert any("table04" in each for each in tags.values())
    assert {each.config.tracking.tags for each in untracked} == {()}


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
    assert out.startswith("26 runs, 0 done, 26 missing\n")
    assert "dataset.limit=30" in out
    assert f"{30 * 575:,} evaluations" in out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "table: missing table number; allowed: 1, 2, 3, "),
        (["44"], "table=44: allowed: 1, 2, 3, "),
        (["four"], "table=four: allowed: 1, 2, 3, "),
        (["al"], "(did you mean all?)"),
        (["4", "twelve"], "table=twelve: allowed: "),
        (["13", "--profile", "papr"], "profile=papr: allowed: mini, paper (did you mean paper?)"),
        (["13", "--grid", "ful"], "grid=ful: allowed: default, full (did you mean full?)"),
        (["20"], "table=20: allowed: 1, 2, 3, "),
        (["4", "--format", "csv"], "--format=csv: allowed without --dry-run: tex, html"),
        (["4", "--format", "tex,doc"], "--format=tex,doc: allowed without --dry-run: tex, html"),
        (["4", "--dry-run", "--format", "xml"], "--format=xml: allowed with --dry-run: text, csv"),
        (["4", "--dry-run", "--format", "csv,json"], "--format=csv,json: allowed with --dry-run"),
        (["4", "--gflops-per-second", "fast"], "--gflops-per-second=fast: allowed: a number"),
        (["all", "dataset=pets"], "sets dataset itself"),
        (["4", "--profile", "papr"], "profile=papr: allowed: mini, paper (did you mean paper?)"),
        (["4", "--profil", "mini"], "(did you mean --profile?)"),
        (["4", "--grid", "ful"], "grid=ful: allowed: default, full (did you mean full?)"),
        (["4", "--limit", "0"], "dataset.limit=0: allowed: "),
        (["4", "--limit", "many"], "dataset.limit=many: allowed: "),
        (["4", "--limit"], "argument --limit: expected one argument"),
        (["4", "operator.ratio=0.9"], "Table 4 sets operator.ratio itself"),
        (["4", "hydra/launcher=slurm"], "hydra/launcher=slurm: allowed: basic"),
        (["4", "hydra.sweep.dri=x"], "hydra.sweep.dri"),
        (["4", "sede=1"], "did you mean seed?"),
        (["4", "seed=1,2"], "seed=1,2: several values"),
    ],
)
def test_mistakes_are_one_line_and_code_2(
    words: list[str],
    message: str,
    compose: Compose,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [f"paths.results={tmp_path}", *words]
    assert main(words, compose=compose, launch=forbidden) == 2
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
        "import bigain.cli.table\n"
        "assert not {'torch', 'hydra'} & set(sys.modules)\n"
        f"words = ['4', '--no-run', 'paths.results={tmp_path}']\n"
        "assert bigain.cli.table.main(words) == 0\n"
        "assert not {'torch', 'diffusers', 'wandb'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mini" / "tables" / "table04.md").exists()


def test_a_damaged_run_counts_as_missing_and_is_named(
    table: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert table("12") == 0
    manifest = next((tmp_path / "runs").glob("*/manifest.json"))
    shutil.rmtree(tmp_path / "mini")
    manifest.write_text('{"status": "do')
    capsys.readouterr()
    assert table("12", "--no-run", launch=forbidden) == 0
    shown = capsys.readouterr()
    assert shown.err.startswith(f"counts as missing: {manifest}: is damaged; delete it")
    assert shown.err.count("\n") == 1
    assert "3 of 4 runs done" in shown.out
    assert table("12") == 1
    assert f"{manifest}: is damaged" in capsys.readouterr().err.splitlines()[-1]
    assert table("12", "force=true") == 0
    assert "4 of 4 runs done" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [[], ["--dry-run"], ["--no-run"]])
def test_results_need_a_folder(
    tmp_path: Path, compose: Compose, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    (tmp_path / "file").touch()
    words = ["4", *flags, f"paths.results={tmp_path / 'file'}"]
    assert main(words, compose, forbidden) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(
        f"paths.results={tmp_path / 'file'}: allowed: a folder that you can write to"
    )


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


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        (["--limit", "20"], "dataset.limit=20"),
        (["seed=3", "device=cpu"], "seed=3"),
        (["--grid", "full"], "--grid full"),
        (["device=cpu", "batch_size=8"], ""),
        ([], ""),
    ],
)
def test_a_table_of_other_settings_says_that_it_took_the_place_of_the_profiles(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    changed: str,
) -> None:
    monkeypatch.setenv("BIGAIN_RESULTS", str(tmp_path))
    assert main(["12", "--no-run", *words], launch=forbidden) == 0
    said = capsys.readouterr().err
    if not changed:
        assert said == ""
        return
    assert said.count("\n") == 1
    assert f"written with {changed}" in said
    assert "`python -m bigain table 12 --profile mini --no-run`" in said


def test_elsewhere_nothing_is_replaced(
    table: Table, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert table("12", "--no-run", launch=forbidden) == 0
    assert capsys.readouterr().err == ""
    assert (folder(tmp_path) / "table12.md").is_file()

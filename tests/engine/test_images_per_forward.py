"""`task.images_per_forward=auto`: a number before a run has a name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bigain.config import GenerationConfig, RunConfig
from bigain.engine import images_per_forward
from bigain.engine.images_per_forward import KEPT, with_images_per_forward
from bigain.engine.run import run
from bigain.errors import UserError
from bigain.launch.app import run_command_line
from bigain.launch.compose import compose_config
from bigain.launch.plan import check_operators, name_runs, plan_runs
from bigain.runs.identity import run_id

SHORT = ["task=generation", "dataset.limit=3", "task.steps=1", "threads=1"]
AUTO = "task.images_per_forward=auto"


def number_of(config: RunConfig) -> int:
    return config.task_as(GenerationConfig).named_images_per_forward


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., list[str]]:
    places = [f"paths.results={tmp_path}", f"paths.cache={tmp_path / 'cache'}"]
    return lambda *overrides: [*SHORT, *places, *overrides]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of forwards that are timed, in three rounds; 8 rows are as fast as any."""
    rows: list[int] = []

    def rate(_backbone: Any, _device: Any, size: int) -> float:
        rows.append(size)
        return float(min(size, 8))

    monkeypatch.setattr(images_per_forward, "evaluations_per_second", rate)
    return rows


def test_a_number_is_measured_once_for_all_operators(
    command: Callable[..., list[str]], measured: list[int], tmp_path: Path
) -> None:
    plain = with_images_per_forward(compose_config(command(AUTO)))
    assert number_of(plain) == 4, "guidance has two rows for each image"
    assert measured == 3 * [2, 4, 8, 16, 32]
    other = with_images_per_forward(compose_config(command(AUTO, "operator=tome", "seed=1")))
    assert number_of(other) == 4
    assert measured == 3 * [2, 4, 8, 16, 32]
    assert list(json.loads((tmp_path / "cache" / KEPT).read_text()).values()) == [4]
    unguided = compose_config(command(AUTO, "task.guidance_scale=1"))
    assert number_of(with_images_per_forward(unguided)) == 8


def test_the_run_is_that_of_the_number(
    command: Callable[..., list[str]], measured: list[int]
) -> None:
    auto, named = compose_config(command(AUTO)), command("task.images_per_forward=4")
    chosen = with_images_per_forward(auto)
    assert chosen == compose_config(named)
    assert run_id(chosen) == run_id(compose_config(named))
    assert measured


def test_auto_is_no_name(command: Callable[..., list[str]]) -> None:
    auto = compose_config(command(AUTO))
    assert not auto.has_name
    with pytest.raises(
        UserError, match=r"^task\.images_per_forward=auto: .*; allowed here: an int"
    ):
        run_id(auto)
    with pytest.raises(UserError, match=r"^task\.images_per_forward=auto"):
        run(auto, progress=False)
    with pytest.raises(TypeError, match="no number"):
        number_of(auto)


def test_a_command_makes_the_run_of_the_number(
    command: Callable[..., list[str]],
    measured: list[int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command_line(command(AUTO)) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name == run_id(compose_config(command("task.images_per_forward=4")))
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["config"]["task"]["images_per_forward"] == 4
    assert f"{AUTO} is 4 here" in capsys.readouterr().err
    assert measured


def test_a_sweep_has_one_number_where_it_is_auto(
    command: Callable[..., list[str]], measured: list[int]
) -> None:
    swept = command("operator=none,lgtm", "task.images_per_forward=3,auto")
    plan = plan_runs(swept, multirun=True)
    check_operators(plan.runs)
    assert not measured
    assert [number_of(each.config) for each in name_runs(plan).runs] == [3, 4, 3, 4]
    assert measured == 3 * [2, 4, 8, 16, 32]


def test_runs_on_other_machines_need_a_number(
    command: Callable[..., list[str]], measured: list[int]
) -> None:
    plan = plan_runs(command(AUTO))
    plan.hydra.launcher = {"_target_": "hydra_plugins.hydra_submitit_launcher.SlurmLauncher"}
    with pytest.raises(
        UserError, match=r"^task\.images_per_forward=auto: would be measured on this"
    ):
        name_runs(plan)
    assert not measured


def test_mistakes_are_found_before_anything_is_measured(
    command: Callable[..., list[str]], measured: list[int]
) -> None:
    with pytest.raises(UserError, match=r"operator\.ratio=0\.95"):
        run_command_line(command(AUTO, "operator=sito", "operator.ratio=0.95"))
    with pytest.raises(UserError, match=r"task\.images_per_forward=auto: allowed: 1, because"):
        run_command_line(command(AUTO, "operator=tome", "operator.draws=per_forward"))
    assert not measured


def test_the_mini_backbone_is_really_measured(command: Callable[..., list[str]]) -> None:
    config = with_images_per_forward(compose_config(command(AUTO, "backbone=mini_dit")))
    number = number_of(config)
    assert number in {2**n for n in range(9)}
    assert number_of(with_images_per_forward(compose_config(command(AUTO)))) == number

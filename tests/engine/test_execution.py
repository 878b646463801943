from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bigain.engine import jobs
from bigain.engine.execution import execute
from bigain.launch.compose import compose_config
from bigain.runs.frames import read_samples
from bigain.runs.identity import run_id
from bigain.runs.store import RunStore
from bigain.tasks.classification import classify_images
from bigain.tasks.efficiency import Stopwatch

SHORT = ["task.trial_list=[1]", "task.keep_list=[1]", "dataset.limit=2"]


def test_an_exception_leaves_the_run_failed_and_the_records_that_were_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = compose_config([*SHORT, f"paths.results={tmp_path}"])
    original = classify_images

    def broken(*arguments: object) -> object:
        yield next(original(*arguments))  # type: ignore[arg-type]
        raise RuntimeError("out of luck")

    monkeypatch.setattr(jobs, "classify_images", broken)
    store = RunStore(tmp_path, run_id(config))
    with pytest.raises(RuntimeError, match="out of luck"):
        execute(config, store)
    assert store.status() == "failed"
    assert store.manifest()["error"] == "RuntimeError: out of luck"
    monkeypatch.setattr(jobs, "classify_images", original)
    assert execute(config, store) == 1
    assert store.status() == "done"


def test_a_single_trial_has_no_margin_variance_but_a_result(tmp_path: Path) -> None:
    config = compose_config([*SHORT, f"paths.results={tmp_path}"])
    store = RunStore(tmp_path, run_id(config))
    execute(config, store)
    assert store.status() == "done"


@pytest.mark.parametrize(("settings", "told"), [({}, True), ({"progress": False}, False)])
def test_a_terminal_shows_a_bar_unless_the_caller_has_its_own(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    settings: dict[str, bool],
    told: bool,
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    config = compose_config([*SHORT, f"paths.results={tmp_path}"])
    execute(config, RunStore(tmp_path, run_id(config)), **settings)
    assert ("mini_dit none" in capsys.readouterr().err) is told


TIMED = ["task=efficiency", "task.measure=time", "task.steps=1", "task.warmup=0", "operator=todo"]


def test_a_killed_measurement_goes_on_at_the_next_repeat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = compose_config([*TIMED, "task.repeats=3", "batch_size=1", f"paths.results={tmp_path}"])
    store = RunStore(tmp_path, run_id(config))
    original, left = Stopwatch.records, []

    def killed(self: Stopwatch, repeats: list[int]) -> Iterator[dict[str, Any]]:
        left.append(list(repeats))
        yield next(original(self, repeats))
        raise KeyboardInterrupt

    monkeypatch.setattr(Stopwatch, "records", killed)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            execute(config, store)
    monkeypatch.setattr(Stopwatch, "records", original)
    assert left == [[1, 2, 3], [2, 3]]
    assert execute(config, store) == 1
    assert read_samples(store.folder)["image_id"].tolist() == [1, 2, 3]
    assert store.manifest()["weights"] == "random, seed 0: time does not depend on their values"

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from bigain.engine import run as engine
from bigain.engine.run import run
from bigain.errors import UserError
from bigain.launch.compose import compose_config
from bigain.runs.files import METRICS, read_csv
from bigain.runs.identity import run_id
from bigain.runs.samples import read_samples
from bigain.runs.store import RunStore
from bigain.tasks import classification
from bigain.tasks.classification import classify_images
from bigain.tasks.efficiency import Stopwatch
from bigain.testing.runs import read_metrics
from bigain.tracking.sink import Sinks, TrackedRun

SHORT = ["task.trial_list=[2,4]", "task.keep_list=[3,1]", "dataset.limit=2"]
ONE_TRIAL = ["task.trial_list=[1]", "task.keep_list=[1]", "dataset.limit=2"]


def test_a_run_leaves_the_four_files_and_a_full_manifest(tmp_path: Path) -> None:
    outcome = run(compose_config([*SHORT, f"paths.results={tmp_path}"]))
    assert outcome.status == "done"
    assert outcome.computed == 2
    assert outcome.folder == tmp_path / "runs" / outcome.run_id
    samples = read_samples(outcome.folder)
    assert len(samples) == 2
    metrics = read_metrics(outcome.folder)
    assert set(metrics["metric"]) == {"acc1", "eps_error", "margin_mean", "margin_variance"}
    assert set(metrics["n"]) == {2}
    manifest = json.loads((outcome.folder / "manifest.json").read_text())
    assert manifest["config"]["backbone"]["name"] == "mini_dit"
    assert set(manifest["hashes"]) == {"mini_dit/model.safetensors", "dataset/fashion_mnist"}
    for key in ("packages", "cpu_model", "torch_threads", "attention_backend", "git_commit"):
        assert key in manifest
    assert (outcome.folder / "config.yaml").read_text().startswith("profile: mini")


@pytest.mark.parametrize(
    ("settings", "own", "expected"), [([], "", 1), (["threads=3"], "", 3), ([], "2", 2)]
)
def test_a_mini_run_takes_one_thread_unless_it_is_told_otherwise(
    settings: list[str], own: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", own)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        outcome = run(compose_config([*ONE_TRIAL, *settings, f"paths.results={tmp_path}"]))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    manifest = json.loads((outcome.folder / "manifest.json").read_text())
    assert manifest["torch_threads"] == expected


def test_a_finished_run_says_too_that_the_images_that_ship_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = [*ONE_TRIAL, f"paths.results={tmp_path}"]
    first = run(compose_config(settings))
    assert caplog.messages == []
    monkeypatch.setenv("BIGAIN_DATA", str(tmp_path / "all"))
    again = run(compose_config(settings))
    assert (again.run_id, again.computed) == (first.run_id, 0)
    assert [line for line in caplog.messages if f"BIGAIN_DATA={tmp_path}/all has no" in line]


def test_a_finished_run_is_skipped_without_importing_torch(tmp_path: Path) -> None:
    settings = [*SHORT, f"paths.results={tmp_path}"]
    first = run(compose_config(settings))
    code = (
        "import sys; from bigain.launch.compose import compose_config; "
        "from bigain.engine.run import run; "
        f"outcome = run(compose_config({settings!r})); "
        "print(outcome.run_id, outcome.status, outcome.computed, 'torch' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.split() == [first.run_id, "done", "0", "False"]


def test_force_redoes_it_with_the_same_result(tmp_path: Path) -> None:
    settings = [*SHORT, f"paths.results={tmp_path}"]
    first = run(compose_config(settings))
    before = (first.folder / "samples.csv").read_bytes()
    again = run(compose_config([*settings, "force=true"]))
    assert again.computed == 2
    assert (again.folder / "samples.csv").read_bytes() == before


def test_user_errors_come_before_anything_is_written(tmp_path: Path) -> None:
    config = compose_config([*SHORT, f"paths.results={tmp_path}", "dataset.limit=3"])
    wrong = config.model_copy(
        update={"backbone": config.backbone.model_copy(update={"revision": "0" * 12})}
    )
    with pytest.raises(UserError, match=r"backbone\.revision=000000000000"):
        run(wrong)
    assert not (tmp_path / "runs").exists()


def test_an_exception_leaves_the_run_failed_and_the_records_that_were_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = compose_config([*ONE_TRIAL, f"paths.results={tmp_path}"])
    original = classify_images

    def broken(*arguments: object) -> object:
        yield next(original(*arguments))  # type: ignore[arg-type]
        raise RuntimeError("out of luck")

    monkeypatch.setattr(classification, "classify_images", broken)
    store = RunStore(tmp_path, run_id(config))
    with pytest.raises(RuntimeError, match="out of luck"):
        run(config)
    assert store.status() == "failed"
    assert store.manifest()["error"] == "RuntimeError: out of luck"
    monkeypatch.setattr(classification, "classify_images", original)
    assert run(config).computed == 1
    assert store.status() == "done"


@pytest.mark.parametrize(("settings", "shown"), [({}, True), ({"progress": False}, False)])
def test_a_terminal_shows_a_bar_unless_the_caller_has_its_own(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    settings: dict[str, bool],
    shown: bool,
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    config = compose_config([*ONE_TRIAL, f"paths.results={tmp_path}"])
    run(config, **settings)
    assert ("mini_dit none" in capsys.readouterr().err) is shown


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
            run(config)
    monkeypatch.setattr(Stopwatch, "records", original)
    assert left == [[1, 2, 3], [2, 3]]
    assert run(config).computed == 1
    assert read_samples(store.folder)["image_id"].tolist() == [1, 2, 3]
    assert store.manifest()["weights"] == "random, seed 0: time does not depend on their values"


# Sinks.


class Recorder:
    """A sink that keeps its calls; it raises in the call named `fails_in`."""

    def __init__(self, fails_in: str = "") -> None:
        self.calls: list[tuple[str, Any]] = []
        self._fails_in = fails_in

    def _called(self, name: str, value: Any) -> None:
        self.calls.append((name, value))
        if name == self._fails_in:
            raise ConnectionError("no server")

    def start(self, run: TrackedRun) -> None:
        self._called("start", run)

    def record(self, record: Mapping[str, Any]) -> None:
        self._called("record", record["image_id"])

    def finish(self, metrics: Sequence[Mapping[str, Any]]) -> None:
        self._called("finish", {row["metric"]: row["value"] for row in metrics})

    def fail(self, error: BaseException) -> None:
        self._called("fail", str(error))


def use(monkeypatch: pytest.MonkeyPatch, *sinks: Recorder) -> None:
    named = {f"recorder{at}": sink for at, sink in enumerate(sinks)}
    monkeypatch.setattr(engine, "build_sinks", lambda _config: Sinks(named))


def test_a_sink_sees_the_run_its_records_and_its_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder()
    use(monkeypatch, recorder)
    config = compose_config([*ONE_TRIAL, f"paths.results={tmp_path}"])
    outcome = run(config)
    names = [name for name, _ in recorder.calls]
    assert names == ["start", "record", "record", "finish"]
    started, metrics = recorder.calls[0][1], recorder.calls[-1][1]
    assert (started.run_id, started.folder) == (outcome.run_id, outcome.folder)
    assert (started.num_records, list(started.done)) == (2, [])
    assert started.config["seed"] == 0
    assert metrics == {row["metric"]: row["value"] for row in read_csv(outcome.folder / METRICS)}
    run(config)
    assert len(recorder.calls) == 4, "a finished run is not shown again"


def test_a_shard_that_waits_for_others_has_no_metrics_to_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder()
    use(monkeypatch, recorder)
    run(compose_config([*ONE_TRIAL, "shard.count=2", f"paths.results={tmp_path}"]))
    assert recorder.calls[-1] == ("finish", {})


@pytest.mark.parametrize("method", ["start", "record", "finish"])
def test_a_failing_sink_harms_neither_the_run_nor_another_sink(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken, other = Recorder(fails_in=method), Recorder()
    use(monkeypatch, broken, other)
    assert run(compose_config([*ONE_TRIAL, f"paths.results={tmp_path}"])).status == "done"
    assert [name for name, _ in other.calls] == ["start", "record", "record", "finish"]
    assert [name for name, _ in broken.calls].count(method) == 1
    assert [name for name, _ in broken.calls][-2:] == [method, "fail"], "called no more"
    assert [record.message.count("no server") for record in caplog.records] == [1]


def test_a_sink_receives_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Iterator[object]:
        raise RuntimeError("out of luck")
        yield

    recorder = Recorder()
    use(monkeypatch, recorder)
    monkeypatch.setattr(classification, "classify_images", broken)
    with pytest.raises(RuntimeError):
        run(compose_config([*ONE_TRIAL, f"paths.results={tmp_path}"]))
    assert recorder.calls[-1] == ("fail", "out of luck")

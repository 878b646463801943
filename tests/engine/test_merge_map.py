"""A tracked run has a picture of its operator; no other run pays for one, and no result changes."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bigain.config import TrackingConfig
from bigain.engine import run as engine
from bigain.engine.run import RunOutcome, run
from bigain.launch.compose import compose_config
from bigain.runs.files import METRICS, SAMPLES, read_csv
from bigain.runs.images import MERGE_MAP
from bigain.tasks import token_maps
from bigain.tracking.pictures import media_of
from bigain.tracking.sink import Sinks, TrackedRun

ONE_TRIAL = ("task.trial_list=[1]", "task.keep_list=[1]", "dataset.limit=1")
GENERATION = ("task=generation", "task.steps=1", "dataset.limit=2", "backbone=mini_unet")
TRACKED = {"trackers": {"shown": {"target": "tests.Shown"}}, "mode": "offline"}
DISABLED = {**TRACKED, "mode": "disabled"}


class Shown:
    """A sink that looks for the picture at the end of the run."""

    def __init__(self) -> None:
        self.pictures: list[str] = []
        self.metrics: Sequence[Mapping[str, Any]] = []

    def start(self, run: TrackedRun) -> None:
        self.folder, self.task = run.folder, run.config["task"]["name"]

    def record(self, record: Mapping[str, Any]) -> None:
        pass

    def finish(self, metrics: Sequence[Mapping[str, Any]]) -> None:
        self.metrics = metrics
        if metrics:
            records = read_csv(self.folder / SAMPLES)
            self.pictures = sorted(media_of(self.task, records, self.folder).pictures)

    def fail(self, error: BaseException) -> None:
        raise AssertionError(error)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    sink = Shown()
    monkeypatch.setattr(engine, "build_sinks", lambda _: Sinks({"shown": sink}))
    return sink


def finished(
    results: Path, *settings: str, tracking: Mapping[str, Any] | None = None
) -> RunOutcome:
    """A run that `tracking` shows; no tracker is imported."""
    config = compose_config([*settings, f"paths.results={results}"])
    plain = {**config.tracking.model_dump(), **(tracking or {})}
    tracked = config.model_copy(update={"tracking": TrackingConfig.model_validate(plain)})
    return run(tracked, progress=False)


@pytest.mark.parametrize(
    "settings",
    [
        ("operator=tome", *ONE_TRIAL),
        ("operator=lgtm_enc_ie_kvd_dec", "backbone=mini_unet", *ONE_TRIAL),
        ("operator=todo", "backbone=mini_unet", "dataset=fashion_mosaic", *ONE_TRIAL),
        ("operator=lgtm", *GENERATION),
    ],
    ids=lambda settings: settings[0],
)
def test_a_tracked_run_shows_its_operator_and_has_the_same_results(
    settings: tuple[str, ...], tmp_path: Path, shown: Shown
) -> None:
    tracked = finished(tmp_path / "tracked", *settings, tracking=TRACKED)
    assert "merge_map" in shown.pictures
    with Image.open(tracked.folder / MERGE_MAP) as picture:
        assert picture.width > 2 * picture.height, "several drawings side by side"
        assert np.asarray(picture.convert("L")).std() > 10
    plain = finished(tmp_path / "plain", *settings)
    assert not (plain.folder / MERGE_MAP).exists()
    assert plain.run_id == tracked.run_id
    for name in (SAMPLES, METRICS):
        assert (plain.folder / name).read_bytes() == (tracked.folder / name).read_bytes()


@pytest.mark.parametrize(
    ("operator", "tracking"), [("tome", None), ("none", TRACKED), ("tome", DISABLED)]
)
def test_who_shows_nothing_does_no_forward(
    operator: str,
    tracking: Mapping[str, Any] | None,
    tmp_path: Path,
    shown: Shown,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(token_maps, "token_maps", lambda *_, **__: pytest.fail("a forward"))
    outcome = finished(tmp_path, f"operator={operator}", *ONE_TRIAL, tracking=tracking)
    assert (outcome.status, shown.pictures) == ("done", ["confusion_matrix"])


def test_a_picture_that_fails_is_one_warning(
    tmp_path: Path,
    shown: Shown,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("no\nluck")

    monkeypatch.setattr(token_maps, "token_maps", fail)
    with caplog.at_level(logging.WARNING):
        outcome = finished(tmp_path, "operator=tome", *ONE_TRIAL, tracking=TRACKED)
    assert outcome.status == "done"
    assert caplog.messages == [f"{MERGE_MAP}: not drawn (ZeroDivisionError: no luck)"]
    assert shown.pictures == ["confusion_matrix"]
    assert [row["metric"] for row in shown.metrics][:2] == ["acc1", "eps_error"]
    assert not list(outcome.folder.glob(f"*{MERGE_MAP}*"))


def test_the_shard_that_finishes_a_run_draws(tmp_path: Path, shown: Shown) -> None:
    half = ("operator=tome", "task.trial_list=[1]", "task.keep_list=[1]", "dataset.limit=2")
    first, second = (
        finished(tmp_path, *half, f"shard.index={index}", "shard.count=2", tracking=TRACKED)
        for index in (0, 1)
    )
    assert (first.status, second.status) == ("running", "done")
    assert "merge_map" in shown.pictures

"""The sink of every dashboard, with pages that only keep what they are shown."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import bigain.engine.run as engine
from bigain.config import RunConfig, TrackingConfig
from bigain.engine.run import run
from bigain.launch.compose import compose_config
from bigain.runs.archive import Archive
from bigain.runs.files import METRICS, SAMPLES, read_csv
from bigain.tracking import dashboard
from bigain.tracking.dashboard import Dashboard
from bigain.tracking.finished import finished_run
from bigain.tracking.pictures import Media
from bigain.tracking.sink import Sinks
from bigain.tracking.sync import sync
from bigain.tracking.view import View, history

QUICK = ("dataset.limit=4", "task.trial_list=[1]", "task.keep_list=[1]", "backbone=mini_unet")


class FakePage:
    def __init__(self) -> None:
        self.points: list[tuple[int, Mapping[str, float]]] = []
        self.shown: list[tuple[Sequence[Mapping[str, Any]], Media, int]] = []
        self.ends: list[bool] = []

    def log(self, point: Mapping[str, float], step: int) -> None:
        self.points.append((step, point))

    def show(self, metrics: Sequence[Mapping[str, Any]], media: Media, step: int) -> None:
        self.shown.append((metrics, media, step))

    def finish(self, *, failed: bool = False) -> None:
        self.ends.append(failed)


class FakeClient:
    name = "fake"
    refusals: tuple[type[Exception], ...] = (ConnectionError,)
    remedy = "a server"

    def __init__(self) -> None:
        self.opened: list[tuple[View, int]] = []
        self.page = FakePage()

    def place(self, tracking: TrackingConfig) -> str:
        return tracking.project or "here"

    def open(self, view: View, tracking: TrackingConfig, results: Path, done: int) -> FakePage:
        self.opened.append((view, done))
        return self.page


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> list[FakeClient]:
    """Two trackers of all runs of the test, both without pauses between points."""
    made = [FakeClient(), FakeClient()]
    monkeypatch.setattr(dashboard, "_SECONDS_BETWEEN_POINTS", 0.0)
    monkeypatch.setattr(
        engine,
        "build_sinks",
        lambda _config: Sinks({str(at): Dashboard(each) for at, each in enumerate(made)}),
    )
    return made


def config(tmp_path: Path, *more: str) -> RunConfig:
    return compose_config([*QUICK, f"paths.results={tmp_path}", *more])


def test_every_tracker_is_shown_the_numbers_of_the_run(
    clients: list[FakeClient], tmp_path: Path
) -> None:
    folder = run(config(tmp_path)).folder
    first, second = (client.page for client in clients)
    assert [step for step, _ in first.points] == [1, 2, 3, 4]
    assert [step for step, _ in second.points] == [1, 2, 3, 4]
    last = first.points[-1][1]
    records = read_csv(folder / SAMPLES)
    assert last["running_acc1"] == pytest.approx(history(records)[-1][1]["running_acc1"])
    assert {"running_acc1_low", "running_acc1_high", "images_per_s", "peak_memory_gib"} < set(last)
    for page in (first, second):
        ((metrics, media, step),) = page.shown
        *own, flops = metrics
        assert own == read_csv(folder / METRICS)
        assert (flops["metric"], flops["unit"]) == ("flops_g", "GFLOPs")
        assert (set(media.pictures), step) == ({"confusion_matrix"}, 4)
        assert [row[0] for row in media.tables["hardest_images"].rows] != []
        assert page.ends == [False]


def test_a_resumed_run_goes_on_at_its_next_step(
    clients: list[FakeClient], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = clients[0].page
    log = page.log

    def stop_after_two(point: Mapping[str, float], step: int) -> None:
        log(point, step)
        if step == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(page, "log", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        run(config(tmp_path))
    assert page.ends == [True]
    monkeypatch.setattr(page, "log", log)
    run(config(tmp_path))
    assert [step for step, _ in page.points] == [1, 2, 3, 4]
    assert [done for _, done in clients[0].opened] == [0, 2]
    assert len({view.run_id for view, _ in clients[0].opened}) == 1
    assert page.ends == [True, False]


def test_shards_make_one_page(clients: list[FakeClient], tmp_path: Path) -> None:
    run(config(tmp_path, "shard.count=2", "shard.index=0"))
    assert clients[0].opened == []
    folder = run(config(tmp_path, "shard.count=2", "shard.index=1")).folder
    assert [done for _, done in clients[0].opened] == [0]
    page = clients[0].page
    assert page.points == history(read_csv(folder / SAMPLES))
    assert len(page.shown) == 1


def test_a_run_that_was_shown_while_it_was_made_is_not_shown_again(
    clients: list[FakeClient], tmp_path: Path
) -> None:
    folder = run(config(tmp_path)).folder
    finished = finished_run(Archive(tmp_path, "mini"), folder.name, tags=["table04"])
    tracking = config(tmp_path).tracking
    client = FakeClient()
    assert list(sync([finished], client, tracking, tmp_path)) == [False]
    assert client.opened == []
    elsewhere = tracking.model_copy(update={"project": "elsewhere"})
    assert list(sync([finished], client, elsewhere, tmp_path)) == [True]
    changed = replace(finished, metrics=finished.metrics[:1])
    assert list(sync([changed], client, tracking, tmp_path)) == [True]
    assert [done for _, done in client.opened] == [0, 0]
    assert client.page.points[:4] == history(read_csv(folder / SAMPLES))

"""The sink of every dashboard, with pages that only keep what they are shown."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import bigain.engine.run as engine
from bigain.cli.main import main
from bigain.config import RunConfig, TrackingConfig
from bigain.engine.run import run
from bigain.errors import UserError
from bigain.launch.compose import compose_config
from bigain.metrics import wilson
from bigain.runs.archive import Archive
from bigain.runs.files import METRICS, SAMPLES, read_csv
from bigain.runs.identity import resolved
from bigain.runs.manifests import public_config
from bigain.tasks import classification
from bigain.tasks.classification import classify_images, failed_record
from bigain.tracking import dashboard
from bigain.tracking.dashboard import Dashboard
from bigain.tracking.finished import finished_run
from bigain.tracking.pictures import Media
from bigain.tracking.sink import Sinks
from bigain.tracking.sync import sync
from bigain.tracking.view import View, history, summary

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
    keeps_steps = True

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
    assert last["running_acc1"] == pytest.approx(
        history(records, "classification")[-1][1]["running_acc1"]
    )
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
    assert page.points == history(read_csv(folder / SAMPLES), "classification")
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
    assert client.page.points[:4] == history(read_csv(folder / SAMPLES), "classification")


GENERATION = ("task=generation", "task.steps=1", "dataset.limit=4", "backbone=mini_unet")
EFFICIENCY = ("task=efficiency", "task.measure=all", "task.steps=1", "task.repeats=2")
TASKS: dict[str, tuple[str, ...]] = {
    "classification": QUICK,
    "generation": GENERATION,
    "efficiency": (*EFFICIENCY, "task.warmup=0", "backbone=mini_unet"),
    "several labels": (*QUICK, "dataset=fashion_mosaic"),
    "adopted": QUICK,
    "failed": QUICK,
}


def one_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second image of the run cannot be read."""

    def broken(classifier: Any, backbone: Any, images: Any, positions: Any) -> Any:
        for position in positions:
            if position == 1:
                yield failed_record(images[position], "1.png: cut short")
            else:
                yield from classify_images(classifier, backbone, images, [position])

    monkeypatch.setattr(classification, "classify_images", broken)


@pytest.mark.parametrize("kind", TASKS)
def test_what_is_shown_live_equals_what_is_shown_later(
    kind: str, clients: list[FakeClient], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also from the published files alone: the same configuration, summary, points and pictures."""
    settings = (*TASKS[kind], f"paths.results={tmp_path}")
    first = 0
    if kind == "failed":
        one_unreadable(monkeypatch)
    if kind == "adopted":
        first = 2
        with monkeypatch.context() as untracked:
            untracked.setattr(engine, "build_sinks", lambda _config: Sinks({}))
            run(compose_config([*settings, "dataset.limit=2"]))
    made = compose_config([*settings])
    folder = run(made).folder
    records, ((live, opened),) = read_csv(folder / SAMPLES), clients[0].opened
    page, task = clients[0].page, made.task.name
    assert opened == first
    assert live.config == public_config(resolved(made))

    correct = [bool(each.get("correct")) for each in records]
    running = [(at, sum(correct[:at])) for at in range(1 + first, len(records) + 1)]
    every: dict[str, list[dict[str, float]]] = {
        "classification": [
            {"running_acc1": 100 * right / at, "running_acc1_low": 100 * wilson(right, at)[0]}
            for at, right in running
        ],
        "generation": [{"generated": at} for at, _ in running],
        "efficiency": [],
    }
    expected = every[task]
    own = [
        {key: point[key] for key in each}
        for (_, point), each in zip(page.points, expected, strict=True)
    ]
    assert own == [pytest.approx(each) for each in expected]
    assert [step for step, _ in page.points] == [at for at, _ in running][: len(expected)]

    ((rows, media, step),) = page.shown
    archive, tracking = Archive(tmp_path, "mini"), made.tracking
    archive.publish([folder.name])
    for place in ("own", "published"):
        if place == "published":
            shutil.rmtree(tmp_path / "runs")
        later = FakeClient()
        finished = finished_run(archive, folder.name)
        assert list(sync([finished], later, tracking, tmp_path / place)) == [True]
        ((view, _),), ((later_rows, later_media, later_step),) = later.opened, later.page.shown
        assert view == live
        assert (summary(later_rows), later_step) == (summary(rows), step)
        for (at, point), (same, full) in zip(later.page.points[first:], page.points, strict=True):
            assert (at, point) == (same, {key: full[key] for key in point})
        if place == "own":
            assert later_media == media
        has_matrix = "confusion_matrix" in media.pictures
        assert has_matrix == (kind in ("classification", "adopted", "failed"))
        assert has_matrix == ("confusion_matrix" in later_media.pictures)
        ids = [
            {row[0] for each in found.tables.values() for row in each.rows}
            for found in (media, later_media)
        ]
        assert ids[0] == ids[1]
        assert len(ids[0]) == (has_matrix and len(records) - (kind == "failed"))


def test_a_run_that_lacks_no_record_is_shown_whole(
    clients: list[FakeClient], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as untracked:
        untracked.setattr(engine, "build_sinks", lambda _config: Sinks({}))
        run(config(tmp_path))
    folder = run(config(tmp_path, "dataset.limit=2")).folder
    assert clients[0].page.points == history(read_csv(folder / SAMPLES), "classification")
    assert len(clients[0].page.shown) == 1


def test_a_group_that_is_asked_for_is_shown_and_any_other_stays(tmp_path: Path) -> None:
    finished = run(config(tmp_path)).folder.name
    archive, tracking, client = Archive(tmp_path, "mini"), config(tmp_path).tracking, FakeClient()

    def shown(group: str, tags: Sequence[str], asked: str | None = None) -> list[bool]:
        run_ = finished_run(archive, finished, group, tags, asked=asked)
        return list(sync([run_], client, tracking, tmp_path))

    assert shown("table03", ["table03"]) == [True]
    assert shown("table03", ["table03", "table04"], asked="table04") == [True]
    assert shown("table03", ["table03", "table04"], asked="table04") == [False]
    assert shown("table03", ["table03"]) == [False]
    assert [view.group for view, _ in client.opened] == ["table03", "table04"]


def test_other_results_under_an_old_history_are_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = run(config(tmp_path)).folder.name
    finished = finished_run(Archive(tmp_path, "mini"), name)
    tracking, client = config(tmp_path).tracking, FakeClient()
    changed = replace(finished, metrics=finished.metrics[:1])
    for each, warnings in ((finished, 0), (changed, 1), (changed, 1)):
        list(sync([each], client, tracking, tmp_path))
        found = [line for line in caplog.messages if f"run {name} was shown before" in line]
        assert len(found) == warnings


def test_a_finished_run_tells_how_it_is_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = run(config(tmp_path)).folder.name
    with caplog.at_level(logging.WARNING):
        run(config(tmp_path, "tracking=[wandb,trackio]"))
    lines = [line for line in caplog.messages if "is finished already" in line]
    assert [f"bigain sync-wandb {name}" in lines[0], f"bigain dashboard {name}" in lines[1]] == [
        True,
        True,
    ]
    caplog.clear()
    run(config(tmp_path))
    assert caplog.messages == []


def test_a_page_that_shows_nothing_costs_nothing(
    clients: list[FakeClient], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def turned_off(_tracking: TrackingConfig) -> str:
        raise UserError("disabled: shows nothing")

    drawn: list[object] = []
    monkeypatch.setattr("bigain.engine.merge_map.draw_merge_map", lambda *_: drawn.append(1))
    monkeypatch.setattr("bigain.engine.merge_map.wants_merge_map", lambda _config: True)
    monkeypatch.setattr(clients[0], "place", turned_off)
    run(config(tmp_path))
    assert (clients[0].opened, len(clients[1].opened), drawn) == ([], 1, [1])
    monkeypatch.setattr(clients[1], "place", turned_off)
    run(config(tmp_path, "force=true"))
    assert (len(clients[1].opened), drawn) == (1, [1])


def test_a_page_is_closed_when_its_sink_is_dropped(
    clients: list[FakeClient], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(point: Mapping[str, float], step: int) -> None:
        raise ZeroDivisionError(step)

    monkeypatch.setattr(clients[0].page, "log", broken)
    run(config(tmp_path))
    assert (clients[0].page.ends, clients[1].page.ends) == ([True], [False])


def test_a_damaged_run_is_one_line_while_the_others_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one_unreadable(monkeypatch)
    good, cut, lost = (
        run(config(tmp_path, f"seed={seed}"), progress=False).folder for seed in (0, 1, 2)
    )
    (cut / SAMPLES).write_text((cut / SAMPLES).read_text()[:40])
    (lost / "manifest.json").write_text("{")
    client = FakeClient()
    monkeypatch.setattr("bigain.cli.shown_runs.build_client", lambda *_: client)
    assert main(["sync-wandb", "--all", "--results", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert told.out == "1 runs shown, 0 were there already\n"
    assert [view.run_id for view, _ in client.opened] == [good.name]
    lines = [line for line in told.err.splitlines() if line.startswith("left out: ")]
    named = [[folder.name in line for folder in (cut, lost)] for line in lines]
    assert sorted(named) == [[False, True], [True, False]]
    assert main(["sync-wandb", cut.name, "--results", str(tmp_path)]) == 2
    assert cut.name in capsys.readouterr().err

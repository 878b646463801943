"""The saved W&B views name only what W&B has of our runs, and are built without a server."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from wandb.errors import CommError
from wandb.sdk.lib.service.service_connection import WandbApiFailedError
from wandb_workspaces.workspaces import Workspace

from bigain.errors import UserError
from bigain.runs.archive import Archive
from bigain.tracking.finished import Finished, finished_run
from bigain.tracking.questions import FLOPS, QUESTIONS, known_at
from bigain.tracking.view import summary
from bigain.tracking.wandb_views import is_offline, saved_views, send_views, write_views

RESULTS = Path(__file__).parents[2] / "results"


@pytest.fixture(scope="module")
def runs() -> list[Finished]:
    archive = Archive(RESULTS, "mini")
    return [finished_run(archive, name) for name in archive.run_ids()]


@pytest.fixture
def written(runs: list[Finished], tmp_path: Path) -> list[dict[str, Any]]:
    path = tmp_path / "views.json"
    write_views(path, saved_views([run.view for run in runs], "team", "mine"))
    found: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
    return found


def panels(view: dict[str, Any]) -> list[dict[str, Any]]:
    sections = view["spec"]["section"]["panelBankConfig"]["sections"]
    return [panel for section in sections for panel in section["panels"]]


def filters(view: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = view["spec"]["section"]["runSets"][0]["filters"]["filters"]
    assert {each.get("connector", "AND") for each in found} == {"AND"}
    return found


def keys(panel: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What a panel draws, as (config or summary, dotted key)."""
    config = panel["config"]
    for text in (config.get("xAxis"), config.get("yAxis")):
        if text:
            kind, _, key = text.partition(":")
            yield kind, key.replace(".value", "", 1)
    for key in config.get("metrics", ()):
        yield "summary", key
    if "groupBy" in config:
        yield "config", config["groupBy"].replace(".value", "", 1)


def has(run: Finished, kind: str, key: str) -> bool:
    if kind == "summary":
        return key in summary(run.metrics)
    node: Any = run.view.config
    for part in key.split("."):
        if not isinstance(node, dict) or part not in node:
            return False
        node = node[part]
    return True


def test_a_view_has_the_runs_that_can_be_compared(
    written: list[dict[str, Any]], runs: list[Finished]
) -> None:
    shown: list[str] = []
    for view in written:
        assert (view["entity"], view["project"]) == ("team", "mine")
        wanted = [(each["key"]["name"], each["value"]) for each in filters(view)]
        (_, (backbone,)), (_, (dataset,)), (_, limit) = wanted
        assert [key for key, _ in wanted] == ["tags", "tags", "dataset.value.limit"]
        assert view["displayName"] == f"BiGain {backbone} {dataset}, {limit} images"
        own = [
            run.view
            for run in runs
            if {backbone, dataset} <= {*run.view.tags}
            and run.view.config["dataset"]["limit"] == limit
        ]
        colours = view["spec"]["section"]["customRunColors"]
        assert set(colours) == {each.run_id for each in own}
        shown += colours
    assert sorted(shown) == sorted(run.view.run_id for run in runs)
    assert written[0]["displayName"] == "BiGain mini_dit fashion_mnist, 1000 images"


def test_each_operator_has_a_colour_of_its_own_in_all_views(
    written: list[dict[str, Any]], runs: list[Finished]
) -> None:
    colours: dict[str, str] = {}
    for view in written:
        colours |= view["spec"]["section"]["customRunColors"]
    used = {(colours[run.view.run_id], run.view.config["operator"]["name"]) for run in runs}
    operators = {operator for _, operator in used}
    assert len(operators) == 15
    assert len(used) == len({colour for colour, _ in used}) == len(operators)


def test_every_question_is_drawn(written: list[dict[str, Any]]) -> None:
    for view in written:
        drawn = [list(keys(panel)) for panel in panels(view) if "xAxis" in panel["config"]]
        for question in QUESTIONS:
            x = ("summary" if question.x == FLOPS else "config", question.x)
            assert all([x, ("summary", y)] in drawn for y in question.y)


def test_every_key_that_is_drawn_is_there_for_committed_runs(
    written: list[dict[str, Any]], runs: list[Finished]
) -> None:
    asked = {key for view in written for panel in panels(view) for key in keys(panel)}
    columns = written[0]["spec"]["section"]["runSets"][0]["runFeed"]["columnOrder"]
    asked |= {("summary", key.removeprefix("summary:")) for key in columns if "summary:" in key}
    assert len(asked) == 9
    missing = {each for each in asked if not any(has(run, *each) for run in runs)}
    # The paper's distance needs a network that the small committed runs have no use for.
    assert missing == {("summary", "fid")}


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.title)
def test_a_scatter_plot_has_the_points_of_the_tables(runs: list[Finished], question: Any) -> None:
    """At least two ratios or costs of one backbone, or it would answer nothing."""
    points: dict[str, set[float]] = {}
    for run in runs:
        values = summary(run.metrics)
        at = known_at(run.view.config, values, question.x)
        if at is not None and question.y[0] in values:
            points.setdefault(run.view.config["backbone"]["name"], set()).add(at)
    assert max(map(len, points.values())) >= (1 if "frechet_mini" in question.y else 3)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """The views that a server has: id -> name, title and spec; the requests are replaced."""
    views: dict[str, dict[str, Any]] = {}

    def upsert(view: Any) -> dict[str, Any]:
        spec = view.spec.model_dump_json(by_alias=True, exclude_none=True)
        name = view.id or f"id of {view.name}"
        views[name] = {"name": view.name, "displayName": view.display_name, "spec": spec}
        return {"upsertView": {"view": {"id": name, "name": view.name}}}

    def get(entity: str, project: str, name: str) -> dict[str, Any]:
        assert (entity, project) == ("team", "mine")
        for at, view in views.items():
            if view["name"].removeprefix("nw-").removesuffix("-v") == name:
                return {"id": at, **view}
        raise ValueError("not found")

    monkeypatch.setattr("wandb_workspaces.workspaces.internal.upsert_view2", upsert)
    monkeypatch.setattr("wandb_workspaces.workspaces.internal.get_view_dict", get)
    # W&B would ask its server for the address.
    address = property(lambda self: f"https://w.test/team/mine?nw={self._internal_name[3:-2]}")
    monkeypatch.setattr(Workspace, "url", address)
    return views


def test_what_is_sent_is_what_is_written_and_a_second_call_makes_no_new_view(
    written: list[dict[str, Any]],
    runs: list[Finished],
    kept: dict[str, dict[str, Any]],
    tmp_path: Path,
) -> None:
    views, path = [run.view for run in runs], tmp_path / "sent.json"
    first = send_views(saved_views(views, "team", "mine"), path)
    assert len(set(first)) == len(kept) == len(written)
    random = re.compile(r'"__id__": "[^"]*"')
    sent = json.dumps([json.loads(view["spec"]) for view in kept.values()])
    assert random.sub("", sent) == random.sub("", json.dumps([view["spec"] for view in written]))

    names = {view["displayName"] for view in kept.values()}
    for view in kept.values():
        view["displayName"] = "renamed in W&B"
    fewer = [view for view in views if view.config["operator"]["name"] != "todo"]
    assert send_views(saved_views(fewer, "team", "mine"), path) == first
    assert {view["displayName"] for view in kept.values()} == names
    assert len(kept) == len(first)
    assert sum(len(view["spec"]) for view in kept.values()) < len(sent)

    del kept[next(iter(kept))]  # deleted in W&B
    (new, *others) = send_views(saved_views(views, "team", "mine"), path)
    assert new not in first
    assert others == first[1:]


@pytest.mark.parametrize("error", [CommError, WandbApiFailedError, TimeoutError])
def test_a_server_that_refuses_is_one_line(
    runs: list[Finished],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: type[Exception],
) -> None:
    def refuse(_: Any) -> None:
        raise error("no\nrights")

    monkeypatch.setattr("wandb_workspaces.workspaces.internal.upsert_view2", refuse)
    with pytest.raises(UserError, match=r"^--views: no rights; allowed: a server"):
        send_views(saved_views([run.view for run in runs], "team", "mine"), tmp_path / "sent.json")


def test_wandb_says_whether_it_is_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`wandb offline` leaves a file of settings, and WANDB_MODE may have an older name."""
    (tmp_path / "settings").write_text("[default]\nmode = offline\n")
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    for mode, offline in ((None, True), ("dryrun", True), ("online", False)):
        monkeypatch.delenv("WANDB_MODE", raising=False)
        if mode:
            monkeypatch.setenv("WANDB_MODE", mode)
        wandb.teardown()
        assert is_offline(None) == offline
        assert is_offline("offline")
        assert not is_offline("online")
    wandb.teardown()


def test_nothing_of_a_view_names_a_place(written: list[dict[str, Any]]) -> None:
    assert not re.search(r"/home/|/root/|/tmp/", json.dumps(written))

"""The saved W&B views name only what W&B has of our runs, and are built without a server."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wandb_workspaces.workspaces import Workspace

from bigain.runs.archive import Archive
from bigain.tracking.finished import Finished, finished_run
from bigain.tracking.questions import FLOPS, QUESTIONS, known_at
from bigain.tracking.view import summary
from bigain.tracking.wandb_views import saved_views, send_views, write_views

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


def test_there_is_a_view_for_each_backbone_with_its_runs(
    written: list[dict[str, Any]], runs: list[Finished]
) -> None:
    assert [view["displayName"] for view in written] == [
        "BiGain mini_dit",
        "BiGain mini_unet",
        "BiGain sd20",
    ]
    for view in written:
        assert (view["entity"], view["project"]) == ("team", "mine")
        (backbone,) = view["spec"]["section"]["runSets"][0]["filters"]["filters"][0]["value"]
        own = [run.view for run in runs if backbone in run.view.tags]
        colours = view["spec"]["section"]["customRunColors"]
        assert set(colours) == {each.run_id for each in own}
        used = {(colours[each.run_id], each.config["operator"]["name"]) for each in own}
        assert len(used) == len({operator for _, operator in used})


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


def test_what_is_sent_is_what_is_written(
    written: list[dict[str, Any]], runs: list[Finished], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []

    def upsert(view: Any) -> dict[str, Any]:
        sent.append(json.loads(view.spec.model_dump_json(by_alias=True, exclude_none=True)))
        return {"upsertView": {"view": {"id": "1", "name": "nw-some-v"}}}

    monkeypatch.setattr("wandb_workspaces.workspaces.internal.upsert_view2", upsert)
    # W&B would ask its server for the address.
    monkeypatch.setattr(Workspace, "url", property(lambda self: f"{self.project}/{self.name}"))
    addresses = send_views(saved_views([run.view for run in runs], "team", "mine"))
    assert addresses == [f"mine/{view['displayName']}" for view in written]
    names = re.compile(r'"__id__": "[^"]*"')  # random
    assert names.sub("", json.dumps(sent)) == names.sub(
        "", json.dumps([view["spec"] for view in written])
    )


def test_nothing_of_a_view_names_a_place(written: list[dict[str, Any]]) -> None:
    assert not re.search(r"/home/|/root/|/tmp/", json.dumps(written))

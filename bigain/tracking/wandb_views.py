"""Saved views of a W&B project that answer the paper's questions.

A view is built without a server, so that it can also be written to a file.  It has only runs that
can be compared: of one backbone, on one dataset, with one number of images.  W&B draws one point
for each group of a scatter plot whose runs are grouped, so the runs stay alone, and the colour of a
run says its operator.
"""

import colorsys
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import wandb
from wandb.sdk.lib.service.service_connection import WandbApiFailedError
from wandb_workspaces.expr import And, Config, Tags
from wandb_workspaces.reports.v2 import interface as reports
from wandb_workspaces.workspaces import (
    RunsetSettings,
    RunSettings,
    Section,
    Workspace,
    WorkspaceSettings,
)

from bigain.errors import UserError
from bigain.files import replace_text
from bigain.tracking.questions import QUESTIONS, UNREDUCED, Question
from bigain.tracking.view import View

__all__ = ["is_offline", "saved_views", "send_views", "write_views"]

_SATURATION = 0.75
_LIGHTNESS = (0.35, 0.6)
"""Neighbours in hue alternate between dark and light."""
_MANY = 1000

_LIMIT = "dataset.value.limit"
"""`dataset.limit`: the library puts W&B's `value` into keys of plots and not of filters."""


def saved_views(
    views: Iterable[View], entity: str | None = None, project: str | None = None
) -> list[Workspace]:
    """A saved view for each backbone, dataset and number of images of these runs.

    Args:
        views: The runs.
        entity: A team; None: `WANDB_ENTITY`, or the user's own.
        project: None: `WANDB_PROJECT`, or bigain.

    """
    runs = list(views)
    operators = sorted({view.config["operator"]["name"] for view in runs})
    colours = dict(zip(operators, _colours(len(operators)), strict=True))
    alike: dict[tuple[str, str, int | None], list[View]] = defaultdict(list)
    for view in runs:
        names = (view.config[key]["name"] for key in ("backbone", "dataset"))
        alike[*names, view.config["dataset"].get("limit")].append(view)
    return [
        Workspace(
            entity=entity or os.environ.get("WANDB_ENTITY") or "",
            project=project or os.environ.get("WANDB_PROJECT") or "bigain",
            name=f"BiGain {backbone} {dataset}, {limit or 'all'} images",
            sections=[_section(question) for question in QUESTIONS],
            settings=WorkspaceSettings(max_runs=_MANY),
            runset_settings=RunsetSettings(
                filters=And(
                    Tags().isin([backbone]), Tags().isin([dataset]), Config(_LIMIT) == limit
                ),
                pinned_columns=[f"summary:{key}" for key in _values()],
                run_settings={
                    view.run_id: RunSettings(color=colours[view.config["operator"]["name"]])
                    for view in own
                },
            ),
        )
        for (backbone, dataset, limit), own in sorted(alike.items(), key=str)
    ]


def is_offline(mode: str | None) -> bool:
    """Whether W&B writes files only; None: as its environment variables and its settings say."""
    return (mode or wandb.setup().settings.mode) in ("offline", "dryrun")  # an older name


def write_views(path: Path, workspaces: Iterable[Workspace]) -> None:
    """Write what W&B would be sent, as JSON: a list of objects with `displayName` and `spec`."""
    text = json.dumps([_plain(each) for each in workspaces], indent=1)
    replace_text(path, text + "\n")


def send_views(workspaces: Iterable[Workspace], path: Path) -> list[str]:
    """Save the views in W&B; returns their addresses.

    The addresses are remembered, so a second call replaces these views; one that W&B does not have
    any more is made anew.

    Args:
        workspaces: The views.
        path: A JSON file: server, team, project and name -> address.

    Raises:
        UserError: The file is damaged; W&B cannot be reached, or refuses.

    """
    sent, addresses = _sent(path), []
    try:
        for each in workspaces:
            each.entity = each.entity or str(wandb.Api().default_entity)
            server = str(wandb.Settings().base_url)
            key = "|".join([server, each.entity, each.project, each.name])
            if key in sent:
                with suppress(ValueError):  # it was deleted in W&B
                    old = Workspace.from_url(sent[key])
                    each._internal_name, each._internal_id = old._internal_name, old._internal_id
            each.save()  # type: ignore[no-untyped-call]
            sent[key] = each.url
            addresses.append(each.url)
            replace_text(path, json.dumps(sent, indent=1) + "\n")
    except (wandb.Error, WandbApiFailedError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"--views: {reason}; allowed: a server that answers and takes your key (wandb login), "
            "or --mode offline"
        ) from error
    return addresses


def _colours(count: int) -> Sequence[str]:
    """So many different colours."""
    shades = (
        colorsys.hls_to_rgb(at / count, _LIGHTNESS[at % 2], _SATURATION) for at in range(count)
    )
    return ["#" + "".join(f"{round(255 * part):02x}" for part in shade) for shade in shades]


def _sent(path: Path) -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise UserError(f"{path}: is damaged; delete it, and the views are new ones") from None
    return found


def _section(question: Question) -> Section:
    is_setting = question.x in UNREDUCED
    x = reports.Config(question.x) if is_setting else reports.SummaryMetric(question.x)
    panels: list[Any] = [
        reports.ScatterPlot(title=f"{key}: {question.title}", x=x, y=reports.SummaryMetric(key))
        for key in question.y
    ]
    panels += [
        reports.BarPlot(
            title=f"{key}: mean of each operator",
            metrics=[key],
            groupby=reports.Config("operator.name"),
            max_bars_to_show=_MANY,
            max_runs_to_show=_MANY,
        )
        for key in question.y
    ]
    return Section(name=question.title, panels=panels, is_open=True)


def _values() -> list[str]:
    """The keys of the summary that the questions ask for, each once."""
    asked = [key for question in QUESTIONS for key in (*question.y, question.x)]
    return [key for key in dict.fromkeys(asked) if key not in UNREDUCED]


def _plain(workspace: Workspace) -> Any:
    # The package has no public way to see what it would send.
    return workspace._to_model().model_dump(mode="json", by_alias=True, exclude_none=True)

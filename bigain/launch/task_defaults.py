"""Settings whose default depends on the task, such as IE-KVD's alpha on a U-Net.

Runs of several tasks that leave such a setting alone are of one operator, although their
configurations differ: what `bigain joint` shows in one row.
"""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from bigain.errors import UserError
from bigain.launch.compose import compose_configs
from bigain.locations import CONFIGS
from bigain.runs.identity import resolved

__all__ = ["shared_operator"]

_TASKS = ("classification", "generation", "efficiency")


def shared_operator(config: Mapping[str, Any]) -> dict[str, Any]:
    """The operator of a run, alike for runs of all tasks that have the defaults of their task.

    Then a setting whose default depends on the task has all its defaults as one text, such as
    `0.9 | 0.8->1.2`.  Of a run with another value the operator is as it is.
    """
    own = dict(config["operator"])
    names = (config[group]["name"] for group in ("backbone", "dataset", "operator"))
    defaults = _defaults(config["profile"], *names)
    words = {
        key: told
        for key in own
        if " | " in (told := " | ".join(dict.fromkeys(_word(d[key]) for d in defaults.values())))
    }
    mine = defaults.get(config["task"]["name"], {})
    return own | words if all(own[key] == mine[key] for key in words) else own


@cache
def _defaults(
    profile: str, backbone: str, dataset: str, operator: str
) -> dict[str, dict[str, Any]]:
    """Task -> the operator as it is by default; nothing for one that is alike in all tasks."""
    file = CONFIGS / "operator" / f"{operator}.yaml"
    if not file.is_file() or "for_task" not in file.read_text(encoding="utf-8"):
        return {}  # composing is slow
    groups = [f"profile={profile}", f"backbone={backbone}"]
    groups += [f"dataset={dataset}", f"operator={operator}"]
    try:
        configs = compose_configs([[*groups, f"task={task}"] for task in _TASKS])
    except UserError:  # a backbone of another version
        return {}
    return {
        task: resolved(config)["operator"] for task, config in zip(_TASKS, configs, strict=True)
    }


def _word(value: Any) -> str:
    """A schedule as the tables write it."""
    if isinstance(value, Mapping) and set(value) == {"start", "end"}:
        return f"{value['start']:g}->{value['end']:g}"
    return json.dumps(value, separators=(",", ":"))

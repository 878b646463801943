"""What of the settings of a race counts: not the stages before the last, nor its calibration.

A race takes the grid of the last number of `task.trial_list`, and keeps what its rule keeps.
"""

from collections.abc import Mapping
from typing import Any

__all__ = ["calibrated", "is_race", "without_stages"]


def is_race(plain: Mapping[str, Any]) -> bool:
    """Whether a resolved configuration is of a race."""
    return bool(plain.get("task", {}).get("allocation") == "racing")


def calibrated(plain: Mapping[str, Any], calibration: str | None) -> dict[str, Any]:
    """The configuration with this `task.race.calibration`, or as it is if it is no race."""
    task = plain.get("task", {})
    if "race" not in task:
        return dict(plain)
    return {**plain, "task": {**task, "race": {**task["race"], "calibration": calibration}}}


def without_stages(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration, of a race without the stages that play no part in it."""
    if not is_race(plain):
        return dict(plain)
    task = {key: value for key, value in plain["task"].items() if key != "keep_list"}
    return {**plain, "task": {**task, "trial_list": task["trial_list"][-1:]}}

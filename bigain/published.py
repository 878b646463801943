"""The configuration of a published run, of which its describing columns and its name are left.

The columns do not tell all settings.  With the others at their defaults they make a few candidates,
of different numbers of images; a run's name is a hash of its configuration, so the one that has the
name is the right one, and a run with other settings has none.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, get_args

from bigain.compose import compose_config
from bigain.config import EfficiencyConfig
from bigain.errors import UserError
from bigain.runs.identity import resolved, run_id

__all__ = ["published_config"]

_GROUPS = ("profile", "backbone", "dataset", "task", "operator", "seed")
_SETTINGS = ("ratio", "factor", "alpha", "score", "scope")


def published_config(columns: Mapping[str, Any], sizes: Sequence[int]) -> dict[str, Any] | None:
    """The configuration with the run id of `columns`, None if it has settings beyond the defaults.

    Args:
        columns: `DESCRIBING_COLUMNS` of the run, None where it has no such setting.
        sizes: Numbers of images that it may have; all images of the dataset are tried too.

    """
    groups = [f"{key}={columns[key]}" for key in _GROUPS if columns[key] is not None]
    own = [f"operator.{key}={columns[key]}" for key in _SETTINGS if columns[key] is not None]
    for more in _variants(columns, sizes):
        with suppress(UserError):  # such as more images than there are
            config = compose_config([*groups, *own, more])
            if run_id(config) == columns["run_id"]:
                return resolved(config)
    return None


def _variants(columns: Mapping[str, Any], sizes: Sequence[int]) -> Iterator[str]:
    if columns["task"] == "efficiency":
        measures = get_args(EfficiencyConfig.model_fields["measure"].annotation)
        yield from (f"task.measure={measure}" for measure in measures)
    else:
        yield from (f"dataset.limit={size}" for size in (*sizes, "null") if size)

"""The configuration of a published run, of which less is left than its folder had.

A published manifest has the configuration without what names places.  Without a manifest there are
the describing columns, which do not tell all settings.  With the others at their defaults they make
a few candidates, of different numbers of images; a run's name is a hash of its configuration, so
the one that has the name is the right one, and a run with other settings has none.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, get_args

from bigain.config import EfficiencyConfig
from bigain.errors import UserError
from bigain.launch.compose import compose_config
from bigain.runs.identity import resolved, run_id

__all__ = ["published_config", "whole_config"]

_GROUPS = ("profile", "backbone", "dataset", "task", "operator", "seed")
_SETTINGS = ("ratio", "factor", "alpha", "score", "scope")


def published_config(columns: Mapping[str, Any], sizes: Sequence[int]) -> dict[str, Any] | None:
    """The configuration with the run id of `columns`, None if it has settings beyond the defaults.

    Args:
        columns: `DESCRIBING_COLUMNS` of the run, None where it has no such setting.
        sizes: Numbers of images that it may have; all images of the dataset are tried too.

    """
    groups = [f"{key}={columns[key]}" for key in _GROUPS if columns[key] is not None]
    settings = {key: columns[key] for key in _SETTINGS if columns[key] is not None}
    own = [f"operator.{key}={_typed(value)}" for key, value in settings.items()]
    for more in _variants(columns, sizes):
        with suppress(UserError):  # such as more images than there are
            config = compose_config([*groups, *own, more])
            if run_id(config) == columns["run_id"]:
                return resolved(config)
    return None


def whole_config(published: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a published manifest, with the places that it leaves out by default.

    Raises:
        UserError: It is of a version with other backbones, datasets or tasks.

    """
    groups = (f"{key}={published[key]['name']}" for key in ("backbone", "dataset", "task"))
    return _filled(published, _base(f"profile={published['profile']}", *groups))


@cache
def _base(*groups: str) -> dict[str, Any]:
    return resolved(compose_config(groups))


def _filled(own: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """`own` with what it lacks of `other`."""
    inner = {k: _filled(own[k], v) for k, v in other.items() if _is_mapping(own.get(k), v)}
    return {**other, **own, **inner}


def _is_mapping(*nodes: Any) -> bool:
    return all(isinstance(node, Mapping) for node in nodes)


def _typed(cell: Any) -> str:
    """A setting as one types it; a table writes a schedule from 0.8 to 1.2 as `0.8->1.2`."""
    start, arrow, end = str(cell).partition("->")
    return f"{{start:{start},end:{end}}}" if arrow else start


def _variants(columns: Mapping[str, Any], sizes: Sequence[int]) -> Iterator[str]:
    if columns["task"] == "efficiency":
        measures = get_args(EfficiencyConfig.model_fields["measure"].annotation)
        yield from (f"task.measure={measure}" for measure in measures)
    else:
        yield from (f"dataset.limit={size}" for size in (*sizes, "null") if size)

"""The id of a run: a hash of everything that can change its results, and of nothing else.

    run_id = first 16 hex digits of sha256(canonical JSON of the resolved configuration - EXCLUDED)

Canonical means: keys sorted, no white space, numbers by value (0.70 is 0.7, 1.0 is 1).  Two
configurations with the same run id give the same records, so a finished run is never repeated.
"""

import hashlib
import json
import math
import re
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel

from bigain.config import NEUTRAL, SETTING_COLUMNS, other_settings, setting_cell
from bigain.errors import UserError
from bigain.locations import CONFIGS
from bigain.runs.races import calibrated, without_stages

__all__ = [
    "DESCRIBING_COLUMNS",
    "EXCLUDED",
    "EXCLUDED_BY_MEASURE",
    "EXCLUDED_FROM_FAMILY",
    "EXCLUDED_WITHOUT_OPERATOR",
    "EXCLUDED_WITH_FINGERPRINT",
    "Config",
    "baseline_id",
    "canonical",
    "dataset_name",
    "depends_on_batch_size",
    "describing_columns",
    "family_id",
    "resolved",
    "run_id",
]

Config = BaseModel | Mapping[str, Any]

EXCLUDED: Mapping[str, str] = {
    "paths": "where files are does not change what is in them",
    "dataset.root": "a path; the name and hashes of the dataset say what is read from it",
    **dict.fromkeys(
        ["dataset.index", "dataset.labels", "dataset.prompts"],
        "a path; dataset.fingerprint says what is read from it",
    ),
    "cache": "a kept value is the value that would be computed",
    "backbone.mirrors": "other sources of the same files; the manifest names the one that was used",
    "device": "noise is drawn on the CPU and errors are summed in fp32, so devices differ only by "
    "rounding; the manifest names the device",
    "batch_size": "noise and random merges depend on image and timestep, never on the batch; "
    "except with operator.draws=per_forward",
    "compile": "other kernels of the same network: rounding only; except in generation, where "
    "rounding becomes pixels",
    "threads": "order of summation inside a kernel: rounding only",
    "shard": "which process computes an image, not its result; all shards write into the same run",
    "tracking": "a view of the run beside the store",
    "force": "whether to repeat the run, not what it computes",
    "on_error": "whether a sweep goes on after a failed run",
    "task.extractor_weights": "a path; the manifest has the hash of the file, and a run does not "
    "continue with another file",
}
"""Dotted key -> why it cannot change results.  All other settings are part of the run id."""

EXCLUDED_FROM_FAMILY: Mapping[str, str] = {
    **EXCLUDED,
    "dataset.limit": "the number of images, in a fixed order; records do not depend on each other",
    "task.reference": "used only to evaluate the finished images, not to generate them",
    "task.extractor": "used only to evaluate the finished images, not to generate them",
}
"""Runs that agree in all other settings have the same record for an image, and may share it."""

EXCLUDED_WITH_FINGERPRINT: Mapping[str, str] = {
    "backbone.path": "a path; the weights in it must have the given fingerprint",
}
"""Without a fingerprint only the folder says which weights were used, so it is part of the id."""

_WITHOUT_WEIGHTS: Mapping[str, str] = {
    "paths": EXCLUDED["paths"],
    "tracking": EXCLUDED["tracking"],
    "force": EXCLUDED["force"],
    "on_error": EXCLUDED["on_error"],
    "cache": EXCLUDED["cache"],
    "compile": "false: the modules are measured as they are",
    "shard": "there is one shard: one process makes all repeats",
    "dataset": "no image is read",
    **dict.fromkeys(
        [
            f"backbone.{key}"
            for key in ("revision", "repository", "mirrors", "path", "variant", "fingerprint")
        ],
        "no weights are read: FLOPs and time do not depend on their values",
    ),
}

EXCLUDED_BY_MEASURE: Mapping[str, Mapping[str, str]] = {
    "flops": {
        **_WITHOUT_WEIGHTS,
        **dict.fromkeys(
            ["device", "dtype", "batch_size", "threads", "seed", "backbone.attention"],
            "FLOPs are counted for one sample on the meta device, which has no values",
        ),
        **dict.fromkeys(
            ["task.steps", "task.repeats", "task.warmup"], "FLOPs are counted in one forward pass"
        ),
    },
    "time": _WITHOUT_WEIGHTS,
    "all": _WITHOUT_WEIGHTS,
}
"""`task.measure` -> what is excluded instead of `EXCLUDED`, in the task that has this setting.

A time depends on device, precision, batch size and threads, so they are part of its run id.
"""

EXCLUDED_WITHOUT_OPERATOR = {"backbone.sites": "operator `none` does nothing at any site"}

_OF_FLOW = ("schedule", "guidance", "image_side")
"""Settings of the backbones that predict a velocity."""

_UNNAMED = "is chosen when a run starts; allowed here: an integer from 1 to 256, the one chosen"

DESCRIBING_COLUMNS = (
    *("run_id", "profile", "backbone", "dataset", "task", "operator"),
    *(*SETTING_COLUMNS, "settings", "seed"),
)
"""The columns of metrics.csv that describe the run (contract C2)."""


def resolved(config: Config) -> dict[str, Any]:
    """The configuration as plain JSON data: dicts, lists, strings, numbers, booleans, None."""
    if isinstance(config, BaseModel):
        return config.model_dump(mode="json")
    plain: dict[str, Any] = json.loads(json.dumps(dict(config), default=str))
    return plain


def canonical(config: Config) -> str:
    """The text whose hash is the run id.

    Raises:
        UserError: A number of the configuration is infinite or not a number.

    """
    return _canonical(resolved(config), EXCLUDED)


def run_id(config: Config) -> str:
    """The run id: 16 hex digits."""
    return _digest(canonical(config))


def family_id(config: Config) -> str:
    """Id shared by runs that differ only in the number or evaluation of images: 16 hex digits."""
    return _digest(_canonical(resolved(config), EXCLUDED_FROM_FAMILY))


def baseline_id(config: Config, calibration: str | None = None) -> str:
    """Run id of the baseline: the same configuration with operator `none`.

    If it is a race, `calibration` is that of the baseline (`bigain.runs.calibrations`).
    """
    return run_id({**calibrated(resolved(config), calibration), "operator": {"name": "none"}})


def dataset_name(plain: Mapping[str, Any]) -> str:
    """The dataset of a run in tables: its name, with its fingerprint if it has one.

    Two folders of images, or two choices of a dataset's images, so have different names.
    """
    dataset = plain["dataset"]
    fingerprint = dataset.get("fingerprint")
    return str(dataset["name"]) if fingerprint is None else f"{dataset['name']}:{fingerprint}"


def depends_on_batch_size(plain: Mapping[str, Any]) -> bool:
    """Whether results depend on the batch size: in classification, with draws per forward.

    Generation does not use the batch size.
    """
    is_classification = plain.get("task", {}).get("name") == "classification"
    return bool(is_classification and plain.get("operator", {}).get("draws") == "per_forward")


def describing_columns(config: Config) -> dict[str, Any]:
    """`DESCRIBING_COLUMNS` of the run; settings that its operator does not have are None.

    The dataset is None if the run reads none.  A schedule of alpha is written as `0.8->1.2`.
    """
    plain = resolved(config)
    settings = {key: setting_cell(plain["operator"].get(key)) for key in SETTING_COLUMNS}
    named = {key: plain[key]["name"] for key in ("backbone", "dataset", "task", "operator")}
    named["dataset"] = None if "dataset" in _excluded(plain, EXCLUDED) else dataset_name(plain)
    columns = {"run_id": run_id(config), "profile": plain["profile"], "seed": plain["seed"]}
    columns |= named | settings | {"settings": _other_settings(plain)}
    return {key: columns[key] for key in DESCRIBING_COLUMNS}


def _other_settings(plain: Mapping[str, Any]) -> str | None:
    """What tells runs apart whose `SETTING_COLUMNS` agree, in one cell; None if nothing does."""
    words = other_settings(plain["operator"])
    own = ((f"backbone.{key}", plain["backbone"].get(key)) for key in _OF_FLOW)
    flow = {key: value for key, value in own if value is not None}
    task = plain.get("task", {})
    # With flow matching, whose default is the velocity, the noise is named, too.
    noise = "noise" if flow and task.get("name") == "classification" else None
    words |= {"task.score": score} if (score := task.get("score") or noise) else {}
    words |= flow
    words |= {"batch_size": plain["batch_size"]} if depends_on_batch_size(plain) else {}
    return " ".join(f"{key}={value}" for key, value in words.items()) or None


def _excluded(plain: Mapping[str, Any], usual: Collection[str]) -> Collection[str]:
    """The keys that are not part of the run id: `usual`, or those of the measure."""
    named = set()
    if depends_on_batch_size(plain):
        named.add("batch_size")
    if plain.get("task", {}).get("name") == "generation" and plain.get("compile"):
        named.add("compile")
    usual = [key for key in usual if key not in named]
    return EXCLUDED_BY_MEASURE.get(plain.get("task", {}).get("measure"), usual)


def _canonical(plain: dict[str, Any], usual: Collection[str]) -> str:
    if plain.get("task", {}).get("images_per_forward") == "auto":
        raise UserError(f"task.images_per_forward=auto: {_UNNAMED}")
    excluded = _excluded(plain, usual)
    plain = without_stages(plain)
    if plain.get("operator", {}).get("name") == "none":
        plain = {**plain, "operator": {"name": "none"}}
        excluded = [*excluded, *EXCLUDED_WITHOUT_OPERATOR]
    if plain.get("backbone", {}).get("fingerprint"):
        excluded = [*excluded, *EXCLUDED_WITH_FINGERPRINT]
    excluded = [*excluded, *_own_targets(plain)]
    kept = _without(_without_neutral(plain), excluded, "")
    return json.dumps(_by_value(kept, ""), sort_keys=True, separators=(",", ":"))


@cache
def _shipped_target(group: str, name: str) -> str | None:
    """The class that `configs/<group>/<name>.yaml` of this package names."""
    path = CONFIGS / group / f"{name}.yaml"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    found = re.search(r"^_target_: *(\S+)", text, re.MULTILINE)
    return found[1] if found else None


def _own_targets(plain: Mapping[str, Any]) -> list[str]:
    """The keys `<group>._target_` that say no more than the group's `name`.

    These are the classes of the options that ship with the package.  Any other class is part of the
    run id, also one of the package under another name.
    """
    groups = {group: node for group, node in plain.items() if isinstance(node, Mapping)}
    return [
        f"{group}._target_"
        for group, node in groups.items()
        if "_target_" in node
        and node["_target_"] == _shipped_target(group, str(node.get("name", "")))
    ]


def _without_neutral(plain: dict[str, Any]) -> dict[str, Any]:
    """`plain` without the settings that have their neutral value."""
    for dotted, value in NEUTRAL.items():
        group, _, key = dotted.partition(".")
        if plain.get(group, {}).get(key) == value:
            rest = {name: of for name, of in plain[group].items() if name != key}
            plain = {**plain, group: rest}
    return plain


def _without(node: Mapping[str, Any], excluded: Collection[str], prefix: str) -> dict[str, Any]:
    return {
        key: _without(value, excluded, f"{prefix}{key}.") if isinstance(value, dict) else value
        for key, value in node.items()
        if prefix + key not in excluded
    }


def _by_value(node: Any, key: str) -> Any:
    """Integral floats as integers, so that equal numbers have equal text."""
    if isinstance(node, dict):
        return {name: _by_value(value, f"{key}.{name}") for name, value in node.items()}
    if isinstance(node, list):
        return [_by_value(value, key) for value in node]
    if not isinstance(node, float):
        return node
    if not math.isfinite(node):
        raise UserError(f"{key.lstrip('.')}={node}: must be a finite number")
    return int(node) if node.is_integer() else node


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]

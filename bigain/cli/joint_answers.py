"""What `bigain joint` and `pareto` ask the configuration and the models: defaults, and FLOPs."""

import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bigain.config import NEUTRAL, RunConfig
from bigain.errors import UserError
from bigain.files import parse_json, replace_text
from bigain.locations import CONFIGS
from bigain.metrics import Metric
from bigain.runs.joint import JointRow

__all__ = ["Answers", "count_missing_flops", "counted_flops", "defaults_of"]

_TRIALS = ("trial_list", "keep_list")
_PACKAGE = Path(__file__).parents[1]


class Answers:
    """Answers that depend on the code and its configuration alone, in `<cache>/joint.json`.

    Composing a configuration takes a tenth of a second, and counting FLOPs takes longer.  The
    file is begun anew when the package, `configs/`, torch or diffusers changed; it can be deleted.
    """

    def __init__(self, cache: Path) -> None:
        self._path = cache / "joint.json"
        self._stamp = _stamp()
        self._before = self._read()
        self._known = dict(self._before)

    def get(self, question: Sequence[Any], answer: Callable[[], Any]) -> Any:
        """The answer to `question`, as JSON data; `answer` finds it the first time."""
        key = json.dumps(question, sort_keys=True)
        if key not in self._known:
            self._known[key] = answer()
        return self._known[key]

    def save(self) -> None:
        """Write the file if there are new answers and the folder can be written to."""
        if self._known != self._before:
            with suppress(OSError):
                replace_text(self._path, json.dumps({"of": self._stamp, "answers": self._known}))

    def _read(self) -> dict[str, Any]:
        try:
            found = parse_json(self._path.read_text("utf-8"))
            return dict(found["answers"]) if found["of"] == self._stamp else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}


def _stamp() -> str:
    """A hash of the package, its configuration and the packages that count FLOPs."""
    digest = hashlib.sha256(f"{version('torch')} {version('diffusers')}".encode())
    for path in sorted([*_PACKAGE.rglob("*.py"), *CONFIGS.rglob("*.yaml")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def defaults_of(known: Answers, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The configuration with the same choices and default settings; {} if there is none now."""
    groups = ("backbone", "dataset", "task", "operator")
    chosen = [f"profile={config['profile']}", *(f"{key}={config[key]['name']}" for key in groups)]

    from bigain.launch.compose import compose_config  # noqa: PLC0415 -- loads hydra

    def compose() -> dict[str, Any]:
        try:
            return compose_config(chosen).model_dump(mode="json")
        except UserError:  # of a version with other settings
            return {}

    answer: Mapping[str, Any] = known.get(["defaults", *chosen], compose)
    return answer


def count_missing_flops(rows: Sequence[JointRow], known: Answers, results: Path) -> None:
    """FLOPs need no run: those that no efficiency run measured are counted now.

    Args:
        rows: They get what is counted.
        known: Earlier answers.
        results: The folder of results, which has the calibrations of operators.

    """
    for row in (row for row in rows if "flops_g" not in row.metrics):
        if (metric := counted_flops(known, row.run.config, results)) is not None:
            row.metrics["flops_g"] = metric


def counted_flops(known: Answers, config: Mapping[str, Any], results: Path) -> Metric | None:
    """The FLOPs of one forward of a run; None for one of a version with other settings.

    None also if its operator's calibration is not in `results` any more; a line on stderr says so.
    """
    usual = defaults_of(known, config)
    # A published configuration lacks what names a place.
    backbone = {**usual.get("backbone", {}), **config["backbone"]}
    name, sites = config["backbone"]["name"], backbone.get("sites")
    operator = {**_added_later(usual), **config["operator"]}
    paths = {**usual.get("paths", {}), "results": str(results)}
    # A calibrated operator belongs to the trials of its run.
    trials = {key: config["task"][key] for key in _TRIALS if key in config.get("task", {})}
    task = {**usual.get("task", {}), **trials}
    own = {"backbone": backbone, "operator": operator, "paths": paths, "task": task}
    plain = {**usual, **own}
    question = ["flops_g", name, operator, sites]
    try:
        value = known.get(question, partial(_gigaflops, plain))
    except UserError as error:
        sys.stderr.write(f"FLOPs left out: {error}\n")
        return None
    return None if value is None else Metric.exact("flops_g", value, "GFLOPs")


def _added_later(usual: Mapping[str, Any]) -> dict[str, Any]:
    """What older runs of the operator do not state: its class, and settings at their old value."""
    own = usual.get("operator", {})
    neutral = {key.removeprefix("operator."): value for key, value in NEUTRAL.items()}
    known = {key: value for key, value in neutral.items() if key in own}
    return known | {key: own[key] for key in ("_target_",) if key in own}


def _gigaflops(plain: Mapping[str, Any]) -> float | None:
    from bigain.engine.build import build_flops  # noqa: PLC0415 -- loads torch

    try:
        run = RunConfig.model_validate(plain)
    except ValidationError:  # of a version with other settings
        return None
    return build_flops(run).total / 1e9

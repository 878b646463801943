"""The page of `bigain compare`: what is different between runs, and on which images.

The page needs no network and no script: style, images and drawings are inside.  It stays small for
any number of images and classes, because a bounded number of images is shown.
"""

import base64
import json
import math
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bigain.config import NEUTRAL
from bigain.config.operator import operator_title, setting_cell
from bigain.errors import UserError
from bigain.runs.compare import Comparison
from bigain.runs.manifests import public_config
from bigain.runs.pairing import FinishedRun
from bigain.tables.compare_pictures import (
    Pictures,
    class_names,
    generated_pictures,
)
from bigain.tables.disagreements import MOST, agreement, common_images, groups
from bigain.tables.document import DASH
from bigain.tables.formats import html_environment
from bigain.tables.quantities import QUANTITIES
from bigain.tables.report import written

__all__ = ["Setting", "check_number", "letters", "origins", "render_comparison", "settings"]

_MACHINE = ("device", "cpu_model", "cores", "platform", "python", "attention_backend")
_PACKAGES = ("bigain", "torch", "diffusers", "transformers", "numpy")
_LABELS_SHOWN = 4


@dataclass(frozen=True)
class Setting:
    """One thing that runs have; `values` has a text for each run."""

    key: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether two runs have another value."""
        return len(set(self.values)) > 1


@dataclass(frozen=True)
class _Verdict:
    """What one run says of an image; `right` is None where nobody knows."""

    letter: str
    prediction: str
    right: bool | None
    score: str
    picture: str


@dataclass(frozen=True)
class _Card:
    """One image: its class, itself if all runs saw the same, and what each run says."""

    image_id: int
    truth: str
    picture: str
    verdicts: tuple[_Verdict, ...]


def check_number(count: int) -> None:
    """Raise UserError if a page cannot name so many runs by a letter."""
    most = len(string.ascii_uppercase)
    if count > most:
        raise UserError(f"--html: {count} runs; allowed: at most {most} on a page")


def letters(runs: Sequence[FinishedRun]) -> list[str]:
    """What a page calls the runs: A, B, C, ..."""
    return list(string.ascii_uppercase[: len(runs)])


def settings(runs: Sequence[FinishedRun]) -> list[Setting]:
    """The resolved settings of the runs without paths, by dotted key.

    A setting that a run does not have is a dash; one that it has at the value at which it has no
    effect counts as not there, because older configurations lack it.
    """
    return _side_by_side([_flat(public_config(run.config), "") for run in runs])


def origins(runs: Sequence[FinishedRun]) -> list[Setting]:
    """Where and when the runs were made, as their manifests say."""
    return _side_by_side([_origin(run) for run in runs])


def render_comparison(
    runs: Sequence[FinishedRun],
    comparisons: Sequence[Comparison],
    drawings: Sequence[bytes],
    pictures: Pictures | None = None,
) -> str:
    """The page; the same bytes for the same runs and images.

    Args:
        runs: The runs; the last is the reference.
        comparisons: Each of the others against it.
        drawings: PNG files, one for each comparison, of the scores of the images.
        pictures: The images that were classified; None if the runs generated theirs.

    """
    names, pairs = letters(runs), [(run, runs[-1]) for run in runs[:-1]]
    return (
        html_environment()
        .get_template("compare.html.j2")
        .render(
            runs=runs,
            letters=names,
            titles=[operator_title(run.config["operator"]) for run in runs],
            n=len(common_images(runs)[0]),
            comparisons=comparisons,
            metrics=_metrics(runs),
            quantities=QUANTITIES,
            agreements=[agreement(*pair) for pair in pairs],
            groups=[(each, _cards(runs, each.image_ids, pictures)) for each in groups(runs, names)],
            missing=_missing(runs, pictures),
            most=MOST,
            drawings=[_address(each) for each in drawings],
            settings=settings(runs),
            origins=origins(runs),
            written=written,
            finite=math.isfinite,
            has_race=any("spent" in run.samples for run in runs),
        )
    )


def _missing(runs: Sequence[FinishedRun], pictures: Pictures | None) -> str:
    own = [pictures] if pictures is not None else [generated_pictures(run) for run in runs]
    return next((each.missing for each in own if each.missing), "")


def _metrics(runs: Sequence[FinishedRun]) -> dict[str, list[Any]]:
    """Metric -> its value in each run, None where it has none."""
    found = [run.archive.metrics(run.run_id) for run in runs]
    names = dict.fromkeys(name for own in found for name in own)
    return {name: [own.get(name) for own in found] for name in names}


def _cards(
    runs: Sequence[FinishedRun], image_ids: Sequence[int], pictures: Pictures | None
) -> list[_Card]:
    frames, name = common_images(runs), class_names(runs)
    own = [generated_pictures(run).of if pictures is None else lambda _: "" for run in runs]
    shared = pictures.of if pictures is not None else lambda _: ""
    cards = []
    for image_id in image_ids:
        rows = [dict(frame.loc[image_id]) for frame in frames]
        verdicts = (
            _verdict(letter, row, name, read(image_id))
            for letter, row, read in zip(letters(runs), rows, own, strict=True)
        )
        cards.append(_Card(image_id, _truth(rows[0], name), shared(image_id), tuple(verdicts)))
    return cards


def _verdict(
    letter: str, row: Mapping[str, Any], name: Callable[[Any], str], picture: str
) -> _Verdict:
    score = float(row["frechet_value"] if "frechet_value" in row else row["margin_mean"])
    prediction = name(row["prediction"]) if "prediction" in row else ""
    right = bool(row["correct"]) if "correct" in row and row["correct"] is not None else None
    shown = "" if math.isnan(score) else f"{score:+#.3g}".replace("-", "−")
    return _Verdict(letter, prediction, right, shown, picture)


def _truth(row: Mapping[str, Any], name: Callable[[Any], str]) -> str:
    if "condition" in row:
        return str(row["condition"])
    several = row.get("labels")
    if not isinstance(several, list):
        return name(row["label"]) if "label" in row else ""
    shown = ", ".join(name(label) for label in several[:_LABELS_SHOWN])
    more = f" and {len(several) - _LABELS_SHOWN} more" if len(several) > _LABELS_SHOWN else ""
    return f"{shown}{more}" or "no class"


def _side_by_side(found: Sequence[Mapping[str, str]]) -> list[Setting]:
    keys = dict.fromkeys(key for own in found for key in own)
    return [Setting(key, tuple(own.get(key, DASH) for own in found)) for key in keys]


def _flat(node: Mapping[str, Any], prefix: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in node.items():
        dotted = f"{prefix}{key}"
        if isinstance(value, dict) and set(value) != {"start", "end"}:
            found |= _flat(value, f"{dotted}.")
        elif value is not None and value != NEUTRAL.get(dotted) and key != "_target_":
            found[dotted] = value if isinstance(value, str) else _text(value)
    return found


def _text(value: Any) -> str:
    cell = setting_cell(value)
    return cell if isinstance(cell, str) else json.dumps(cell)


def _origin(run: FinishedRun) -> dict[str, str]:
    manifest, packages = run.manifest, run.manifest.get("packages") or {}
    cells = {key: manifest.get(key) for key in _MACHINE}
    cells |= {name: packages.get(name) for name in _PACKAGES}
    cells["git_commit"] = str(manifest.get("git_commit") or "")[:12]
    cells |= {key: manifest.get(key) for key in ("git_dirty", "finished", "wall_seconds")}
    return {key: str(value) for key, value in cells.items() if value not in (None, "")}


def _address(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"

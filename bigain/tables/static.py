"""The tables that need no run: datasets (9), protocol (10) and score formulas (13).

Each is read from what the runs themselves use: the images, the configuration, the code.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import numpy as np

from bigain.config import ClassificationConfig, RunConfig
from bigain.config.paper import PaperKey, PaperValues
from bigain.errors import UserError
from bigain.tables.document import DASH, Cell, Document, Line, Panel
from bigain.tables.layout import cells_of
from bigain.tables.planner import DEFAULT_PROFILE, Compose
from bigain.tables.sources import footnotes_of
from bigain.tables.spec import Footnote, Part
from bigain.tasks.protocol import StagedProtocol

__all__ = ["StaticSpec", "lay_out_static"]


class StaticDataset(Part):
    """A dataset with the backbone that sees it, its label and its number of classes."""

    name: str
    backbone: str
    profile: str
    label: str
    classes: int


class StaticSpec(Part):
    """A table without runs; `profiles` says which datasets each has."""

    number: int
    title: str
    kind: Literal["datasets", "protocol", "scores"]
    profiles: dict[str, tuple[StaticDataset, ...]]
    notes: tuple[str, ...] = ()
    footnotes: tuple[Footnote, ...] = ()


Panels = Callable[[StaticSpec, str, PaperValues, Compose], Iterator[Panel]]


def lay_out_static(
    spec: StaticSpec, profile: str, paper: PaperValues, compose: Compose
) -> Document:
    """The document; the same for the same data, configuration and code.

    `compose` adds what the user wants of all configurations.
    """
    panels = tuple(_PANELS[spec.kind](spec, profile, paper, compose))
    measured = [
        cell.text
        for panel in panels
        for line in panel.lines
        for cell in line.cells
        if line.kind == "measured"
    ]
    missing = measured.count(DASH)
    return Document(
        number=spec.number,
        title=spec.title,
        summary=f"Profile `{profile}`. {_SOURCES[spec.kind]}",
        panels=panels,
        notes=spec.notes,
        footnotes=footnotes_of(spec.footnotes, cells_of(panels)),
        command="python -m bigain doctor" if missing else "",
        commands=tuple(_missing(spec, profile)) if missing else (),
        measured=(len(measured) - missing, len(measured)),
    )


_SOURCES = {
    "datasets": "Counted from the images themselves. What is lost in the paper's text says so.",
    "protocol": "Read from the configuration that the runs use; the paper's values below.",
    "scores": "Read from the code's own docstrings; the paper's formulas are lost in its text. "
    "x_i is the vector of token i, m the mean token, X_k the discrete Fourier transform of x_i "
    "over its channels, r_i the 3x3 Laplacian of the map at token i.",
}


def _datasets(
    spec: StaticSpec, profile: str, paper: PaperValues, compose: Compose
) -> Iterator[Panel]:
    columns = ("images", "classes", "images per class", "classes per image", "height x width")
    lines = []
    for each in spec.profiles[profile]:
        counted = _counted(_config(each, compose))
        lines.append(Line("measured", f"{each.label} (`{each.name}`)", tuple(map(Cell, counted))))
    printed = [key for key in paper if key.table == spec.number]
    lost = [key for key in printed if not paper[key].text]
    for key in lost:
        cells = tuple(Cell("lost") for _ in columns)
        lines.append(Line("paper", f"paper: {_PAPER_NAMES[key.dataset]}", cells))
    caption = (
        "What a classification run of the profile reads, by default. Images per class and classes "
        "per image: smallest to largest. Height x width of the originals, in pixels."
    )
    yield Panel("Evaluation images", columns, tuple(lines), caption)


_PAPER_NAMES = {
    "pets": "Oxford-IIIT Pets",
    "imagenet100": "ImageNet-100",
    "imagenet1k": "ImageNet-1K",
    "coco2017": "COCO-2017",
}


def _counted(config: RunConfig) -> list[str]:
    from bigain.engine.build import build_dataset  # noqa: PLC0415 -- loads torch

    try:
        dataset = build_dataset(config.dataset)
    except UserError:
        return [DASH] * 5
    # One image at a time: those of the large datasets do not fit into memory together.
    samples = (dataset[position] for position in range(len(dataset)))
    seen = [(sample.labels, sample.image.shape[:2]) for sample in samples]
    labels, sizes = [each[0] for each in seen], [each[1] for each in seen]
    per_class = np.bincount(
        [label for each in labels for label in each], minlength=len(dataset.class_names)
    )
    per_image = [len(each) for each in labels]
    heights, widths = ([size[axis] for size in sizes] for axis in (0, 1))
    return [
        f"{len(seen):,}",
        str(len(dataset.class_names)),
        _range(per_class.tolist()),
        _range(per_image),
        f"{_range(heights)} x {_range(widths)}",
    ]


def _range(numbers: list[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low}" if low == high else f"{low} to {high}"


def _protocol(
    spec: StaticSpec, profile: str, paper: PaperValues, compose: Compose
) -> Iterator[Panel]:
    lines = []
    for each in spec.profiles[profile]:
        task = _config(each, compose).task_as(ClassificationConfig)
        protocol = StagedProtocol(task.trial_list, task.keep_list)
        own = (
            str(len(task.trial_list)),
            str(list(task.trial_list)),
            str(list(task.keep_list)),
            f"{protocol.evaluations(each.classes):,}",
        )
        lines.append(Line("measured", f"{each.label} (`{each.name}`)", tuple(map(Cell, own))))
        printed = _printed_protocol(paper, spec.number, each.name)
        if printed:
            lines.append(Line("paper", "· paper", (*map(Cell, printed), Cell())))
    columns = ("stages", "TrialList", "KeepList", "evaluations per image")
    caption = (
        "A stage brings every class that is left to its number of trials, over the grid of "
        "timesteps, and keeps as many classes as its entry of the keep list. Evaluations of the "
        "denoiser per image follow from both and the number of classes."
    )
    yield Panel("Trials and classes kept, by stage", columns, tuple(lines), caption)


def _printed_protocol(paper: PaperValues, number: int, dataset: str) -> list[str]:
    def value(setting: str, metric: str) -> str:
        key = PaperKey(number, "", dataset, "diffusion_classifier", setting, metric)
        return paper[key].text

    try:
        stages = int(value("", "n_stages"))
    except KeyError:
        return []
    names = [f"stage={stage}" for stage in range(1, stages + 1)]
    lists = (
        f"[{', '.join(value(name, metric) for name in names)}]"
        for metric in ("trial_list", "keep_list")
    )
    return [str(stages), *lists]


def _scores(
    spec: StaticSpec, profile: str, paper: PaperValues, compose: Compose
) -> Iterator[Panel]:
    del profile, compose
    from bigain.operators.scores import SCORES, score_formula  # noqa: PLC0415 -- loads torch

    lines = []
    for key in paper:
        if key.table == spec.number:
            score = key.setting.removeprefix("score=")
            what = str(SCORES[score].__doc__).split("\n", maxsplit=1)[0].rstrip(".")
            lines.append(Line("measured", score, (Cell(score_formula(score)), Cell(what))))
    yield Panel("Scores", ("formula", "what it is"), tuple(lines), "Low is smooth.")


_PANELS: Mapping[str, Panels] = {
    "datasets": _datasets,
    "protocol": _protocol,
    "scores": _scores,
}


def _config(each: StaticDataset, compose: Compose) -> RunConfig:
    profile = () if each.profile == DEFAULT_PROFILE else (f"profile={each.profile}",)
    return compose([(*profile, f"backbone={each.backbone}", f"dataset={each.name}")])[0]


def _missing(spec: StaticSpec, profile: str) -> Iterator[str]:
    for each in spec.profiles[profile]:
        name = "" if each.profile == DEFAULT_PROFILE else f"profile={each.profile} "
        yield f"python -m bigain doctor {name}backbone={each.backbone} dataset={each.name}"

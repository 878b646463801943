"""From a plan, what was measured and the paper's values to the document that formats print."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from bigain.config import (
    BackboneConfig,
    ClassificationConfig,
    EfficiencyConfig,
    GenerationConfig,
    MiniBackboneConfig,
    RunConfig,
)
from bigain.tables.document import MARKS, Cell, Document, Panel
from bigain.tables.panels import number_panels
from bigain.tables.planner import NONE, Plan
from bigain.tables.sources import Sources, footnotes_of
from bigain.tables.tidy import compares
from bigain.tables.verdicts import verdict_panels

__all__ = ["cells_of", "lay_out"]


def lay_out(sources: Sources) -> Document:
    """The whole table; the same document for the same input."""
    plan = sources.plan
    spec, missing = plan.spec, plan.missing()
    panels = tuple(number_panels(sources))
    general = (note.text for note in spec.footnotes if not note.cells)
    return Document(
        number=spec.number,
        title=spec.title,
        summary=_summary(sources),
        findings=tuple(verdict_panels(sources)),
        panels=panels,
        setup=tuple(_protocols(sources)),
        notes=(*spec.profile(plan.profile).notes, *general),
        footnotes=footnotes_of(spec.footnotes, cells_of(panels)),
        command=plan.command if missing else "",
        commands=tuple(run.command for run in missing),
        legend=MARKS,
        measured=_measured(sources),
    )


def cells_of(panels: Sequence[Panel]) -> list[Cell]:
    """All cells, line by line."""
    return [cell for panel in panels for line in panel.lines for cell in line.cells]


def _summary(sources: Sources) -> str:
    plan = sources.plan
    profile = plan.spec.profile(plan.profile)
    names = ", ".join(f"{each.label} (`{name}`)" for name, each in profile.datasets.items())
    backbones = ", ".join(f"`{name}`" for name in _backbones(plan))
    where = f"{profile.label} ({backbones}){f' on {names}' if names else ''}"
    grid = "" if plan.grid == "default" else f" Grid `{plan.grid}`."
    runs = len(plan.distinct())
    done = f"{runs - len(plan.missing())} of {runs} runs done"
    paper = plan.spec.paper.label
    compared = f"; the paper used {paper}" if paper else ""
    return f"Profile `{plan.profile}`, {done}: {where}{compared}.{grid}"


def _backbones(plan: Plan) -> list[str]:
    """Those that see images; the profile's own if none does."""
    profile = plan.spec.profile(plan.profile)
    seeing = (plan.place(block).backbone for block in profile.blocks if block.dataset)
    return list(dict.fromkeys(seeing)) or [profile.backbone]


def _measured(sources: Sources) -> tuple[int, int]:
    """How many values of the shown blocks are known, and how many there are with all runs."""
    plan = sources.plan
    cells = [
        (sources.key(block, row, column), block.metric)
        for block in sources.blocks
        for row in plan.rows
        for column in plan.columns_of(block)
        if row.run and not (row.method == NONE and compares(block.metric))
    ]
    planned = dict.fromkeys(each for each in cells if each[0] in plan.runs)
    return sum(sources.metric(*each) is not None for each in planned), len(planned)


def _protocols(sources: Sources) -> Iterator[str]:
    """A line for each protocol, with the datasets that share it."""
    shared: dict[tuple[str, str], dict[str, None]] = {}
    for cell, run in sources.plan.runs.items():
        work = cell.place.work
        text = ", ".join(_PROTOCOLS[work](run.config))
        shared.setdefault((work, text), {})[cell.place.dataset] = None
    for (work, text), names in shared.items():
        of = ", ".join(f"`{name}`" for name in names if name)
        yield f"{_WORDS[work]}{f' ({of})' if of and len(shared) > 1 else ''}: {text}."


_WORDS = {
    "classification": "Classification",
    "generation": "Generation",
    "flops": "FLOPs",
    "time": "Times",
}


def _classification(config: RunConfig) -> list[str]:
    limit = config.dataset.limit
    images = "all test images" if limit is None else f"the first {limit} test images"
    task = config.task_as(ClassificationConfig)
    return [
        _weights(config.backbone),
        images,
        f"trial list {list(task.trial_list)}",
        f"keep list {list(task.keep_list)}",
        f"loss {task.loss}",
        config.dtype,
        f"seed {config.seed}",
    ]


def _generation(config: RunConfig) -> list[str]:
    task = config.task_as(GenerationConfig)
    return [
        _weights(config.backbone),
        f"{config.dataset.num_images} samples",
        f"sampler {task.sampler}",
        f"{task.steps} steps",
        f"guidance {task.guidance_scale:g}",
        _reference(task.reference),
        f"extractor `{task.extractor}`",
        config.dtype,
        f"seed {config.seed}",
    ]


def _reference(reference: str) -> str:
    """What distances are measured to, without a folder of somebody's machine."""
    if reference.endswith(".npz"):
        return "reference statistics of a file, `task.reference`"
    return f"reference `{reference}`"


def _flops(config: RunConfig) -> list[str]:
    return [f"`{config.backbone.name}`, one forward of one sample, counted without weights"]


def _time(config: RunConfig) -> list[str]:
    task = config.task_as(EfficiencyConfig)
    return [
        f"`{config.backbone.name}` with random weights",
        f"batch {config.batch_size}",
        f"{task.repeats} repeats of {task.steps} steps",
        f"device `{config.device}`",
        f"{config.threads or 'default'} threads",
        f"attention `{getattr(config.backbone, 'attention', 'sdpa')}`",
        config.dtype,
    ]


_PROTOCOLS: Mapping[str, Callable[[RunConfig], list[str]]] = {
    "classification": _classification,
    "generation": _generation,
    "flops": _flops,
    "time": _time,
}


def _weights(backbone: BackboneConfig) -> str:
    """Which weights, without a folder of somebody's machine."""
    if isinstance(backbone, MiniBackboneConfig):
        return f"weights `{backbone.revision}`"
    if backbone.fingerprint is not None:
        return f"weights `{backbone.fingerprint}`"
    if backbone.path is not None:
        return "weights of `backbone.path`"
    return f"weights `{backbone.repository}` at `{backbone.revision}`"

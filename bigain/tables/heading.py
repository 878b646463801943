"""The first paragraphs of a table: what was measured where, by which protocol, how far it is."""

from collections.abc import Callable, Mapping

from bigain.config import (
    BackboneConfig,
    ClassificationConfig,
    EfficiencyConfig,
    GenerationConfig,
    MiniBackboneConfig,
    RunConfig,
)
from bigain.tables.document import DASH
from bigain.tables.quantities import QUANTITIES
from bigain.tables.sources import Sources

__all__ = ["introduction"]


def introduction(sources: Sources) -> tuple[str, ...]:
    """The paragraphs."""
    plan = sources.plan
    paragraphs = [_measured_on(sources), *_protocols(sources)]
    if plan.profile != "paper":
        paragraphs.append(_of_paper(sources))
    done = len(plan.distinct()) - len(plan.missing())
    paragraphs.append(
        f"Runs: {done} of {len(plan.distinct())} done. {DASH} stands where no finished run exists."
    )
    return tuple(paragraphs)


def _of_paper(sources: Sources) -> str:
    """How far the paper's numbers can be compared with those beside them."""
    paper, profile = sources.plan.spec.paper, sources.plan.spec.profile(sources.plan.profile)
    same = dict.fromkeys(
        QUANTITIES[block.metric].title
        for block in profile.blocks
        if block.beside is not None and block.backbone == paper.backbone
    )
    other = "another backbone and other datasets" if profile.datasets else "another backbone"
    but = f"; only {' and '.join(same)} are counted on the paper's own model" if same else ""
    return (
        f"Lines marked paper hold what the paper prints for {paper.label}: **{other}**. "
        f"Compare the shape of a line, not its numbers{but}."
    )


def _measured_on(sources: Sources) -> str:
    plan = sources.plan
    profile = plan.spec.profile(plan.profile)
    names = ", ".join(f"{each.label} (`{name}`)" for name, each in profile.datasets.items())
    where = f" on {names}" if names else ""
    return (
        f"Profile `{plan.profile}`: {profile.label} (`{profile.backbone}`){where}. "
        f"Grid `{plan.grid}`."
    )


def _protocols(sources: Sources) -> list[str]:
    """One paragraph per protocol, with the places that share it."""
    shared: dict[tuple[str, str], dict[str, None]] = {}
    for cell, run in sources.plan.runs.items():
        work = cell.place.work
        text = ", ".join(_PROTOCOLS[work](run.config))
        shared.setdefault((work, text), {})[cell.place.dataset] = None
    return [
        f"{_WORDS[work]}{_of([name for name in names if name], several=len(shared) > 1)}: {text}."
        for (work, text), names in shared.items()
    ]


_WORDS = {
    "classification": "Classification",
    "generation": "Generation",
    "flops": "FLOPs",
    "time": "Times",
}


def _of(names: list[str], *, several: bool) -> str:
    return f" ({', '.join(f'`{name}`' for name in names)})" if several and names else ""


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
        f"{config.threads or 'torch default'} threads",
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

"""A table as Markdown: a pure function of the plan, the measured cells and the paper's values."""

from collections.abc import Iterator, Sequence

from bigain.config import BackboneConfig, ClassificationConfig, MiniBackboneConfig, RunConfig
from bigain.tables.footnotes import texts_of
from bigain.tables.layout import (
    DASH,
    Line,
    Sources,
    block_lines,
    common_n,
    is_empty,
    paper_lines,
)
from bigain.tables.quantities import QUANTITIES

__all__ = ["render_markdown"]


def render_markdown(sources: Sources) -> str:
    """The whole page; the same bytes for the same input."""
    blocks = [*_measured_blocks(sources), *_paper_blocks(sources)]
    parts = [_heading(sources), *(text for text, _ in blocks)]
    printed = [cell for _, lines in blocks for line in lines for cell in line.cells]
    parts += [_notes(sources, printed), _gaps(sources)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _heading(sources: Sources) -> str:
    plan, paper = sources.plan, sources.plan.spec.paper
    lines = [f"# Table {plan.spec.number}. {plan.spec.title}", ""]
    lines.append(f"{_measured_on(sources)} Grid `{plan.grid}`.")
    if plan.profile != "paper":
        lines.append(
            f"Lines marked *paper* hold what the paper prints for {paper.label}: **another "
            "backbone and other datasets**. Compare the shape of a line, not its numbers."
        )
    done = len(plan.distinct()) - len(plan.missing())
    if plan.runs:
        lines.append(f"Runs: {done} of {len(plan.distinct())} done.")
    lines.append(f"{DASH} stands where no finished run exists.")
    return "\n".join(lines)


def _measured_on(sources: Sources) -> str:
    plan = sources.plan
    profile = plan.spec.profile(plan.profile)
    names = ", ".join(f"{each.label} (`{name}`)" for name, each in profile.datasets.items())
    text = f"Profile `{plan.profile}`: {profile.label} (`{profile.backbone}`) on {names}"
    protocols = {run.config.dataset.name: _protocol(run.config) for run in plan.distinct()}
    if len(set(protocols.values())) <= 1:
        return "; ".join((text, *set(protocols.values()))) + "."
    each = [f"- {profile.datasets[name].label} (`{name}`): {protocols[name]}" for name in protocols]
    return "\n".join((f"{text}.", "", *each, ""))


def _protocol(config: RunConfig) -> str:
    limit = config.dataset.limit
    images = "all test images" if limit is None else f"the first {limit} test images"
    task = config.task_as(ClassificationConfig)
    parts = [
        _weights(config.backbone),
        images,
        f"trial list {list(task.trial_list)}",
        f"keep list {list(task.keep_list)}",
        f"loss {task.loss}",
        f"{config.dtype}",
        f"seed {config.seed}",
    ]
    return ", ".join(parts)


def _weights(backbone: BackboneConfig) -> str:
    """Which weights, without a folder of somebody's machine."""
    if isinstance(backbone, MiniBackboneConfig):
        return f"weights `{backbone.revision}`"
    if backbone.fingerprint is not None:
        return f"weights `{backbone.fingerprint}`"
    if backbone.path is not None:
        return "weights of `backbone.path`"
    return f"weights `{backbone.repository}` at `{backbone.revision}`"


def _measured_blocks(sources: Sources) -> Iterator[tuple[str, list[Line]]]:
    profile = sources.plan.spec.profile(sources.plan.profile)
    for block in profile.blocks:
        if block.optional and is_empty(sources, block):
            continue
        quantity = QUANTITIES[block.metric]
        lines = list(block_lines(sources, block))
        title = f"## {quantity.title}: {profile.label}, {profile.datasets[block.dataset].label}"
        caption = f"{quantity.caption} Better: {quantity.better}."
        n = common_n(sources, block)
        count = [f"n = {n} images behind every measured number."] if n is not None else []
        yield "\n\n".join((title, caption, _table(sources, lines), *count)), lines


def _paper_blocks(sources: Sources) -> Iterator[tuple[str, list[Line]]]:
    paper = sources.plan.spec.paper
    shown = {block.beside for block in sources.plan.spec.profile(sources.plan.profile).blocks}
    for block in paper.blocks:
        if (block.dataset, block.metric) not in shown:
            lines = list(paper_lines(sources, block))
            title = f"## Only in the paper: {paper.label}, {block.label}"
            yield f"{title}\n\n{_table(sources, lines)}", lines


def _table(sources: Sources, lines: Sequence[Line]) -> str:
    axis = sources.plan.spec.axis
    columns = [setting.replace(f"{axis}=", f"{axis} ") for setting in sources.plan.settings]
    rows = [["", "no acceleration", *columns], *map(_styled, lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    texts = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join((texts[0], rule, *texts[1:]))


def _styled(line: Line) -> list[str]:
    label = f"**{line.label}**" if line.kind == "measured" else line.label
    return [label, *line.cells]


def _notes(sources: Sources, printed: Sequence[str]) -> str:
    spec = sources.plan.spec
    notes = [*spec.profile(sources.plan.profile).notes]
    notes += [note.text for note in spec.footnotes if not note.cells]
    lines = [f"- {note}" for note in notes]
    lines += [f"- {mark} {text}" for mark, text in texts_of(spec.footnotes, printed)]
    return "\n".join(("## Notes", "", *lines)) if lines else ""


def _gaps(sources: Sources) -> str:
    plan = sources.plan
    commands = [run.command for run in plan.missing()]
    if not commands:
        return ""
    intro = f"`{plan.command}` does all of these, or one by one:"
    return "\n".join(("## What is missing", "", intro, "", "```", *commands, "```"))

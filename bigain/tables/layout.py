"""From a plan, what was measured and the paper's values to the document that formats print."""

from collections.abc import Iterator

from bigain.tables.document import Document, Panel
from bigain.tables.footnotes import texts_of
from bigain.tables.heading import introduction
from bigain.tables.panels import beside_panel, is_empty, paper_panel, stacked_panel
from bigain.tables.sources import Sources
from bigain.tables.verdicts import verdict_panels

__all__ = ["lay_out"]


def lay_out(sources: Sources) -> Document:
    """The whole table; the same document for the same input."""
    plan = sources.plan
    panels = tuple(_panels(sources))
    cells = [cell for panel in panels for line in panel.lines for cell in line.cells]
    group = "row" if plan.spec.compares_columns else "column"
    missing = plan.missing()
    own = plan.spec.profile(plan.profile).notes
    general = tuple(note.text for note in plan.spec.footnotes if not note.cells)
    return Document(
        number=plan.spec.number,
        title=plan.spec.title,
        intro=introduction(sources),
        panels=panels,
        notes=(*own, *general),
        footnotes=texts_of(plan.spec.footnotes, cells),
        ranked_in=group if any(cell.rank for cell in cells) else "",
        command=plan.command if missing else "",
        commands=tuple(run.command for run in missing),
    )


def _panels(sources: Sources) -> Iterator[Panel]:
    spec = sources.plan.spec
    blocks = spec.profile(sources.plan.profile).blocks
    if spec.layout == "beside":
        yield beside_panel(sources, blocks)
    else:
        shown = (b for b in blocks if not (b.optional and is_empty(sources, b)))
        yield from (stacked_panel(sources, block) for block in shown)
    yield from verdict_panels(sources)
    beside = {block.beside for block in blocks}
    for block in spec.paper.blocks:
        if (block.dataset, block.metric) not in beside:
            panel = paper_panel(sources, block)
            if panel.lines:
                yield panel

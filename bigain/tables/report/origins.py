"""Where the runs were made: software and machines, from their manifests, not from the reader's."""

from collections import Counter
from collections.abc import Sequence
from html import escape

from bigain.runs.manifests import Manifest
from bigain.tables.report.listed import ListedRun

__all__ = ["origins_html", "where"]

_HEADS = (
    *("runs", "device", "processor", "cores", "platform"),
    *("Python", "torch", "diffusers", "numpy", "code"),
)


def where(origin: Manifest) -> str:
    """Device and processor of a run; a sentence if nobody knows."""
    if not origin.get("device"):
        return "not known"
    processor = origin.get("cpu_model")
    return f"{origin['device']} ({processor})" if processor else str(origin["device"])


def origins_html(runs: Sequence[ListedRun]) -> str:
    """A table with a line for each combination of machine, software and code, and its runs."""
    if not runs:
        return "<p>There is no finished run.</p>"
    known = [run.origin for run in runs if run.origin and not run.origin.get("rebuilt")]
    counts = Counter(map(_line, known))
    lines = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    without = len(runs) - len(known)
    parts = [_table([(str(count), *line) for line, count in lines])] if lines else []
    if without:
        parts.append(f"<p>The origin of {without} of {len(runs)} runs is not known.</p>")
    return "\n".join(parts)


def _line(origin: Manifest) -> tuple[str, ...]:
    packages = origin.get("packages") or {}
    cells = [origin.get(key) for key in ("device", "cpu_model", "cores", "platform", "python")]
    cells += [packages.get(name) for name in ("torch", "diffusers", "numpy")]
    return (*("" if cell is None else str(cell) for cell in cells), _code(origin))


def _code(origin: Manifest) -> str:
    """Version and commit, and whether there were changes that no commit has."""
    version = (origin.get("packages") or {}).get("bigain")
    commit, dirty = origin.get("git_commit"), origin.get("git_dirty")
    named = [f"bigain {version}"] if version else []
    named += [str(commit)[:12]] if commit else []
    named += ["with changes"] if dirty else []
    return " ".join(named)


def _table(rows: Sequence[Sequence[str]]) -> str:
    heads = "".join(f'<th scope="col">{head}</th>' for head in _HEADS)
    body = "\n".join(
        f'<tr><th scope="row">{row[0]}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return (
        '<div class="scroll" role="region" aria-label="Environment" tabindex="0">\n<table>\n'
        "<caption><span>What the manifests of the runs say.</span></caption>\n"
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>"
    )

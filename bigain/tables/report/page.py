"""The whole page, with its style and script inside."""

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from bigain.locations import ASSETS
from bigain.tables.html import STYLE, table_fragment
from bigain.tables.report.coverage import coverage_html
from bigain.tables.report.listed import ListedRun, read_runs
from bigain.tables.report.origins import origins_html
from bigain.tables.report.pictures import figures_html
from bigain.tables.report.run_list import run_list
from bigain.tables.report.sources import ReportTable

__all__ = ["render_report", "report_path"]

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
{body}
</main>
<script>
{script}</script>
</body>
</html>
"""

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""Nothing is fetched, whatever the page may hold."""

_STYLE = """\
nav { background: var(--shade); padding: .6rem 1rem; border-radius: .3rem; }
nav a { margin-right: 1rem; white-space: nowrap; }
section { margin-top: 2.5rem; }
figure { margin: 1.5rem 0; }
figure img { max-width: 100%; height: auto; background: #fff; }
table.coverage th:nth-child(n+4), table.coverage td:nth-child(n+4) { text-align: left;
  white-space: normal; min-width: 14rem; }
#run-filter { display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: center; }
#run-filter[hidden] { display: none; }
#run-filter input, #run-filter select, #run-filter button { font: inherit; padding: .15rem .4rem; }
#run-list th, #run-list td { border-top: 1px solid var(--rule); }
#run-list tr > :nth-child(-n+5) { text-align: left; }
#run-list thead th { vertical-align: bottom; }
#run-list thead small { display: block; font-weight: normal; color: var(--soft); }
#run-list td small { color: var(--soft); }
#run-list th button { font: inherit; color: inherit; background: none; border: 0; padding: 0;
  cursor: pointer; text-decoration: underline dotted; }
#run-list th[aria-sort=ascending] button::after { content: " \\2191"; }
#run-list th[aria-sort=descending] button::after { content: " \\2193"; }
"""


def report_path(results: Path, profile: str) -> Path:
    """Where the page of a profile lies."""
    return results / profile / "report.html"


def render_report(results: Path, profile: str, tables: Sequence[ReportTable]) -> str:
    """The page; the same bytes for the same files and tables.

    Raises:
        UserError: runs.csv or a manifest is damaged.

    """
    runs = read_runs(results, profile)
    title = f"BiGain: report of profile {escape(profile)}"
    sections = list(_sections(results, profile, tables, runs))
    links = "".join(f'<a href="#{name}">{escape(head)}</a>\n' for name, head, _ in sections)
    parts = [f"<h1>{title}</h1>", f'<nav aria-label="Contents">\n{links}</nav>']
    parts += [text for _, _, text in sections]
    style, script = STYLE + _STYLE, (ASSETS / "report.js").read_text(encoding="utf-8")
    body = "\n".join(parts)
    return _PAGE.format(policy=_POLICY, title=title, style=style, body=body, script=script)


def _sections(
    results: Path, profile: str, tables: Sequence[ReportTable], runs: Sequence[ListedRun]
) -> Iterator[tuple[str, str, str]]:
    """Id, name and text of each section."""
    yield _section("coverage", "Coverage", coverage_html(tables, runs, results, profile))
    for table in tables:
        number = table.document.number
        yield f"table{number}", f"Table {number}", table_fragment(table.document)
    yield _section("figures", "Figures", figures_html(results / profile / "figures"))
    none = "<p>No finished run has been collected: <code>bigain collect</code>.</p>"
    listed = run_list(runs, report_path(results, profile)) if runs else none
    yield _section("runs", "Runs", listed)
    yield _section("environment", "Environment", origins_html(runs))


def _section(name: str, head: str, text: str) -> tuple[str, str, str]:
    opened = f'<section id="{name}" aria-labelledby="{name}-title">'
    return name, head, f'{opened}\n<h2 id="{name}-title">{head}</h2>\n{text}\n</section>'

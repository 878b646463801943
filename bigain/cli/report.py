"""`bigain report`: tables, figures, runs and where they ran, as one page that needs no network."""

import sys
from collections.abc import Sequence
from functools import partial

from bigain.cli.arguments import VerbParser, results_folder
from bigain.files import replace_text
from bigain.launch.compose import compose_configs
from bigain.runs.files import check_results, need_results
from bigain.tables.report import Tables, planned_tables, render_report, report_path
from bigain.tables.spec import choose

__all__ = ["main"]

_DESCRIPTION = (
    "Write <results>/<profile>/report.html: every table, the figures, all collected runs, where "
    "they ran, and what did not run. It starts no run."
)
_PROFILES = ("mini", "paper")
_PLANNED: Tables = partial(planned_tables, compose_configs)


def main(arguments: Sequence[str], tables: Tables = _PLANNED) -> int:
    """Write the page and print its path."""
    parser = VerbParser("report", _DESCRIPTION)
    parser.add_argument("--profile", default="mini", help="mini (default) or paper")
    options = parser.parse_args(arguments)
    profile = choose("profile", options.profile, _PROFILES)
    results = results_folder(options.results)
    need_results(results)
    check_results(results)
    path = report_path(results, profile)
    replace_text(path, render_report(results, profile, tables(profile, options.results)))
    sys.stdout.write(f"{path}\n")
    return 0

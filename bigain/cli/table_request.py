"""`python -m bigain table N ...`: plan the runs of tables, make the missing ones, render.

Writes `<results>/<profile>/tables/tableNN.md` and `.csv`, on demand `.tex` and `.html`, and the
README.md that says how to read them.  Beside them it keeps the records and metrics that the tables
were computed from, so committed files are enough to render them again.
"""

# The text above is what `bigain table --help` begins with; `bigain.cli.table` does what it says.

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from bigain.cli.arguments import VerbParser
from bigain.errors import UserError
from bigain.tables.dry_run import PRINTERS
from bigain.tables.render import FORMATS, table_numbers
from bigain.tables.spec import choose

__all__ = ["Request", "parse_request", "request_parser"]

_FLAGS = (
    *("--profile", "--grid", "--limit", "--no-run", "--dry-run", "--format"),
    *("--gflops-per-second", "--help"),
)
_ALL = "all"
_HYDRA = ("hydra/", "hydra.")


@dataclass(frozen=True)
class Request:
    """What the words after `table` ask for.

    Attributes:
        numbers: The tables.
        profile: `mini` or `paper`.
        grid: `default` or `full`.
        extra: Settings for all runs.
        hydra: Hydra's own settings, such as the launcher.
        run: Whether missing runs are made.
        dry: Whether only the plan is printed.
        formats: What is written beside Markdown and CSV, or the format of the plan.
        gflops_per_second: Throughput for the estimate; None: that of the finished runs here.

    """

    numbers: tuple[int, ...]
    profile: str
    grid: str
    extra: tuple[str, ...]
    hydra: tuple[str, ...]
    run: bool
    dry: bool
    formats: tuple[str, ...]
    gflops_per_second: float | None


def parse_request(argv: Sequence[str]) -> Request:
    """The request in the words after `table`; raises UserError."""
    for word in argv:
        if word.startswith("--"):
            choose("option", word.partition("=")[0], _FLAGS)
    found = request_parser().parse_intermixed_args(list(argv))
    numbers = [word for word in found.words if "=" not in word]
    if not numbers:
        allowed = ", ".join(map(str, table_numbers()))
        raise UserError(f"table: missing table number; allowed: {allowed}, or {_ALL}")
    settings = [word for word in found.words if "=" in word]
    hydra = tuple(word for word in settings if word.lstrip("+~").startswith(_HYDRA))
    limit = (f"dataset.limit={found.limit}",) if found.limit is not None else ()
    return Request(
        numbers=tuple(dict.fromkeys(n for word in numbers for n in _numbers(word))),
        profile=found.profile,
        grid=found.grid,
        extra=(*limit, *(word for word in settings if word not in hydra)),
        hydra=hydra,
        run=not found.no_run,
        dry=found.dry_run,
        formats=_formats(found),
        gflops_per_second=found.gflops_per_second,
    )


def _formats(found: argparse.Namespace) -> tuple[str, ...]:
    """One format of a plan, or those of a table beside Markdown and CSV."""
    names = tuple(found.format.split(",")) if found.format else ()
    allowed, mode = (PRINTERS, "with") if found.dry_run else (FORMATS, "without")
    if (len(names) > 1 and found.dry_run) or not set(names) <= set(allowed):
        raise UserError(f"--format={found.format}: allowed {mode} --dry-run: {', '.join(allowed)}")
    return names


def _numbers(text: str) -> list[int]:
    if text == _ALL:
        return table_numbers()
    name = text.removeprefix("table")
    known = [*map(str, table_numbers()), _ALL]
    return [int(choose("table", name.lstrip("0") if name.isdecimal() else name, known))]


def request_parser() -> argparse.ArgumentParser:
    """The parser of these words."""
    parser = VerbParser("table", str(__doc__), results=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    allowed = ", ".join(map(str, table_numbers()))
    parser.add_argument(
        "words",
        nargs="*",
        metavar="N | key=value",
        help=f"{allowed}, or {_ALL}; key=value is for all runs, such as seed=1; "
        "hydra/launcher=NAME launches them as a sweep does",
    )
    parser.add_argument("--profile", default="mini", help="mini (default) or paper")
    parser.add_argument("--grid", default="default", help="default, or full: the paper's columns")
    parser.add_argument("--limit", help="images per run, the same as dataset.limit=N")
    parser.add_argument("--no-run", action="store_true", help="render the finished runs")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and its cost")
    parser.add_argument(
        "--format",
        help="tex, html or both (tex,html): write these too; with --dry-run: text (default), csv "
        "or json",
    )
    parser.add_argument(
        "--gflops-per-second",
        type=float,
        help="throughput of the machine to plan for (default: that of the finished runs here)",
    )
    return parser

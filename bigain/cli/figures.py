"""`bigain figures [N ...]`: Figures 2-6 of the paper as SVG, PDF and PNG.

Figures 2-4 show finished runs and start none; Figures 5 and 6 run a model on one image, which takes
seconds.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module

from bigain.cli.arguments import VerbParser, path_argument
from bigain.config.messages import did_you_mean
from bigain.errors import UserError
from bigain.figures.request import (
    PROFILES,
    Compose,
    FigureRequest,
    TableRun,
    check_overrides,
)
from bigain.runs.files import check_results, need_results

__all__ = ["FIGURES", "main", "table_runs"]

FIGURES = {
    "2": ("bigain.figures.sparsity", "produce"),
    "3": ("bigain.figures.qualitative", "produce_merging"),
    "4": ("bigain.figures.qualitative", "produce_downsampling"),
    "5": ("bigain.figures.one_image", "produce_importance"),
    "6": ("bigain.figures.one_image", "produce_masks"),
}
"""Number -> module and function that draws the figure and yields lines to print."""

_DESCRIPTION = (
    "Draw figures of the paper: 2 accuracy and Frechet distance against sparsity; 3, 4 generated "
    "images under merging and downsampling; 5 token importance; 6 merge masks. Starts no run."
)


def main(arguments: Sequence[str]) -> int:
    """Draw the requested figures, by default all; print the files written.

    Raises:
        UserError: No such figure, profile or backbone, or weights or data are missing.

    """
    options = _parser().parse_intermixed_args(list(arguments))
    words = [word for word in options.words if "=" not in word]
    numbers = [_number(word) for word in words] or list(FIGURES)
    request = _request(options)
    for number in numbers:
        for line in _producer(number)(request):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
    return 0


def _parser() -> VerbParser:
    parser = VerbParser("figures", _DESCRIPTION)
    parser.add_argument(
        "words",
        nargs="*",
        metavar="N | key=value",
        help=f"any of {', '.join(FIGURES)} (default: all); settings for all their runs",
    )
    parser.add_argument(
        "--profile", choices=PROFILES, default=PROFILES[0], help="mini (default) or paper"
    )
    parser.add_argument("--backbone", metavar="NAME", help="only this backbone of the profile")
    parser.add_argument(
        "--output", type=path_argument, metavar="DIR", help="default: <results>/<profile>/figures"
    )
    return parser


def _number(word: str) -> str:
    if word not in FIGURES:
        allowed = ", ".join(FIGURES)
        raise UserError(f"figure {word}: allowed: {allowed}{did_you_mean(word, FIGURES)}")
    return word


def _request(options: argparse.Namespace) -> FigureRequest:
    from bigain.launch.compose import compose_configs  # noqa: PLC0415 -- loads hydra

    extra = tuple(word for word in options.words if "=" in word)
    check_overrides(extra)
    places = [word for word in extra if word.startswith("paths.")]
    results = options.results or compose_configs([places])[0].paths.results
    if options.results or any(word.startswith("paths.results=") for word in places):
        need_results(results)  # do not create a misspelt folder
    check_results(results)
    folder = options.output or results / options.profile / "figures"
    return FigureRequest(
        *(options.profile, options.backbone, extra, results, folder, compose_configs, table_runs)
    )


def table_runs(
    number: int, profile: str, grid: str, extra: Sequence[str], compose: Compose
) -> list[TableRun]:
    """The runs that a table plans; rows with further settings of their own are left out."""
    from bigain.tables.planner import BASELINE, plan_table  # noqa: PLC0415
    from bigain.tables.render import load_spec  # noqa: PLC0415 -- only Figure 2 needs it

    plan = plan_table(load_spec(number), profile, grid, extra, compose)
    rows = {row.id: row for row in (BASELINE, *plan.rows) if not row.set}
    return [
        TableRun(
            (cell.place.backbone, cell.place.dataset, cell.place.work),
            *(rows[cell.row].method, cell.column, run.config, run.run_id),
        )
        for cell, run in plan.runs.items()
        if cell.row in rows
    ]


def _producer(number: str) -> Callable[[FigureRequest], Iterator[str]]:
    module, name = FIGURES[number]
    produce: Callable[[FigureRequest], Iterator[str]] = getattr(import_module(module), name)
    return produce

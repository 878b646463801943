"""`bigain compare RUN [RUN ...] REFERENCE`: paired differences of finished runs."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bigain.cli.arguments import (
    VerbParser,
    check_output,
    find_runs,
    path_argument,
    results_folder,
)
from bigain.errors import UserError
from bigain.files import replace_text
from bigain.runs.compare import Comparison, as_plain, compare_all, describe, read_runs
from bigain.runs.files import need_results
from bigain.runs.pairing import FinishedRun
from bigain.tables.compare_page import check_number, letters, render_comparison
from bigain.tables.compare_pictures import dataset_pictures

__all__ = ["main"]

_DESCRIPTION = (
    "Compare finished runs with the last one that is named, on the images of both. With several "
    "runs, p values are also given with Holm's correction for their number."
)
_FORMATS = {
    "text": lambda found: f"{describe(found)}\n",
    "json": lambda found: json.dumps(as_plain(found), indent=2) + "\n",
}


def main(arguments: Sequence[str]) -> int:
    """Print each run against the last, image by image over the images of both."""
    parser = VerbParser("compare", _DESCRIPTION)
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="id of a run, or its beginning (see bigain status, runs.csv)",
    )
    parser.add_argument(
        "reference", metavar="REFERENCE", help="the last one: the run that all are compared with"
    )
    parser.add_argument(
        "--html",
        type=path_argument,
        metavar="FILE",
        help="also write a page: settings, differences, images on which the runs disagree, scores",
    )
    parser.add_argument("--format", choices=[*_FORMATS], default="text", help="default: text")
    options = parser.parse_intermixed_args(list(arguments))
    if options.html is not None:
        check_output("--html", options.html)
        check_number(len(options.runs) + 1)
    results = results_folder(options.results)
    need_results(results)
    names = find_runs(results, [*options.runs, options.reference])
    runs = read_runs(results, names)
    comparisons = compare_all(runs)
    sys.stdout.write(_FORMATS[options.format](comparisons))
    if options.html is not None:
        _write_page(options.html, runs, comparisons)
    return 0


def _write_page(path: Path, runs: Sequence[FinishedRun], comparisons: Sequence[Comparison]) -> None:
    from bigain.figures.paired_scores import draw_scores, png_of  # noqa: PLC0415 -- dear to import

    *names, reference = letters(runs)
    drawings = [
        png_of(draw_scores(run, runs[-1], (name, reference)))
        for run, name in zip(runs[:-1], names, strict=True)
    ]
    pictures = None if runs[0].is_generation else dataset_pictures(runs)
    page = render_comparison(runs, comparisons, drawings, pictures)
    try:
        replace_text(path, page)
    except OSError as error:
        raise UserError(f"--html={path}: cannot be written ({error.strerror})") from error
    if pictures is not None and pictures.missing:
        sys.stderr.write(f"{pictures.missing} ({pictures.why})\n")
    sys.stderr.write(f"{path}\n")

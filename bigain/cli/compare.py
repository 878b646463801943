"""`bigain compare RUN [RUN ...] REFERENCE`: paired differences of finished runs."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bigain.cli.arguments import VerbParser, results_folder
from bigain.config.messages import did_you_mean
from bigain.errors import UserError
from bigain.runs.archive import Archive
from bigain.runs.compare import as_plain, compare_all, describe, read_runs
from bigain.runs.files import need_results
from bigain.runs.store import run_folders

__all__ = ["find_run", "main"]

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
    parser.add_argument("--format", choices=[*_FORMATS], default="text", help="default: text")
    options = parser.parse_intermixed_args(list(arguments))
    results = results_folder(options.results)
    need_results(results)
    names = [find_run(results, beginning) for beginning in (*options.runs, options.reference)]
    runs = read_runs(results, names)
    sys.stdout.write(_FORMATS[options.format](compare_all(runs)))
    return 0


def find_run(results: Path, beginning: str) -> str:
    """The id of the one run in `results`, with a folder or published, whose id begins so.

    Raises:
        UserError: There is none, or there are several.

    """
    ids = {folder.name for folder in run_folders(results)}
    for path in sorted(results.glob("*/runs.csv")):
        ids |= set(Archive(results, path.parent.name).run_ids())
    found = sorted(name for name in ids if name.startswith(beginning))
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"run_id={beginning}: several runs begin so: {', '.join(found)}")
    hint = did_you_mean(beginning, ids)
    raise UserError(
        f"run_id={beginning}: no such run; allowed: one of the {len(ids)} in {results}{hint}"
    )

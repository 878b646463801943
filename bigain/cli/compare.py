"""`bigain compare RUN_A RUN_B`: the paired difference of two finished runs."""

import sys
from collections.abc import Sequence
from pathlib import Path

from bigain.cli.arguments import VerbParser, results_folder
from bigain.config.messages import did_you_mean
from bigain.errors import UserError
from bigain.runs.archive import Archive
from bigain.runs.compare import compare_runs, describe
from bigain.runs.files import need_results
from bigain.runs.store import run_folders

__all__ = ["find_run", "main"]


def main(arguments: Sequence[str]) -> int:
    """Print run A against run B, image by image over the images of both."""
    parser = VerbParser("compare", "Compare two finished runs on the images of both.")
    parser.add_argument("run_a", help="id of a run, or its beginning (see bigain status, runs.csv)")
    parser.add_argument("run_b", help="id of the run to compare with, or its beginning")
    options = parser.parse_args(arguments)
    results = results_folder(options.results)
    need_results(results)
    a, b = find_run(results, options.run_a), find_run(results, options.run_b)
    sys.stdout.write(f"{describe(compare_runs(results, a, b))}\n")
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
